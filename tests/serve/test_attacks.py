"""What a session costs is bounded, and what it sends is told as it can be told."""

import asyncio
import logging

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from espnet_smoe.serve.misbehave import GARBAGE
from espnet_smoe.serve.protocol import SessionError
from tests.serve.fake import END, RATE, hear, pcm, running, talk


def serve(test, **limits):
    async def run():
        async with running(**limits) as (server, url):
            await asyncio.wait_for(test(server, url), 20)

    asyncio.run(run())


async def send_for_ever(client, frame, pause):
    try:
        while True:
            await client.send(frame)
            await asyncio.sleep(pause)
    except ConnectionClosed:
        pass


@pytest.mark.parametrize("frame", [b"", pcm(1 / RATE)], ids=["empty", "one sample"])
def test_frames_that_carry_nothing_keep_no_session_alive(frame):
    async def test(server, url):
        async with connect(url) as client:
            sending = asyncio.create_task(send_for_ever(client, frame, 0.01))
            messages, code = await hear(client)
            await sending
        assert messages[-1]["message"] == "no audio for 0.3 s; send 'end' to end"
        assert code == 1008

    serve(test, idle=0.3)


def test_little_audio_often_is_speech():
    async def test(server, url):
        async with connect(url) as client:
            piece = pcm(0.01)
            for _ in range(300):  # three seconds of audio: ten times the limit
                await client.send(piece)
                await asyncio.sleep(0.002)
            await client.send(END)
            assert (await hear(client))[1] == 1000

    serve(test, idle=0.3)


def test_a_session_lasts_so_long_at_most_and_gets_its_final():
    async def test(server, url):
        async with connect(url) as client:
            sending = asyncio.create_task(send_for_ever(client, pcm(0.1), 0.02))
            messages, code = await hear(client)
            await sending
        assert messages[-1]["message"].startswith("a session lasts 0.3 s at most; what")
        assert messages[-2]["kind"] == "final"
        assert float(messages[-2]["text"]) > 0
        assert code == 1008

    serve(test, duration=0.3)


def test_a_hundred_idle_sessions_make_room_for_others():
    async def test(server, url):
        idle = [await connect(url) for _ in range(20)]
        sending = [send_for_ever(client, b"", 0.05) for client in idle]
        await asyncio.gather(*sending)  # each is closed
        assert {client.close_code for client in idle} == {1008}
        assert (await talk(url, pcm(0.2), END))[1] == 1000

    serve(test, idle=0.3, sessions=20)


@pytest.mark.parametrize("how", ["lone surrogate", "new line in a key"])
def test_what_a_frame_quotes_can_be_told_and_logged(how, caplog):
    async def test(server, url):
        messages, code = await talk(url, GARBAGE[how])
        assert code == 1003
        assert "unknown key" in messages[-1]["message"]
        assert messages[-1]["message"].isprintable()
        assert (await talk(url, END))[1] == 1000

    with caplog.at_level(logging.INFO):
        serve(test)
    told = [r.getMessage() for r in caplog.records if "unknown key" in r.getMessage()]
    assert told and all(line.isprintable() for line in told)
    assert not any(record.exc_info for record in caplog.records)


def test_an_error_has_no_characters_that_cannot_be_sent():
    error = SessionError("한글 \ud800 a\nb \x1b[2J", 1003)
    assert str(error) == r"한글 \ud800 a\nb \x1b[2J"
