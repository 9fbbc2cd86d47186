"""A comparison on a device: in turns, several runs at a time, with its own clock.

A GPU computes while the host goes on, so a measurement is of several runs, from an idle
device to an idle one. A side that fails is left out and its error told.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from espnet_smoe.benchmark.comparison import Comparison, Row, row_of
from espnet_smoe.benchmark.gpu.guard import Site, last_lines
from espnet_smoe.benchmark.measure import take_turns

ROUNDS = 7
AT_ONCE_SECONDS, AT_ONCE = 0.02, 40  # how long a measurement is to be, runs at most


@dataclass(frozen=True)
class Repeated:
    """Several runs of a side."""

    run: Callable[[], Any]
    times: int

    def __call__(self) -> Any:
        """Run it so many times."""
        for _ in range(self.times):
            result = self.run()
        return result


def run_on(
    site: Site, comparison: Comparison, rounds: int = ROUNDS
) -> tuple[list[Row], list[str]]:
    """Measure every side of a comparison that runs.

    Args:
        site: Where.
        comparison: What.
        rounds: Measurements of each side.

    Returns:
        A row a side; what the check says, and what failed.
    """
    said, sides, memory = [], {}, {}
    for name, run in comparison.build().items():
        try:
            memory[name], seconds = _alone(site, run)
            times = max(1, min(AT_ONCE, int(AT_ONCE_SECONDS / max(seconds, 1e-6))))
            sides[name] = Repeated(run, 1 if site.quick else times)
        except Exception:  # the other sides are to run
            said.append(f"FAIL {comparison.name}: {name}:\n{last_lines()}")
            site.forget()
    seconds_of, results = take_turns(sides, rounds, _clock(site), comparison.name)
    for name, side in sides.items():
        seconds_of[name] = [s / side.times for s in seconds_of[name]]
    if comparison.check and len(results) > 1:
        said.append(_checked(comparison, results))
    rows = [row_of(comparison, name, seconds_of, memory[name]) for name in sides]
    return rows, said


def _checked(comparison: Comparison, results: Mapping[str, Any]) -> str:
    """What the check says; the times are good without it."""
    try:
        return f"{comparison.name}: {comparison.check(results)}"
    except Exception:
        return f"FAIL {comparison.name}: its check:\n{last_lines()}"


def _alone(site: Site, run: Callable[[], Any]) -> tuple[int | None, float]:
    """Bytes above what was there before a side's first run, seconds of its second.

    A side that makes its model in the first run is thus told with its weights.
    """
    cuda = site.device.type == "cuda"
    before = torch.cuda.memory_allocated(site.device) if cuda else 0
    run()  # compiles, loads, allocates
    clock = _clock(site)
    start = clock()
    if cuda:
        torch.cuda.reset_peak_memory_stats(site.device)
    run()
    seconds = clock() - start
    peak = torch.cuda.max_memory_allocated(site.device) - before if cuda else None
    return peak, seconds


def _clock(site: Site) -> Callable[[], float]:
    def clock() -> float:
        site.synchronize()
        return time.perf_counter()

    return clock
