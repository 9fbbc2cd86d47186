"""How time and memory are measured: in turns, and in a process of its own."""

import ctypes
import multiprocessing
import os
import re
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles
from typing import Any

import torch
from tqdm import tqdm

from espnet_smoe.command import quiet_worker

Sides = Mapping[str, Callable[[], Any]]  # name -> what is timed

# large blocks go straight back to the system, so that the peak is what was in use
GIVE_BACK = {"MALLOC_MMAP_THRESHOLD_": "65536"}


@dataclass(frozen=True)
class Spread:
    """Median and quartiles of repeated measurements."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: list[float]) -> "Spread":
        """Of one value or more.

        Example:
            >>> Spread.of([3.0, 1.0, 2.0])
            Spread(median=2.0, low=1.5, high=2.5)
        """
        if len(values) == 1:
            return cls(values[0], values[0], values[0])
        low, median, high = quantiles(values, n=4, method="inclusive")
        return cls(median, low, high)


def take_turns(
    sides: Sides,
    rounds: int,
    clock: Callable[[], float] = time.perf_counter,
    title: str = "",
) -> tuple[dict[str, list[float]], dict[str, Any]]:
    """Time the sides one after the other, round by round.

    What disturbs the machine for a while disturbs all sides of the same rounds, so
    their ratio within a round stands firmer than the times themselves.

    Args:
        sides: What is timed; each runs once unmeasured before the first round.
        rounds: Measurements of each side.
        clock: Seconds.
        title: Of the progress bar.

    Returns:
        Seconds of each side, a round each; what each side returned last.
    """
    for run in sides.values():
        run()
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    results = {}
    for _ in tqdm(range(rounds), title, leave=False, disable=None):
        for name, run in sides.items():
            start = clock()
            results[name] = run()
            seconds[name].append(clock() - start)
    return seconds, results


def ratio(seconds: list[float], baseline: list[float]) -> Spread:
    """Time over the baseline's time, from the ratios of the single rounds."""
    return Spread.of([ours / theirs for ours, theirs in zip(seconds, baseline)])


def peak_memory(build: Callable[[], Sides], side: str, threads: int) -> int | None:
    """Most memory that a side holds above what was there before it ran.

    Weights and inputs, which `build` makes, do not count. Measured in a process of
    its own, at the second run, so that what a first run loads does not count either.

    Args:
        build: Makes the sides; it is sent to the process, so it must be picklable.
        side: The one to run.
        threads: Threads of PyTorch.

    Returns:
        Bytes; None on a system without Linux's ``/proc``.
    """
    context = multiprocessing.get_context("forkserver")  # which imports only once
    context.set_forkserver_preload([_module_of(build)])
    with _environment(GIVE_BACK):
        with ProcessPoolExecutor(
            1, mp_context=context, initializer=quiet_worker
        ) as pool:
            return pool.submit(_peak, build, side, threads).result()


def _peak(build: Callable[[], Sides], side: str, threads: int) -> int | None:
    if not Path("/proc/self/clear_refs").exists():
        return None
    torch.set_num_threads(threads)
    run = build()[side]
    run()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    before = _kilobytes("VmRSS")
    run()
    return (_kilobytes("VmHWM") - before) * 1024


def _module_of(build: Callable) -> str:
    return getattr(build, "func", build).__module__  # that of a partial's function


def _kilobytes(field: str) -> int:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(re.search(rf"^{field}:\s+(\d+) kB", status, re.MULTILINE)[1])


@contextmanager
def _environment(variables: Mapping[str, str]):
    """Environment variables for the processes that start inside."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
