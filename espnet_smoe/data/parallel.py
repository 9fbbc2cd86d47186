"""Work over many utterances: in several processes, noted as it is done."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

from tqdm import tqdm

from espnet_smoe.command import quiet_worker

Job = TypeVar("Job")
Done = TypeVar("Done")


def map_in_processes(
    work: Callable[[Job], Done],
    jobs: Sequence[Job],
    nj: int,
    *,
    chunk: int = 32,
    what: str | None = None,
) -> Iterator[Done]:
    """Do jobs in `nj` processes of one core each, with a progress bar.

    Args:
        work: A function at the top of its module.
        jobs: What to give it.
        nj: Processes; one works in this process.
        chunk: The most jobs that a process takes at once.
        what: Written before the bar.

    Yields:
        What it returns, in the order of the jobs.
    """

    def shown(results: Iterable[Done]) -> Iterator[Done]:
        yield from tqdm(results, total=len(jobs), disable=None, desc=what)

    if nj == 1 or len(jobs) < 2:
        yield from shown(map(work, jobs))
        return
    size = max(1, min(chunk, len(jobs) // nj))
    context = get_context("forkserver")  # a fork of threads (tqdm's) may hang
    with ProcessPoolExecutor(nj, mp_context=context, initializer=quiet_worker) as pool:
        yield from shown(pool.map(work, jobs, chunksize=size))


def map_noted(
    work: Callable[[Job], Done],
    jobs: Sequence[Job],
    keys: Sequence[str],
    memory: Path,
    nj: int,
    *,
    kind: Callable[..., Done],
    is_good: Callable[[Done], bool],
    still_holds: Callable[[Done], bool] = lambda result: True,
    order: Callable[[Job], Any] | None = None,
    chunk: int = 32,
    what: str | None = None,
) -> list[Done]:
    """`map_in_processes` that notes results, so that a stopped run loses none.

    Args:
        work: See there.
        jobs: See there.
        keys: For each job what its result depends on: a change of it means new work.
        memory: File of the notes, of earlier runs too.
        nj: Processes.
        kind: The dataclass of results.
        is_good: Whether a result is worth a note; a problem may be mended.
        still_holds: Whether a noted result counts yet.
        order: Sorts the jobs that are to be done.
        chunk: See there.
        what: See there.

    Returns:
        A result for each job.
    """
    known = {key: r for key, r in _recall(memory, kind) if still_holds(r)}
    new = [i for i, key in enumerate(keys) if key not in known]
    if order is not None:
        new.sort(key=lambda i: order(jobs[i]))
    memory.parent.mkdir(parents=True, exist_ok=True)
    with open(memory, "a", encoding="utf-8") as notes:
        notes.write("\n")  # ends the line that a killed run was writing
        todo = [jobs[i] for i in new]
        results = map_in_processes(work, todo, nj, chunk=chunk, what=what)
        for i, result in zip(new, results):
            known[keys[i]] = result
            if is_good(result):
                notes.write(json.dumps([keys[i], asdict(result)]) + "\n")
                notes.flush()
    return [known[key] for key in keys]


def _recall(memory: Path, kind: Callable[..., Done]) -> Iterator[tuple[str, Done]]:
    if not memory.is_file():
        return
    with open(memory, encoding="utf-8", errors="replace") as notes:
        for line in notes:
            try:
                key, fields = json.loads(line)
                yield key, kind(**fields)
            except (ValueError, TypeError):  # of a killed run, or an earlier version
                continue
