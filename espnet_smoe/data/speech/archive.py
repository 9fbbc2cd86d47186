"""Files inside zip archives, named ``ARCHIVE.zip!MEMBER``, read without unpacking.

Archives stay open between calls, since the table of contents of one with a hundred
thousand members takes seconds to read.
"""

import os
import re
import shutil
import zipfile
import zlib
from functools import lru_cache
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import BinaryIO

from espnet_smoe.config.archive_limits import expands_too_much

MARK = re.compile(r"(?<=.)\.zip!", re.IGNORECASE | re.DOTALL)
MOST_ARCHIVES_OPEN = 8
LARGEST_IN_MEMORY = 256 * 2**20  # bytes; a larger member is unpacked to a scratch file
UTF8_FLAG = 0x800


def split_member(reference: str) -> tuple[str, str]:
    """Take ``ARCHIVE.zip!MEMBER`` apart; the member of a plain path is empty.

    Where a file of exactly that name exists, it is meant.

    Example:
        >>> split_member("TS_01.zip!S1/a.wav"), split_member("S1/a.wav")
        (('TS_01.zip', 'S1/a.wav'), ('S1/a.wav', ''))
    """
    if os.path.isfile(reference):
        return reference, ""
    ends = [match.end() - 1 for match in MARK.finditer(reference)]
    # of a path with several, the one at which an archive lies
    ends.sort(key=lambda end: not os.path.isfile(reference[:end]))
    for end in ends:
        if reference[end + 1 :]:
            return reference[:end], reference[end + 1 :]
    return reference, ""


def members(archive: Path | str) -> list[str]:
    """Names of the files in an archive, in its order.

    Raises:
        ValueError: The archive does not exist or is not a whole zip file.
    """
    return list(_open_archive(str(archive))[1])


def read_bytes(reference: str, most: int | None = None) -> bytes:
    """Read a whole file, plain or in an archive.

    Args:
        reference: ``PATH`` or ``ARCHIVE.zip!MEMBER``.
        most: Bytes; a larger file is refused before it is read.

    Raises:
        ValueError: It does not exist, cannot be read or is too large.
    """
    archive, member = split_member(reference)
    if member:
        with open_member(archive, member, most) as file:
            return file.read()
    try:
        if most is not None:
            _check_size(reference, os.path.getsize(reference), most)
        with open(reference, "rb") as file:
            return file.read()
    except OSError as error:
        raise ValueError(
            f"{reference} cannot be read ({error.strerror}). Correct the path."
        ) from error


def open_member(archive: str, member: str, most: int | None = None) -> BinaryIO:
    """A member of an archive as a file of its own, unpacked and seekable.

    Args:
        archive: The zip file.
        member: Its name there.
        most: Bytes; a larger one is refused before it is unpacked.

    Raises:
        ValueError: The archive or its member does not exist, is damaged or too large.
    """
    zipped, contents = _open_archive(archive)
    if member not in contents:
        raise ValueError(f"{archive} holds no {member}. Correct the path.")
    info, name = contents[member], f"{archive}!{member}"
    if most is not None:
        _check_size(name, info.file_size, most)
    if expands_too_much(info.compress_size, info.file_size):
        raise ValueError(
            f"{name} unpacks from {info.compress_size:,} to {info.file_size:,} bytes, "
            "as no recording does. Take it out of the archive, or unpack it by hand."
        )
    unpacked = SpooledTemporaryFile(max_size=LARGEST_IN_MEMORY)
    try:
        with zipped.open(contents[member]) as packed:
            shutil.copyfileobj(packed, unpacked, 2**20)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
        raise ValueError(
            f"{archive}!{member} is damaged ({error}). Download {archive} again."
        ) from error
    except (RuntimeError, NotImplementedError) as error:  # password, rare packing
        raise ValueError(
            f"{archive}!{member} cannot be unpacked ({error}). Unpack the archive by "
            "hand beside it and remove it."
        ) from error
    unpacked.seek(0)
    return unpacked


def _check_size(name: str, size: int, most: int) -> None:
    if size > most:
        raise ValueError(
            f"{name} is too large: {size:,} bytes, at most {most:,} are read. Split it "
            "or take it out."
        )


def _open_archive(path: str) -> tuple[zipfile.ZipFile, dict[str, zipfile.ZipInfo]]:
    try:
        stat = os.stat(path)
    except OSError as error:
        raise ValueError(f"{path} does not exist. Correct the path.") from error
    # The process is part of the key: a file that a fork inherits shares its position.
    return _opened(path, stat.st_mtime_ns, stat.st_size, os.getpid())


@lru_cache(maxsize=MOST_ARCHIVES_OPEN)
def _opened(
    path: str, _changed: int, _size: int, _process: int
) -> tuple[zipfile.ZipFile, dict[str, zipfile.ZipInfo]]:
    try:
        zipped = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError) as error:
        raise ValueError(
            f"{path} is not a whole zip file ({error}). Download it again."
        ) from error
    return zipped, {_name(i): i for i in zipped.infolist() if not i.is_dir()}


def _name(info: zipfile.ZipInfo) -> str:
    """The member's name; programs of Korean Windows write it in CP949 unannounced."""
    if info.flag_bits & UTF8_FLAG or info.filename.isascii():
        return info.filename
    raw = info.filename.encode("cp437")  # what zipfile decoded it as
    for encoding in ("utf-8", "cp949"):
        try:
            return raw.decode(encoding)
        except UnicodeDecodeError:
            continue
    return info.filename
