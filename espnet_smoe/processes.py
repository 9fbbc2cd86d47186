"""Processes: their end, their memory, and folders with one writer."""

import ctypes
import fcntl
import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TextIO

LOCK = ".training.lock"
PR_SET_PDEATHSIG = 1
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of glibc's mallopt
_held: list[TextIO] = []  # as long as this process lives


def end_with_parent() -> None:
    """Let the kernel kill this process when its parent has ended; only on Linux."""
    try:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    except (OSError, AttributeError):
        pass


def keep_freed_memory() -> None:
    """Let this process keep large blocks that it frees, for the next that it needs.

    Else a step of training on a CPU gets its tensors on new pages, which costs a
    quarter of its time. Only with glibc.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    mallopt(M_MMAP_MAX, 0)
    mallopt(M_TRIM_THRESHOLD, 2**31 - 1)  # bytes


@contextmanager
def signals_passed_on(*numbers: signal.Signals) -> Iterator[None]:
    """Hand signals to the processes that this one has started and waits for.

    What they fail with after SIGTERM is the signal's status.
    """
    received = set()

    def pass_on(number: int, frame: object) -> None:
        received.add(number)
        for child in multiprocessing.active_children():
            os.kill(child.pid, number)

    before = {number: signal.signal(number, pass_on) for number in numbers}
    try:
        yield
    except Exception:
        if signal.SIGTERM in received:
            sys.exit(128 + signal.SIGTERM)
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)


def is_first() -> bool:
    """Whether this is the first process of a training, of all machines."""
    ranks = (os.environ.get(name) for name in ("RANK", "SLURM_PROCID"))
    return next((rank for rank in ranks if rank), "0") == "0"


def hold(folder: Path) -> None:
    """Keep other trainings out of a folder until this process has ended.

    Args:
        folder: Made where it is missing.

    Raises:
        ValueError: Another process trains there; names its host, process and time.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = open(folder / LOCK, "a+", encoding="utf-8")
    file.seek(0)
    lock(
        file,
        f"{folder} is being trained by {file.read().strip()}; this is host "
        f"{os.uname().nodename}. Wait for it, stop it, or take another --output_dir",
    )
    file.truncate(0)
    now = datetime.now().isoformat(timespec="seconds")
    file.write(f"host {os.uname().nodename}, process {os.getpid()}, since {now}\n")
    file.flush()
    _held.append(file)


def lock(file: TextIO, busy: str) -> None:
    """Let nobody else lock a file until it is closed.

    Args:
        file: Open for writing.
        busy: What to say where another process has it.

    Raises:
        ValueError: `busy`.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise ValueError(busy) from None
    except OSError as error:
        print(f"{file.name}: no lock on this disk ({error.strerror})", file=sys.stderr)
