"""Two processes that train together, forked from the one that tests."""

import multiprocessing
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import distributed

PATIENCE = 300  # seconds until a process that waits for the other one is given up


def _work(rank: int, folder: Path, work: Callable[[int], Any]) -> None:
    torch.set_num_threads(1)  # threads do not outlive a fork
    meeting = distributed.FileStore(str(folder / "meeting"), 2)
    distributed.init_process_group(
        "gloo",
        store=meeting,
        rank=rank,
        world_size=2,
        timeout=timedelta(seconds=PATIENCE),
    )
    torch.save(work(rank), folder / f"{rank}.pt")
    distributed.destroy_process_group()


def in_two_processes(folder: Path, work: Callable[[int], Any]) -> list[Any]:
    """What ``work`` of 0 and of 1 return, each in a process of its own.

    Args:
        folder: An empty one.
        work: Takes its rank; both must call the same collectives.
    """
    fork = multiprocessing.get_context("fork")
    both = [fork.Process(target=_work, args=(r, folder, work)) for r in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(PATIENCE)
        process.kill()
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]
