"""A comparison on a device: in turns, several runs at a time, with its own clock.

A GPU computes while the host goes on, so a measurement is of several runs, from an idle
device to an idle one. A side that fails is left out and its error is reported.
"""

import contextlib
import gc
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from espnet_smoe.benchmark.comparison import Comparison, Row, row_of
from espnet_smoe.benchmark.measure import take_turns

MAX_RUNS = 40  # of a measurement
LAST_LINES = 6  # of a traceback


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
    device: torch.device,
    comparison: Comparison,
    rounds: int,
    measured_seconds: float,
) -> tuple[list[Row], list[str]]:
    """Measure every side of a comparison that runs.

    Args:
        device: Where.
        comparison: What.
        rounds: Measurements of each side.
        measured_seconds: How long a measurement is to be.

    Returns:
        A row a side; what the check says, and what failed.
    """
    notes, sides, memory = [], {}, {}
    for name, run in comparison.build().items():
        try:
            memory[name], seconds = _alone(device, run)
            times = min(MAX_RUNS, int(measured_seconds / max(seconds, 1e-6)))
            sides[name] = Repeated(run, max(1, times))
        except Exception:  # the other sides are to run
            notes.append(f"FAIL {comparison.name}: {name}:\n{last_lines()}")
            release_memory(device)
    seconds_of, results = take_turns(sides, rounds, _clock(device), comparison.name)
    for name, side in sides.items():
        seconds_of[name] = [s / side.times for s in seconds_of[name]]
    if comparison.check and len(results) > 1:
        notes.append(_checked(comparison, results))
    rows = [row_of(comparison, name, seconds_of, memory[name]) for name in sides]
    return rows, notes


def last_lines() -> str:
    """The end of the traceback of the exception at hand."""
    return "\n".join(traceback.format_exc().strip().splitlines()[-LAST_LINES:])


def synchronize(device: torch.device) -> None:
    """Wait for a GPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def release_memory(device: torch.device) -> None:
    """Give back what is no longer needed."""
    if device.type == "cuda":
        gc.collect()
        with contextlib.suppress(RuntimeError):  # of a device that is lost
            torch.cuda.empty_cache()


def _checked(comparison: Comparison, results: Mapping[str, Any]) -> str:
    """What the check says; the times count without it."""
    try:
        return f"{comparison.name}: {comparison.check(results)}"
    except Exception:
        return f"FAIL {comparison.name}: its check:\n{last_lines()}"


def _alone(device: torch.device, run: Callable[[], Any]) -> tuple[int | None, float]:
    """Bytes above what was there before a side's first run, seconds of its second.

    A side that makes its model in the first run thus counts its weights.
    """
    cuda = device.type == "cuda"
    before = torch.cuda.memory_allocated(device) if cuda else 0
    run()  # compiles, loads, allocates
    clock = _clock(device)
    start = clock()
    if cuda:
        torch.cuda.reset_peak_memory_stats(device)
    run()
    seconds = clock() - start
    peak = torch.cuda.max_memory_allocated(device) - before if cuda else None
    return peak, seconds


def _clock(device: torch.device) -> Callable[[], float]:
    def clock() -> float:
        synchronize(device)
        return time.perf_counter()

    return clock
