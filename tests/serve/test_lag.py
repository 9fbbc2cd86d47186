"""A server that is behind lets nobody in, and ends sessions until it keeps up."""

import asyncio
import math

import numpy as np
import pytest
from websockets.asyncio.client import connect

from espnet_smoe.serve.batcher import MOST_EVENTS, Batcher
from espnet_smoe.serve.lag import HALF_LIFE, PATIENCE, Lag
from espnet_smoe.serve.protocol import SessionError
from tests.serve.fake import CHUNK, END, RATE, FakeRecognizer, hear, pcm, running, talk

QUIET = np.full(CHUNK, 0.25, dtype=np.float32)


class SlowRecognizer(FakeRecognizer):
    """Takes seconds for each stream of a step, by a clock of its own."""

    def __init__(self, seconds):
        super().__init__()
        self.each, self.now = seconds, 100.0

    def clock(self):
        return self.now

    def decode_streams(self, streams):
        self.now += self.each * len(streams)
        return super().decode_streams(streams)


def test_what_was_measured_fades():
    lag = Lag(limit=1.0)
    lag.measured(1.5, now=0.0)
    assert lag.is_overloaded(0.0)
    lag.measured(0.1, now=0.1)  # a quick step in between proves little
    assert lag.is_overloaded(0.1)
    assert lag.at(HALF_LIFE) == pytest.approx(0.75)
    assert not lag.is_overloaded(HALF_LIFE)


def test_only_what_does_not_catch_up_is_hopeless():
    lag = Lag(limit=1.0)
    assert not lag.measured(5.0, now=0.0)
    assert not lag.measured(5.0, now=PATIENCE / 2)
    assert not lag.measured(4.0, now=PATIENCE)  # better than it was
    assert lag.measured(4.0, now=2 * PATIENCE) == 0.5  # twice the limit
    assert not lag.measured(4.0, now=2 * PATIENCE)  # those that go take a while
    assert not lag.measured(1.0, now=4 * PATIENCE)


def test_an_infinite_limit_never_refuses():
    lag = Lag(limit=math.inf)
    assert not any(lag.measured(1e6, now=t * PATIENCE) for t in range(5))
    assert not lag.is_overloaded(0.0)


def test_a_server_that_is_behind_refuses_until_it_is_not():
    recognizer = SlowRecognizer(3.0)

    async def run():
        async with running(recognizer, clock=recognizer.clock, lag=2.0) as (_, url):
            async with connect(url) as first:
                await first.send(pcm(0.1))
                await first.recv()
                messages, code = await talk(url)
                assert code == 1013
                assert messages[0]["message"].endswith("s behind; try again later")
                assert len(messages) == 1
                recognizer.now += 60
                assert (await talk(url, END))[1] == 1000
                await first.send(END)
                assert (await hear(first))[1] == 1000
            assert (await talk(url, END))[1] == 1000  # behind, but nobody is there

    asyncio.run(run())


def hold(batcher, rounds, fast, feeds):
    """Sessions that speak a chunk a round; those in `fast` send all of it at once."""

    async def one(number):
        with batcher.open(backlog=math.inf) as feeds[number]:
            feed = feeds[number]
            speaking = asyncio.create_task(speak(feed, number))
            try:
                async for _ in feed.events():
                    pass
            except SessionError as error:
                return error
            finally:
                await speaking
            return None

    async def speak(feed, number):
        for n in range(rounds):
            if number in fast and n == 0:
                await feed.put(np.tile(QUIET, 100 * rounds))
            elif number not in fast:
                while len(batcher.recognizer.batches) < n and not feed.ended:
                    await asyncio.sleep(0)
                await feed.put(QUIET)
        if number not in fast:
            feed.end()

    return one


def outcomes(seconds, sessions=8, rounds=30, fast=()):
    """What becomes of sessions whose server takes so long for each in a step.

    The errors of those that speak; of those that send at once, whether they had to go.
    """

    async def run():
        recognizer = SlowRecognizer(seconds)
        batcher = Batcher(recognizer, 1.0, recognizer.clock)
        working = asyncio.create_task(batcher.run())
        feeds = {}
        one = hold(batcher, rounds, fast, feeds)
        async with asyncio.timeout(30):
            slow = [n for n in range(sessions) if n not in fast]
            talks = {n: asyncio.create_task(one(n)) for n in range(sessions)}
            await asyncio.wait([talks[n] for n in slow])
        working.cancel()
        ended = {n: talks[n].result() for n in slow}
        for task in talks.values():
            task.cancel()
        return ended | {n: feeds[n].ended for n in fast}

    return asyncio.run(run())


def test_the_newest_sessions_go_until_the_model_keeps_up():
    ended = outcomes(seconds=0.5)  # four of them are two seconds, the limit
    assert [n for n in range(8) if ended[n] is None] == [0, 1, 2, 3]
    assert all(error.code == 1013 for error in ended.values() if error)
    assert "has dropped what came after 0.2 s of audio" in str(ended[7])


def test_a_model_that_keeps_up_ends_nobody():
    assert set(outcomes(seconds=0.2).values()) == {None}


def test_the_last_session_stays_however_slow_the_model_is():
    ended = outcomes(seconds=5.0)
    assert [n for n in range(8) if ended[n] is None] == [0]


def test_who_sends_faster_than_speech_goes_first():
    ended = outcomes(seconds=0.5, fast=(0, 1, 2))
    assert ended[0] and ended[1] and ended[2]  # of the four that had to go
    assert [ended[n] for n in range(3, 7)] == [None] * 4


def test_a_client_that_does_not_read_makes_nobody_late():
    async def run():
        recognizer = FakeRecognizer()
        now = [0.0]
        batcher = Batcher(recognizer, 1.0, lambda: now[0])
        working = asyncio.create_task(batcher.run())
        with batcher.open(backlog=math.inf) as feed:
            for _ in range(2 * MOST_EVENTS):
                now[0] += CHUNK / RATE
                await feed.put(QUIET)
            async with asyncio.timeout(20):
                while feed.late is not None:  # until its stream waits for its client
                    await asyncio.sleep(0)
            now[0] += 100  # it reads at last
            feed.end()
            assert len([event async for event in feed.events()]) > MOST_EVENTS
            assert batcher.behind == 0.0
        working.cancel()

    asyncio.run(run())
