"""Archives and weights from elsewhere, held against limits before they are unpacked."""

import os
import shutil
import stat
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

# Digital silence packs 1000 to 1; no recording of hours and no weights do.
LARGEST_UNDOUBTED, LARGEST_RATIO = 2**30, 100  # bytes, unpacked over packed
MOST_MEMBERS = 100_000  # a checkpoint has one for each tensor


def expands_too_much(packed: int, unpacked: int) -> bool:
    """Whether so many bytes in a file are there to fill a memory or a disk.

    Args:
        packed: Bytes in the file.
        unpacked: Bytes that come out of them.
    """
    return unpacked > LARGEST_UNDOUBTED and unpacked > LARGEST_RATIO * packed


def check_archive(path: str | Path) -> int:
    """Refuse an archive that harms or fills a machine, by what its headers say.

    The readers of zip and tar files take no more of a member than its header says.

    Args:
        path: A zip or tar file, checkpoints and statistics among them.

    Returns:
        Bytes that it unpacks to.

    Raises:
        ValueError: A member lies outside, is a link or a device; there are too many,
            or they are too large for what packs them. Says which and why, not where.
        OSError, zipfile.BadZipFile, tarfile.TarError: It cannot be read.
    """
    packed, total = os.path.getsize(path), 0
    for count, (name, size, plain) in enumerate(_members(path), 1):
        total += size
        parts = PurePosixPath(name.replace("\\", "/"))
        if parts.is_absolute() or ".." in parts.parts or ":" in name[:2]:
            raise ValueError(f"'{name}' in it would lie outside of its folder")
        if not plain:
            raise ValueError(f"'{name}' in it is a link or device")
        if count > MOST_MEMBERS:
            raise ValueError(f"it holds over {MOST_MEMBERS:,} files")
        if expands_too_much(packed, total):
            raise ValueError(f"its {packed:,} bytes unpack to {total:,} or more")
    return total


def check_room(size: int) -> None:
    """Check that the folder for temporary files has room.

    Args:
        size: Bytes that something unpacks to.

    Raises:
        ValueError: It has not.
    """
    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free
    if size > free:
        raise ValueError(
            f"it unpacks to {size:,} bytes and {folder} has {free:,} left: make room, "
            "or set TMPDIR to a folder that has it"
        )


def _members(path: str | Path) -> Iterator[tuple[str, int, bool]]:
    """Yield name, bytes and whether it is a plain file or folder, of each member."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as zipped:
            for info in zipped.infolist():
                kind = stat.S_IFMT(info.external_attr >> 16)
                plain = kind in (0, stat.S_IFREG, stat.S_IFDIR)
                yield info.filename, info.file_size, plain
        return
    with tarfile.open(path) as tar:
        for member in tar:
            yield member.name, member.size, member.isreg() or member.isdir()
