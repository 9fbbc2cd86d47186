"""Work over many utterances: in several processes, noted as it is done."""

import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import asdict
from itertools import batched
from multiprocessing import get_context
from typing import Any, TextIO, TypeVar

from tqdm import tqdm

from espnet_smoe.command import quiet_worker

Job = TypeVar("Job")
Done = TypeVar("Done")
AHEAD = 4  # chunks that each process has before it


def map_in_processes(
    work: Callable[[Job], Done],
    jobs: Iterable[Job],
    nj: int,
    *,
    chunk: int = 32,
    total: int | None = None,
    what: str | None = None,
) -> Iterator[Done]:
    """Do jobs in `nj` processes of one core each, with a progress bar.

    Args:
        work: A function at the top of its module.
        jobs: What to give it; taken as they are needed.
        nj: Processes; one works in this process.
        chunk: The most jobs that a process takes at once.
        total: How many jobs there are, where they have no length.
        what: Written before the bar.

    Yields:
        What it returns, in the order of the jobs.
    """
    total = len(jobs) if isinstance(jobs, Sized) else total
    known = map_unknown(work, ((job, None) for job in jobs), nj, chunk, total)
    for _, done in tqdm(known, total=total, disable=None, desc=what):
        yield done


def map_unknown(
    work: Callable[[Job], Done],
    jobs: Iterable[tuple[Job, Done | None]],
    nj: int,
    chunk: int = 32,
    total: int | None = None,
) -> Iterator[tuple[Job, Done]]:
    """Do the jobs whose result is not known, see `map_in_processes`.

    Args:
        work: See there.
        jobs: Each with its result, or None.
        nj: See there.
        chunk: See there.
        total: See there.

    Yields:
        Each job with its result, in order. At most `AHEAD` chunks a process wait.
    """
    if nj == 1 or (total is not None and total < 2):
        yield from ((job, work(job) if done is None else done) for job, done in jobs)
        return
    size = chunk if total is None else max(1, min(chunk, total // nj))
    context = get_context("forkserver")  # a fork of threads (tqdm's) may hang
    with ProcessPoolExecutor(nj, mp_context=context, initializer=quiet_worker) as pool:
        waiting: deque[tuple[tuple[tuple[Job, Done | None], ...], Future | None]]
        waiting = deque()
        try:
            for some in batched(jobs, size):
                todo = [job for job, done in some if done is None]
                made = pool.submit(_do_all, work, todo) if todo else None
                waiting.append((some, made))
                if len(waiting) > AHEAD * nj:
                    yield from _results(*waiting.popleft())
            while waiting:
                yield from _results(*waiting.popleft())
        finally:
            for _, made in waiting:
                if made is not None:
                    made.cancel()


def _do_all(work: Callable[[Job], Done], jobs: Sequence[Job]) -> list[Done]:
    return [work(job) for job in jobs]


def _results(
    some: Iterable[tuple[Job, Done | None]], made: Future | None
) -> Iterator[tuple[Job, Done]]:
    new = iter(made.result() if made is not None else ())
    for job, done in some:
        yield job, next(new) if done is None else done


def note(notes: TextIO, key: str, result: Any) -> None:
    """Add what was done to a file of notes, at once."""
    notes.write(json.dumps([key, asdict(result)]) + "\n")
    notes.flush()
