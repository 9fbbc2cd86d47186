"""As many sessions are let in as get their finals in time, and no more."""

import math
import random
from dataclasses import dataclass

import pytest

from espnet_smoe.serve.capacity import FEWEST, UNMEASURED, Capacity, round_costs
from espnet_smoe.serve.lag import Lag
from tests.serve.fake import FakeRecognizer

CHUNK = 0.64  # seconds


def measured(rounds, limit=1.0, costs=None):
    capacity = Capacity(CHUNK, limit, costs)
    for streams, seconds in rounds:
        capacity.measured(streams, seconds, now=0.0)
    return capacity


def test_rounds_of_different_sizes_tell_what_a_session_costs():
    rounds = [(k, 0.05 + 0.005 * k) for k in (2, 10, 20, 6)] * 4
    assert measured(rounds).most == pytest.approx(90, abs=6)  # in half a second
    quick = [(k, 0.005 + 0.001 * k) for k in (2, 10, 20, 6)] * 4
    assert measured(quick).most == pytest.approx(495, abs=30)


def test_of_rounds_of_one_size_each_stream_is_thought_to_cost_its_share():
    assert measured([(2, 0.1)] * 20).most == pytest.approx(10)


def test_of_rounds_of_one_size_what_was_measured_before_tells_the_rest():
    costs = (0.08, 0.02)  # of another hour, when the machine was as quick
    assert measured([(1, 0.1)] * 20, costs=costs).most == pytest.approx(21)
    slower = measured([(1, 0.2)] * 20, costs=costs)  # now it is half as quick
    assert slower.most == pytest.approx(8.5)
    slow = [(6, 0.6)] * 20  # as where others take the processor
    assert measured(slow, costs=costs).most == measured(slow).most > 4
    assert measured([(1, 0.1)] * 20, costs=(0.0, 0.0)).most == pytest.approx(5)
    rounds = [(k, 0.05 + 0.005 * k) for k in (2, 10, 20, 6)] * 4
    assert measured(rounds, costs=(0.0, 1.0)).most == pytest.approx(90, abs=6)


@pytest.mark.parametrize("cost", [(0.05, 0.01), (0.0, 0.1), (0.2, 0.0)])
def test_rounds_before_anybody_comes_tell_what_a_stream_costs(cost):
    class Timed(FakeRecognizer):
        now = 0.0

        def decode_streams(self, streams):
            slowed = 1.0 if len(self.batches) % 2 else 3.0  # by somebody else
            self.now += slowed * (cost[0] + cost[1] * len(streams))
            return super().decode_streams(streams)

    timed = Timed()
    assert round_costs(timed, lambda: timed.now) == pytest.approx(cost)
    assert not timed.streams  # nothing of them stays


def test_one_session_is_borne_whatever_it_costs():
    assert measured([(1, 9.0)] * 20).most == 1


def test_little_is_let_in_before_anything_is_known_and_all_without_a_limit():
    assert measured([(1, 9.0)] * (FEWEST - 1)).most == UNMEASURED
    assert measured([(1, 9.0)] * 20, limit=math.inf).most == math.inf


def test_a_model_that_is_quick_is_believed_to_bear_some_more():
    capacity = measured([(2, 0.1)] * 20)  # ten
    assert capacity.admits(12, late=0.2) and not capacity.admits(13, late=0.2)
    assert capacity.admits(9, late=0.3) and not capacity.admits(11, late=0.3)
    assert measured([]).admits(UNMEASURED, late=0.0)
    assert not measured([]).admits(UNMEASURED + 1, late=0.0)


def test_what_was_slow_long_ago_counts_little():
    capacity = measured([(4, 1.0)] * 20)
    assert capacity.most < 3
    for _ in range(20):
        capacity.measured(4, 0.01, now=300.0)
    assert capacity.most > 100


def test_sessions_that_are_not_too_many_may_catch_up():
    many, few = Lag(limit=1.0), Lag(limit=1.0)
    assert not many.measured(4.0, now=0.0, sessions=20, most=10)
    assert not few.measured(4.0, now=0.0, sessions=8, most=10)
    assert many.measured(4.0, now=2.0, sessions=20, most=10) == 0.5
    assert not few.measured(4.0, now=2.0, sessions=8, most=10)
    assert few.measured(4.0, now=11.0, sessions=8, most=10) == 0.25  # it did not


@dataclass(eq=False)
class Caller:
    """Speaks for some seconds at the pace of real time."""

    begins: float
    chunks: int
    heard: int = 0

    @property
    def due(self) -> float:
        """When its next chunk, or its end, is there."""
        return self.begins + CHUNK * (self.heard + 1)


def day(callers, over, seconds, model, seed, costs=None):
    """Sessions that come to a model; those served, the latest final, those ended."""
    draw = random.Random(seed)
    waiting = [draw.uniform(0, over) for _ in range(callers)]
    lag, capacity = Lag(1.0), Capacity(CHUNK, 1.0, costs)
    waiting, open_ones, finals, ended, now = sorted(waiting), [], [], 0, 0.0
    while waiting or open_ones:
        while waiting and waiting[0] <= now:
            new = Caller(waiting.pop(0), int(seconds / CHUNK))
            late = open_ones and lag.is_overloaded(now)
            if not late and capacity.admits(len(open_ones) + 1, lag.at(now)):
                open_ones.append(new)
        ready = [c for c in open_ones if c.due <= now]
        if not ready:
            now = min([c.due for c in open_ones] + waiting[:1])
            continue
        took = model(len(ready)) * draw.uniform(0.7, 1.3)
        now += took
        latest = max(now - c.due for c in ready)
        for c in ready:
            c.heard += 1
        done = [c for c in ready if c.heard == c.chunks]
        finals += [now - c.due + CHUNK for c in done]  # of the chunk that was last
        capacity.measured(len(ready), took, now)
        most = capacity.most if capacity.known else 0.0
        part = lag.measured(latest, now, max(1, len(open_ones)), most)
        ended += math.ceil(part * len(open_ones))
        open_ones = [c for c in open_ones if c not in done]
        del open_ones[len(open_ones) - math.ceil(part * len(open_ones)) :]
    return len(finals), max(finals), ended


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("costs", [None, (0.03, 0.0075), (0.9, 0.1)])
@pytest.mark.parametrize(
    "callers, over, least", [(200, 15, 80), (200, 1, 60), (60, 15, 58), (400, 60, 270)]
)
def test_those_that_are_let_in_are_served_in_time(callers, over, least, costs, seed):
    served, latest, ended = day(
        callers, over, 12, lambda k: 0.03 + 0.0075 * k, seed, costs
    )  # 85 speak at once at most
    assert served >= least and latest < 1.0 and not ended
