"""Processes that train together, forked from the one that tests."""

import multiprocessing
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import distributed

PATIENCE = 300  # seconds until a process that waits for the other one is given up


def _work(rank: int, count: int, folder: Path, work: Callable[[int], Any]) -> None:
    torch.set_num_threads(1)  # threads do not outlive a fork
    meeting = distributed.FileStore(str(folder / "meeting"), count)
    distributed.init_process_group(
        "gloo",
        store=meeting,
        rank=rank,
        world_size=count,
        timeout=timedelta(seconds=PATIENCE),
    )
    torch.save(work(rank), folder / f"{rank}.pt")
    distributed.barrier()  # nobody leaves before all have met
    distributed.destroy_process_group()


def in_processes(count: int, folder: Path, work: Callable[[int], Any]) -> list[Any]:
    """What ``work`` of 0, 1, ... return, each in a process of its own.

    Args:
        count: Of the processes.
        folder: An empty one.
        work: Takes its rank; all must call the same collectives.
    """
    fork = multiprocessing.get_context("fork")
    each = [
        fork.Process(target=_work, args=(r, count, folder, work)) for r in range(count)
    ]
    for process in each:
        process.start()
    for process in each:
        process.join(PATIENCE)
        process.kill()
    return [torch.load(folder / f"{rank}.pt") for rank in range(count)]


def in_two_processes(folder: Path, work: Callable[[int], Any]) -> list[Any]:
    """`in_processes` for two."""
    return in_processes(2, folder, work)
