"""Measuring: sides take turns, ratios are within a round, peaks are what was held."""

from functools import partial

import pytest
import torch

from espnet_smoe.benchmark.measure import Spread, peak_memory, ratio, take_turns


class Machine:
    """A clock and work for it, which gets slower every round."""

    def __init__(self):
        self.now = 0.0
        self.log = []

    def clock(self) -> float:
        return self.now

    def work(self, name: str, seconds: list[float]) -> str:
        self.now += seconds[self.log.count(name)]
        self.log.append(name)
        return f"{name}{self.log.count(name)}"


def test_sides_run_in_turns_after_one_unmeasured_run_each():
    machine = Machine()
    sides = {n: partial(machine.work, n, [9.0, 1.0, 2.0, 3.0]) for n in "ab"}
    seconds, results = take_turns(sides, 3, machine.clock)
    assert machine.log == list("ab" * 4)
    assert seconds == {"a": [1.0, 2.0, 3.0], "b": [1.0, 2.0, 3.0]}
    assert results == {"a": "a4", "b": "b4"}


def test_a_machine_that_slows_down_leaves_the_ratio_alone():
    slower = [1.0, 5.0, 20.0]
    found = ratio([2 * s for s in slower], slower)
    assert found == Spread(2.0, 2.0, 2.0)


def test_the_ratio_is_the_median_of_the_rounds_not_of_the_sides():
    # medians of the sides: 3 and 2, whose ratio is 1.5
    found = ratio([1.0, 3.0, 100.0], [2.0, 1.0, 50.0])
    assert found == Spread(median=2.0, low=1.25, high=2.5)


def test_a_single_round_has_no_spread():
    assert Spread.of([4.0]) == Spread(4.0, 4.0, 4.0)


def hold(megabytes: int) -> dict:
    weights = torch.zeros(megabytes * 5, 2**18)  # made beforehand: does not count

    def run() -> None:
        del_me = torch.zeros(megabytes, 2**18).add_(1)  # float32: 1 MiB a row
        del del_me
        torch.zeros(megabytes // 2, 2**18).add_(weights[0])

    return {"run": run}


def test_peak_memory_is_the_most_that_a_run_holds_at_a_time():
    peak = peak_memory(partial(hold, 40), "run", threads=1)
    if peak is None:
        pytest.skip("needs Linux's /proc")
    assert peak / 2**20 == pytest.approx(40, abs=4)
