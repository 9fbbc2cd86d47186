"""Files inside zip archives, named ``ARCHIVE.zip!MEMBER``, read without unpacking.

Archives stay open between calls, since the table of contents of one with a hundred
thousand members takes seconds to read.
"""

import hashlib
import os
import re
import shutil
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import BinaryIO

import numpy as np

from espnet_smoe.config.archive_limits import expands_too_much
from espnet_smoe.data.sorted_file import Listed

MARK = re.compile(r"(?<=.)\.zip!", re.IGNORECASE | re.DOTALL)
MOST_ARCHIVES_OPEN = 8
LARGEST_IN_MEMORY = 256 * 2**20  # bytes; a larger member is unpacked to a scratch file
UTF8_FLAG = 0x800
HEADER_BYTES, FLAGS, LENGTH = 30, slice(6, 8), slice(26, 28)  # before each member
# What `zipfile` has to know of a member to read it, as `struct` and numpy write it.
FACTS = {
    "header_offset": "q",  # below 0 where the beginning of the archive is missing
    "compress_size": "Q",
    "file_size": "Q",
    "CRC": "I",
    "flag_bits": "H",
    "compress_type": "H",
}
PACKED = f"<QQ{''.join(FACTS.values())}"  # hashes of its names before them
MEMBER = np.dtype(
    [
        ("name", "<Q"),
        (
            "facts",
            [("original", "<Q"), *((f, f"<{kind}") for f, kind in FACTS.items())],
        ),
    ]
)


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


def members(archive: Path | str, folder: Path) -> Listed:
    """Names of the files in an archive, in its order, each once.

    Args:
        archive: The zip file.
        folder: Receives the names.

    Raises:
        ValueError: The archive does not exist or is not a whole zip file.
    """
    _version(str(archive))
    names = Listed(folder)
    with _read_archive(str(archive), names.append) as opened:
        doubled = opened.doubled()
    if not doubled:
        return names
    once, seen = Listed(folder), set()
    for name in names:
        if name not in seen:
            once.append(name)
        if _hash(name) in doubled:
            seen.add(name)
    return once


def read_bytes(reference: str, most: int | None = None) -> bytes:
    """Read a whole file, plain or in an archive, see `open_file`."""
    with open_file(reference, most) as file:
        return file.read()


def open_file(reference: str, most: int | None = None) -> BinaryIO:
    """Open a file, plain or in an archive.

    Args:
        reference: ``PATH`` or ``ARCHIVE.zip!MEMBER``.
        most: Bytes; a larger file is refused before it is read.

    Raises:
        ValueError: It does not exist, cannot be read or is too large.
    """
    archive, member = split_member(reference)
    if member:
        return open_member(archive, member, most)
    try:
        if most is not None:
            _check_size(reference, os.path.getsize(reference), most)
        return open(reference, "rb")
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
    zipped, name = _open_archive(archive), f"{archive}!{member}"
    info = zipped.find(member)
    if info is None:
        raise ValueError(f"{archive} holds no {member}. Correct the path.")
    if most is not None:
        _check_size(name, info.file_size, most)
    if expands_too_much(info.compress_size, info.file_size):
        raise ValueError(
            f"{name} unpacks from {info.compress_size:,} to {info.file_size:,} bytes, "
            "as no recording does. Take it out of the archive, or unpack it by hand."
        )
    unpacked = SpooledTemporaryFile(max_size=LARGEST_IN_MEMORY)
    try:
        with zipped.open(info) as packed:
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


def _open_archive(path: str) -> "_Archive":
    # The process is part of the key: a file that a fork inherits shares its position.
    return _opened(path, *_version(path), os.getpid())


def _version(path: str) -> tuple[int, int]:
    try:
        stat = os.stat(path)
    except OSError as error:
        raise ValueError(f"{path} does not exist. Correct the path.") from error
    return stat.st_mtime_ns, stat.st_size


@lru_cache(maxsize=MOST_ARCHIVES_OPEN)
def _opened(path: str, _changed: int, _size: int, _process: int) -> "_Archive":
    return _read_archive(path)


def _read_archive(
    path: str, take: Callable[[str], None] = lambda _: None
) -> "_Archive":
    try:
        return _Archive(path, take)
    except (
        zipfile.BadZipFile,
        NotImplementedError,
        UnicodeDecodeError,
        OSError,
    ) as error:
        raise ValueError(
            f"{path} is not a whole zip file ({error}). Download it again."
        ) from error


class _Archive(zipfile.ZipFile):
    """An archive of which 48 bytes a member stay in memory: a `ZipInfo` has 540.

    Args:
        path: The zip file.
        take: Receives the name of each file in it.
    """

    def __init__(self, path: str, take: Callable[[str], None]):
        self._take = take
        self._packed = bytearray()
        super().__init__(path)
        table = np.frombuffer(self._packed, MEMBER)
        order = np.argsort(table["name"], kind="stable")
        self._hashes, self._facts = table["name"][order], table["facts"][order]
        del self._packed, self._take

    # Python's class puts each member that it reads into these two.
    filelist = property(lambda self: self, lambda self, _: None)
    NameToInfo = property(lambda self: {}, lambda self, _: None)

    def __iter__(self) -> Iterator[zipfile.ZipInfo]:
        return iter(())

    def append(self, info: zipfile.ZipInfo) -> None:
        """Take in what the table of contents says of a member."""
        if not info.is_dir():
            name = _name(info)
            self._take(name)
            facts = [getattr(info, fact) for fact in FACTS]
            hashes = _hash(name), _hash(info.orig_filename)
            self._packed += struct.pack(PACKED, *hashes, *facts)

    def doubled(self) -> set[int]:
        """Hashes of names that several members have."""
        return set(self._hashes[1:][self._hashes[1:] == self._hashes[:-1]].tolist())

    def find(self, name: str) -> zipfile.ZipInfo | None:
        """The member of a name, the last one of several."""
        wanted = np.uint64(_hash(name))
        at = int(np.searchsorted(self._hashes, wanted, side="right")) - 1
        if at < 0 or self._hashes[at] != wanted:
            return None
        original, *facts = self._facts[at].item()
        info = zipfile.ZipInfo(name)
        found = self._name_at(facts[0])
        if _hash(found) == original:  # else `open` says that they differ
            info.orig_filename = found
        for fact, value in zip(FACTS, facts):
            setattr(info, fact, value)
        return info

    def _name_at(self, offset: int) -> str:
        """The name before a member itself, as `zipfile` reads it."""
        file, offset = self.fp.fileno(), max(offset, 0)
        header = os.pread(file, HEADER_BYTES, offset).ljust(HEADER_BYTES, b"\0")
        flags, length = (int.from_bytes(header[at], "little") for at in (FLAGS, LENGTH))
        name = os.pread(file, length, offset + HEADER_BYTES)
        return name.decode("utf-8" if flags & UTF8_FLAG else "cp437", "replace")


def _hash(name: str) -> int:
    digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8)
    return int.from_bytes(digest.digest(), "little")


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
