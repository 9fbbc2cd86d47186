"""Sessions end as the protocol says, and none of them hurts another."""

import asyncio
import gc
import json
import math
import os
import time
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from tests.serve.fake import (
    END,
    RATE,
    START,
    FakeRecognizer,
    hear,
    pcm,
    running,
    talk,
)

GOOD = (START, pcm(0.25), pcm(0.15), END)


def serve(test, recognizer=None, **limits):
    """Run a coroutine function with the address of a server."""

    async def run():
        async with running(recognizer, **limits) as (server, url):
            await asyncio.wait_for(test(server, url), 10)

    asyncio.run(run())


def finals(messages):
    return [m["text"] for m in messages if m.get("kind") == "final"]


def test_a_session_hears_partials_a_final_and_done():
    async def test(server, url):
        messages, code = await talk(url, *GOOD)
        assert code == 1000
        assert messages[-1] == {"type": "done"}
        events = messages[:-1]
        assert {m["type"] for m in events} == {"event"}
        assert [m["kind"] for m in events] == ["partial"] * 4 + ["final"]
        assert events[-1] == {
            "type": "event",
            "kind": "final",
            "text": "1600.000",
            "start": 0.0,
            "end": 0.4,
            "tokens": [],
        }

    serve(test)


def test_partials_come_before_the_end():
    async def test(server, url):
        async with connect(url) as client:
            await client.send(pcm(0.1))
            first = json.loads(await client.recv())
            assert first["kind"] == "partial"
            await client.send(END)
            assert finals((await hear(client))[0]) == ["400.000"]

    serve(test)


def test_two_sessions_hear_what_each_hears_alone():
    loud = (START, pcm(0.3, 0.5), END)

    async def test(server, url):
        alone = [await talk(url, *GOOD), await talk(url, *loud)]
        together = await asyncio.gather(talk(url, *GOOD), talk(url, *loud))
        assert together == alone

    serve(test)


def test_sessions_are_stepped_together():
    recognizer = FakeRecognizer(seconds=0.05)

    async def test(server, url):
        await asyncio.gather(*(talk(url, pcm(0.5), END) for _ in range(8)))

    serve(test, recognizer)
    assert max(recognizer.batches) >= 4


@pytest.mark.parametrize(
    "frame, message, code",
    [
        (b"abc", "signed 16 bit", 1003),
        ("no json", "no JSON", 1003),
        ('{"type": "stop"}', "'start' or 'end'", 1003),
        ('{"type": "start", "rate": 1}', "8000 to 48000 Hz", 1003),
        (b'{"type": "end"}', "JSON in a binary frame", 1003),
        (b"\0" * 2**19, "at most", 1009),
    ],
)
def test_a_wrong_frame_ends_only_its_own_session(frame, message, code):
    async def test(server, url):
        async with connect(url) as other:
            await other.send(pcm(0.2))
            messages, closed = await talk(url, frame, pcm(0.1))
            assert messages[-1]["type"] == "error"
            assert message in messages[-1]["message"]
            assert closed == code
            await other.send(END)
            assert finals((await hear(other))[0]) == ["800.000"]

    serve(test)


def test_a_frame_that_no_session_could_want_closes_the_connection():
    async def test(server, url):
        assert (await talk(url, b"\0" * 2**21)) == ([], 1009)
        assert finals((await talk(url, *GOOD))[0]) == ["1600.000"]

    serve(test)


def test_noise_instead_of_frames_hurts_nobody(caplog):
    async def test(server, url):
        async with connect(url) as client:
            client.transport.write(b"\xff" + os.urandom(4000))
            assert (await hear(client))[1] == 1002
        reader, writer = await asyncio.open_connection(*url[5:].split(":"))
        writer.write(os.urandom(1000) + b"\r\n\r\n")
        await reader.read()
        writer.close()
        assert finals((await talk(url, *GOOD))[0]) == ["1600.000"]

    serve(test)
    assert not any(record.exc_info for record in caplog.records)


def test_noise_while_events_are_sent_is_no_fault_of_the_server(caplog):
    async def test(server, url):
        async with connect(url) as client:
            await client.send(pcm(2))
            await client.recv()
            client.transport.write(b"\xff" + os.urandom(4000))
            assert (await hear(client))[1] == 1002
        while server.feeds:
            await asyncio.sleep(0.01)

    serve(test, FakeRecognizer(seconds=0.02))
    assert not any(record.exc_info for record in caplog.records)


def test_one_session_too_many_is_refused():
    async def test(server, url):
        async with connect(url) as first, connect(url) as second:
            await first.send(pcm(0.1))
            await second.send(pcm(0.1))
            await first.recv()
            await second.recv()
            messages, code = await talk(url)
            assert code == 1013
            assert messages == [
                {
                    "type": "error",
                    "message": "all 2 sessions are taken; try again later",
                }
            ]
            await first.send(END)
            await hear(first)
            assert finals((await talk(url, *GOOD))[0]) == ["1600.000"]

    serve(test, sessions=2)


def test_what_fits_the_limit_of_audio_is_still_recognised():
    async def test(server, url):
        messages, code = await talk(url, pcm(0.2), pcm(0.2))
        assert finals(messages) == ["1200.000"]
        assert "more than 0.3 s of audio" in messages[-1]["message"]
        assert code == 1008
        assert (await talk(url, pcm(0.3), END))[1] == 1000

    serve(test, seconds=0.3)


@pytest.mark.parametrize(
    "limit", "seconds backlog duration idle frames bytes lag grace".split()
)
def test_a_limit_may_be_infinite(limit):
    async def test(server, url):
        messages, code = await talk(url, *GOOD)
        assert finals(messages) == ["1600.000"]
        assert code == 1000

    serve(test, **{limit: math.inf})


@pytest.mark.parametrize("late", [pcm(0.1), START, b"odd"])
def test_a_frame_after_the_end_costs_no_final(late):
    async def test(server, url):
        messages, code = await talk(url, pcm(1), END, late)
        assert finals(messages) == ["4000.000"]
        assert "a frame after 'end'" in messages[-1]["message"]
        assert code == 1003

    serve(test, FakeRecognizer(seconds=0.04))


def test_a_silent_client_is_sent_away():
    async def test(server, url):
        messages, code = await talk(url, pcm(0.05))
        assert "no audio for 0.1 s" in messages[-1]["message"]
        assert code == 1008

    serve(test, idle=0.1)


def test_a_client_that_sends_too_fast_is_made_to_wait():
    recognizer = FakeRecognizer(seconds=0.005)
    frame = pcm(0.1)

    async def test(server, url):
        async with connect(url) as client:
            # far more than the buffers of the two sockets hold
            sending = asyncio.create_task(send(client, 5000))
            held = [0.0]
            while held[-1] < 0.5:  # the backlog fills up
                await asyncio.sleep(0.001)
                held += [unheard(feed) for feed in server.feeds]
            for _ in range(20):
                await asyncio.sleep(0.01)
                held += [unheard(feed) for feed in server.feeds]
            assert not sending.done()
            assert max(held) <= 0.5 + 2 * 0.1  # a frame more, and one in the stream
            sending.cancel()
            client.transport.abort()  # a close would wait too

    async def send(client, frames):
        for _ in range(frames):
            await client.send(frame)

    def unheard(feed):
        """Seconds that the server has taken in, but not recognised."""
        return (feed.received - feed.stream.position) / RATE

    serve(test, recognizer, backlog=0.5)


def test_a_client_that_never_reads_is_cut_off():
    async def test(server, url):
        async with connect(url, max_queue=1) as deaf:
            sending = asyncio.create_task(flood(deaf))
            while not server.feeds:
                await asyncio.sleep(0.01)
            while server.feeds:
                await asyncio.sleep(0.01)
            await asyncio.wait([sending])
            assert isinstance(sending.exception(), ConnectionClosed)
        assert (await talk(url, *GOOD))[1] == 1000

    async def flood(client):
        frame = pcm(8)
        while True:
            await client.send(frame)

    serve(test, Wordy(), idle=0.2)


class Wordy(FakeRecognizer):
    """Says so much that the buffers of the sockets fill up."""

    def _one(self, stream, chunk):
        return [replace(e, text=e.text * 20000) for e in super()._one(stream, chunk)]


def test_a_disconnected_client_leaves_nothing_behind():
    recognizer = FakeRecognizer(seconds=0.01)

    async def test(server, url):
        for ending in ("close", "abort"):
            async with connect(url) as client:
                await client.send(pcm(2))
                await client.recv()
                assert len(server.feeds) == 1
                if ending == "abort":
                    client.transport.abort()
            while server.feeds:
                await asyncio.sleep(0.01)
        while len(asyncio.all_tasks()) > 5:
            await asyncio.sleep(0.01)
        while recognizer.streams:  # a step may still be under way
            gc.collect()
            await asyncio.sleep(0.01)

    serve(test, recognizer)


def test_a_failing_stream_gets_the_error_and_the_others_their_finals():
    async def test(server, url):
        loud = talk(url, pcm(0.2), pcm(0.1, 0.95), END)
        answers = await asyncio.gather(talk(url, *GOOD), loud, talk(url, *GOOD))
        assert finals(answers[0][0]) == finals(answers[2][0]) == ["1600.000"]
        messages, code = answers[1]
        assert messages[-1]["message"] == "the model failed on this stream: too loud"
        assert code == 1011

    serve(test, FakeRecognizer(seconds=0.02))


def test_a_stopping_server_tells_the_last_finals():
    async def test(server, url):
        async with connect(url) as client:
            await client.send(pcm(0.25))
            await client.recv()
            server.stop()
            messages, code = await hear(client)
            assert finals(messages) == ["1000.000"]
            assert "the server stops" in messages[-1]["message"]
            assert code == 1001
        with pytest.raises(OSError):
            await connect(url)

    serve(test)


def test_a_second_stop_does_not_wait():
    async def test(server, url):
        async with connect(url) as client:
            await client.send(pcm(4))
            await client.recv()
            server.stop()
            await asyncio.sleep(0.1)
            server.stop()
            _, code = await hear(client)
            assert code == 1006

    serve(test, FakeRecognizer(seconds=0.1))


@asynccontextmanager
async def silent_tcp(url):
    """A connection that never asks for a websocket."""
    _, writer = await asyncio.open_connection(*url[5:].split(":"))
    yield
    writer.close()


@asynccontextmanager
async def deaf(url):
    """A session that does not answer the server's close."""
    client = await connect(url)
    await client.send(pcm(0.1))
    await client.recv()
    client.transport.pause_reading()
    yield
    client.transport.abort()


@pytest.mark.parametrize("guest", [silent_tcp, deaf])
def test_a_second_stop_waits_for_no_handshake(guest):
    async def run():
        async with AsyncExitStack() as stack:
            async with running() as (server, url):
                await stack.enter_async_context(guest(url))
                await asyncio.sleep(0.05)
                server.stop()
                await asyncio.sleep(0.3)  # its close is under way
                begun = time.perf_counter()
            assert time.perf_counter() - begun < 1

    asyncio.run(run())
