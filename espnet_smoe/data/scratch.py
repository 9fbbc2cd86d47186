"""Folders for what need not outlive a command, however it ends."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

LOCK = "lock"


@contextmanager
def scratch_folder(place: Path, prefix: str) -> Iterator[Path]:
    """Make a folder that goes in the end.

    What killed runs have left goes too; folders of runs that go on stay.

    Args:
        place: Where to make it; made where it is missing.
        prefix: Of its name.
    """
    place.mkdir(parents=True, exist_ok=True)
    for left in place.glob(f"{prefix}*"):
        # A disk without locks tells nothing: what may be in use stays.
        with suppress(OSError), open(left / LOCK, "r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(left)
    with TemporaryDirectory(dir=place, prefix=prefix) as made:
        taken = Path(made) / f".{LOCK}"
        with open(taken, "wb") as file:
            with suppress(OSError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # seen by others when nobody else can have it
            os.replace(taken, taken.with_name(LOCK))
            yield Path(made)
