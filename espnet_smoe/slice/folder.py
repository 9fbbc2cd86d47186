"""A folder that appears when all of it is there."""

import errno
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Make a folder elsewhere and move it to its place at the end.

    Args:
        path: Where it shall be; nothing, or an empty folder.

    Yields:
        Where its files are to be written.
    """
    path = path.absolute()
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".slice") as scratch:
        partial = Path(scratch) / path.name
        partial.mkdir()
        yield partial
        os.replace(partial, path)


def save_weights(state: Mapping[str, torch.Tensor], path: Path) -> None:
    """Write a checkpoint; a full disk is an `OSError` that names the file."""
    try:
        torch.save({name: tensor.clone() for name, tensor in state.items()}, path)
    except RuntimeError as error:  # PyTorch's for a disk that takes no more
        full = errno.ENOSPC
        raise OSError(full, os.strerror(full), str(path)) from error
