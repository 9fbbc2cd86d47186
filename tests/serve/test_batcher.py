"""Streams are stepped together, and a failing one fails alone."""

import asyncio
from contextlib import asynccontextmanager

import numpy as np
import pytest

from espnet_smoe.serve.batcher import MOST_EVENTS, Batcher
from espnet_smoe.serve.protocol import SessionError
from tests.serve.fake import CHUNK, FakeRecognizer

QUIET = np.full(CHUNK, 0.25, dtype=np.float32)
LOUD = np.full(CHUNK, 0.95, dtype=np.float32)


@asynccontextmanager
async def working(recognizer):
    batcher = Batcher(recognizer)
    task = asyncio.create_task(batcher.run())
    try:
        yield batcher
    finally:
        task.cancel()


async def say(batcher, *chunks):
    """Put all chunks, end; return the texts."""
    with batcher.open(backlog=5) as feed:
        for chunk in chunks:
            await feed.put(chunk)
        feed.end()
        return [event.text async for event in feed.events()]


def test_ready_streams_share_a_step():
    async def run():
        recognizer = FakeRecognizer()
        async with working(recognizer) as batcher:
            talks = [say(batcher, *[QUIET] * n) for n in (3, 1, 2)]
            texts = await asyncio.gather(*talks)
        assert [t[-1] for t in texts] == ["1200.000", "400.000", "800.000"]
        assert recognizer.batches[0] == 3
        assert sum(recognizer.batches) == 6 + 3  # each ends with an empty step

    asyncio.run(run())


def test_a_failing_stream_fails_alone():
    async def run():
        recognizer = FakeRecognizer()
        async with working(recognizer) as batcher:
            good, bad, other = await asyncio.gather(
                say(batcher, QUIET, QUIET),
                say(batcher, QUIET, LOUD),
                say(batcher, QUIET, QUIET),
                return_exceptions=True,
            )
            assert isinstance(bad, SessionError)
            assert "the model failed on this stream: too loud" in str(bad)
            assert bad.code == 1011
            assert good == other == await say(batcher, QUIET, QUIET)

    asyncio.run(run())


def test_audio_that_the_stream_refuses_fails_alone():
    async def run():
        async with working(FakeRecognizer()) as batcher:
            with batcher.open(backlog=5) as feed:
                feed.stream.finished = True  # accepts no more
                await feed.put(QUIET)
                with pytest.raises(SessionError, match="the model failed"):
                    async for _ in feed.events():
                        pass
            assert len(await say(batcher, QUIET)) == 2

    asyncio.run(run())


def test_putting_waits_while_the_backlog_is_full():
    async def run():
        batcher = Batcher(FakeRecognizer())  # not yet working
        with batcher.open(backlog=0.3) as feed:

            async def put_all():
                for _ in range(20):
                    await feed.put(QUIET)
                feed.end()

            putting = asyncio.create_task(put_all())
            await asyncio.sleep(0.01)
            assert feed.received == 3 * CHUNK and not putting.done()
            task = asyncio.create_task(batcher.run())
            texts = [event.text async for event in feed.events()]
            assert putting.done()
            assert texts[-1] == "8000.000"
            task.cancel()

    asyncio.run(run())


def test_a_stream_waits_while_its_events_are_not_read():
    async def run():
        recognizer = FakeRecognizer()
        async with working(recognizer) as batcher:
            with batcher.open(backlog=60) as feed:
                for _ in range(2 * MOST_EVENTS):
                    await feed.put(QUIET)
                feed.end()
                while len(recognizer.batches) < MOST_EVENTS:
                    await asyncio.sleep(0.01)
                await asyncio.sleep(0.05)
                assert len(recognizer.batches) == MOST_EVENTS
                events = [event async for event in feed.events()]
                assert len(events) == 2 * MOST_EVENTS + 1

    asyncio.run(run())


def test_failure_drops_what_waits_and_frees_who_puts():
    async def run():
        recognizer = FakeRecognizer()
        batcher = Batcher(recognizer)
        with batcher.open(backlog=0.1) as feed:
            await feed.put(QUIET)
            putting = asyncio.create_task(feed.put(QUIET))
            await asyncio.sleep(0)
            feed.fail(SessionError("gone"))
            await putting
            with pytest.raises(SessionError, match="gone"):
                async for _ in feed.events():
                    pass
        assert not batcher.feeds
        assert recognizer.batches == []

    asyncio.run(run())


def test_an_end_with_an_error_still_tells_the_last_events():
    async def run():
        async with working(FakeRecognizer()) as batcher:
            with batcher.open(backlog=5) as feed:
                await feed.put(QUIET)
                feed.end(SessionError("enough"))
                await feed.put(QUIET)  # too late
                texts = []
                with pytest.raises(SessionError, match="enough"):
                    async for event in feed.events():
                        texts.append(event.text)
        assert texts[-1] == "400.000"

    asyncio.run(run())
