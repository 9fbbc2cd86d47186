"""However many frames a client sends, the others get their turns."""

import asyncio
import math

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from espnet_smoe.serve import connections
from espnet_smoe.serve.connections import FairSocket
from espnet_smoe.serve.misbehave import FIRST, FLOODS, raw_frame
from espnet_smoe.serve.traffic import BURST, Allowance, Gate
from tests.serve.fake import END, RATE, FakeRecognizer, hear, pcm, running, talk

MANY = 40_000  # frames, as many as a single read brings
SMALLEST = len(raw_frame(2))


def flood(how):
    return FIRST.get(how, b"") + FLOODS[how] * MANY


def within_seconds(coroutine):
    async def run():
        async with asyncio.timeout(30):  # a hang is a failure
            await coroutine

    asyncio.run(run())


class Turns:
    """Counts the frames that the server takes in each turn of the loop."""

    def __init__(self, monkeypatch):
        self.frames = [0]
        handle = FairSocket.handle_events

        def counted(connection):
            self.frames[-1] += len(connection.conn.events)
            handle(connection)

        monkeypatch.setattr(FairSocket, "handle_events", counted)

    async def run(self):
        while True:
            self.frames.append(0)
            await asyncio.sleep(0)


@pytest.mark.parametrize("how", FLOODS)
def test_a_turn_takes_few_frames_of_a_flood(how, monkeypatch):
    turns = Turns(monkeypatch)

    async def run():
        async with running(frames=math.inf, bytes=math.inf) as (_, url):
            ticking = asyncio.create_task(turns.run())
            async with connect(url) as client:
                client.transport.write(flood(how))
                # the library closes on a message of too many fragments itself
                while sum(turns.frames) < MANY // 2 and client.close_code is None:
                    await asyncio.sleep(0)
                client.transport.abort()
            ticking.cancel()

    within_seconds(run())
    most = connections.TURN_FRAMES + connections.SLICE // SMALLEST
    assert max(turns.frames[:-1]) <= 2 * most  # a turn may begin in the middle of ours


@pytest.mark.parametrize("how", FLOODS)
def test_a_flood_is_read_at_the_rate_of_the_limit(how, monkeypatch):
    turns = Turns(monkeypatch)

    async def run():
        async with running(frames=200) as (_, url):
            loop = asyncio.get_running_loop()
            async with connect(url) as client:
                begun = loop.time()
                client.transport.write(flood(how))
                messages, code = await talk(url, pcm(0.25), END)
                assert (messages[-1]["type"], code) == ("done", 1000)
                read = sum(turns.frames)
                spent = loop.time() - begun
                client.transport.abort()
            assert 0 < read <= 200 * (spent + BURST) + 300

    within_seconds(run())


def test_a_client_that_is_slowed_loses_nothing():
    async def run():
        async with running(frames=20_000, bytes=math.inf) as (_, url):
            async with connect(url) as client:
                piece = pcm(1 / RATE)
                client.transport.write(raw_frame(2 | 0x80, piece) * 30_000)
                await client.send(END)
                messages, code = await hear(client)
        assert messages[-2]["text"] == f"{30_000 * 0.25:.3f}"
        assert code == 1000

    within_seconds(run())


def test_small_pieces_reach_the_stream_together():
    recognizer, accepted = FakeRecognizer(), []
    opened = recognizer.create_stream

    def counting():
        stream = opened()
        accept = stream.accept_waveform
        stream.accept_waveform = lambda wave: (accepted.append(len(wave)), accept(wave))
        return stream

    recognizer.create_stream = counting

    async def run():
        async with running(recognizer, frames=math.inf) as (_, url):
            async with connect(url) as client:
                client.transport.write(raw_frame(2 | 0x80, pcm(1 / RATE)) * 8000)
                await client.send(END)
                assert (await hear(client))[1] == 1000

    within_seconds(run())
    assert sum(accepted) == 8000
    assert len(accepted) < 2000


def test_who_reads_no_answers_to_pings_is_cut_off(monkeypatch):
    monkeypatch.setattr(connections, "MOST_UNREAD", 2**16)

    async def run():
        async with running(frames=math.inf, bytes=math.inf) as (server, url):
            client = await connect(url, ping_interval=None)
            await client.send(pcm(0.1))
            await client.recv()
            client.transport.pause_reading()
            while server.feeds:
                if client.transport.get_write_buffer_size() < 2**20:
                    client.transport.write(FLOODS["long pings"] * 1000)
                await asyncio.sleep(0)
            client.transport.abort()
            assert (await talk(url, END))[1] == 1000

    within_seconds(run())


def test_connections_that_ask_for_nothing_are_bounded(monkeypatch):
    monkeypatch.setattr(connections, "SPARE", 2)

    async def run():
        async with running(sessions=1) as (_, url):
            place = url[5:].split(":")
            silent = [await asyncio.open_connection(*place) for _ in range(3)]
            reader, writer = await asyncio.open_connection(*place)
            try:
                assert await reader.read() == b""  # one too many
            except ConnectionResetError:
                pass
            for _, other in (*silent, (reader, writer)):
                other.close()
            await silent[0][0].read()
            while True:  # until the server has noticed
                try:
                    assert (await talk(url, pcm(0.1), END))[1] == 1000
                    break
                except (OSError, InvalidHandshake, ConnectionClosed, EOFError):
                    await asyncio.sleep(0)

    within_seconds(run())


def test_bytes_count_as_frames_do():
    allowance = Allowance(frames=math.inf, size=1000)
    assert allowance.spend(1, 1000, now=0.0) == 0.0  # at once
    assert allowance.spend(1, 500, now=0.0) == 0.5
    assert allowance.spend(1, 0, now=10.0) == 0.0


def test_reading_goes_on_when_nobody_has_a_reason_against_it():
    class Transport:
        reading = True

        def pause_reading(self):
            self.reading = False

        def resume_reading(self):
            self.reading = True

        def is_closing(self):
            return False

    gate = Gate(transport := Transport())
    gate.hold("turn")
    gate.pause_reading()
    gate.free("turn")
    assert not transport.reading
    gate.resume_reading()
    assert transport.reading
