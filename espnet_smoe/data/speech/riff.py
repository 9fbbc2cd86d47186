"""What headers say of the length of the audio behind them, and mending it.

A writer that cannot go back, as on a pipe, leaves 0 or a huge number where the length
belongs. A file that was cut off holds less than its header says.
"""

import os
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import BinaryIO

# bytes from which on a length says that its writer does not know it: ffmpeg has
# 0xffffffff there, arecord 0x7fffff00, sox 0x7ffff000
UNKNOWN_LENGTH = 0x7FFF0000
SLACK = 1024  # bytes by which writers miscount
# what begins with these is known by its name alone, though its length may be wrong
TAGS = (
    *(b"LIST", b"id3 ", b"ID3", b"bext", b"cue ", b"smpl", b"inst", b"iXML", b"axml"),
    *(b"afsp", b"PEAK", b"JUNK", b"junk", b"PAD ", b"FLLR", b"cart", b"_PMX", b"fact"),
    *(b"TAG", b"APETAGEX", b"LYRICSBEGIN", b"COMT", b"MARK", b"NAME", b"ANNO", b"AUTH"),
    *(b"pakt", b"kuki", b"chan", b"peak", b"mark", b"regn", b"midi", b"ovvw", b"edct"),
    *(b"info", b"strg", b"umid", b"uuid", b"free", b"DISP", b"acid", b"strc", b"minf"),
)
FILES = (b"RIFF", b"RIFX", b"FORM", b"RF64", b"BW64")  # another one, joined to it
W64_NAME = b"\xf3\xac\xd3\x11\x8c\xd1"  # in the names of chunks of W64
MOST_FILLED = 2**16  # bytes of zeros with which recorders fill up to a block
SPHERE_FIELDS = ("sample_count", "channel_count", "sample_n_bytes")


@dataclass(frozen=True)
class Data:
    """Where the samples of a file lie.

    Attributes:
        start: Offset of the first byte.
        length: Bytes, as the header says; None where its writer did not know it.
        there: Bytes that the file holds from there on.
        surplus: Bytes behind the length that are no chunks, and so are samples, too.
        fields: Offset and struct format of the numbers that tell the length, and what
            they count beside it.
    """

    start: int
    length: int | None
    there: int
    fields: tuple[tuple[int, str, int], ...] = ()
    surplus: int = 0

    @property
    def missing(self) -> float:
        """Part of the samples that the file has lost, 0 to 1."""
        if self.length is None or self.length <= self.there + SLACK:
            return 0.0
        return 1 - self.there / self.length


def find_data(file: BinaryIO) -> Data | None:
    """Find the samples of WAV, RF64, W64, AIFF, AU, CAF and SPHERE files.

    Args:
        file: Seekable; its position is moved.

    Returns:
        Where they lie; None of other files, and where the header is broken.
    """
    size = file.seek(0, os.SEEK_END)
    found = _find_data(file, size)
    if found is None or found.length is None:
        return found
    end = found.start + found.length
    if size - end <= SLACK or _holds_chunks(file, end, size):
        return found
    return replace(found, surplus=size - end)


def _find_data(file: BinaryIO, size: int) -> Data | None:
    file.seek(0)
    head = file.read(1024)
    if head[:4] in (b"RIFF", b"RF64", b"BW64") and head[8:12] == b"WAVE":
        return _in_chunks(file, size, "<", b"data")
    if head[:4] == b"RIFX":
        return _in_chunks(file, size, ">", b"data")
    if head[:4] == b"FORM":
        return _in_chunks(file, size, ">", b"SSND")
    if head[:4] == b".snd" and len(head) > 12:
        start, length = struct.unpack_from(">2I", head, 4)
        known = 0 < length < UNKNOWN_LENGTH
        return Data(start, length if known else None, size - start, ((8, ">I", 0),))
    if head[:4] == b"caff":
        return _in_caf(file, size)
    if head[:8] == b"riff\x2e\x91\xcf\x11":
        return _in_w64(head, size)
    if head[:7] == b"NIST_1A":
        return _in_sphere(head, size)
    return None


def mended(file: BinaryIO, data: Data) -> bytes:
    """The header up to the samples, with the length that is there.

    Args:
        file: What `find_data` was given.
        data: What it found.
    """
    file.seek(0)
    header = bytearray(file.read(data.start))
    for offset, layout, more in data.fields:
        most = 2 ** (8 * struct.calcsize(layout)) - 2
        struct.pack_into(layout, header, offset, min(data.there + more, most))
    return bytes(header)


def _chunks(file: BinaryIO, start: int, order: str) -> Iterator[tuple[bytes, int, int]]:
    """Yield name, offset of the content and its length, of each chunk."""
    while True:
        file.seek(start)
        header = file.read(8)
        if len(header) < 8:
            return
        name, length = header[:4], struct.unpack(f"{order}I", header[4:])[0]
        yield name, start + 8, length
        start += 8 + length + length % 2


def _in_chunks(file: BinaryIO, size: int, order: str, wanted: bytes) -> Data | None:
    long_field = None
    for name, start, length in _chunks(file, 12, order):
        there = size - start
        if name == b"ds64":
            long_field = start + 8
        elif name == wanted and long_field is not None and length >= UNKNOWN_LENGTH:
            file.seek(long_field)
            (length,) = struct.unpack("<Q", file.read(8))
            known = length if 0 < length < 2**62 else None
            return Data(start, known, there, ((long_field, "<Q", 0),))
        elif name == wanted:
            unknown = length >= UNKNOWN_LENGTH > there or (
                length == 0 and there > 0 and not _only_chunks(file, start, size, order)
            )
            field = ((start - 4, f"{order}I", 0),)
            return Data(start, None if unknown else length, there, field)
    return None


def _only_chunks(file: BinaryIO, start: int, size: int, order: str) -> bool:
    """Whether other chunks, and no samples, fill the file from here to its end."""
    end = start
    for name, begin, length in _chunks(file, start, order):
        if not re.fullmatch(rb"[A-Za-z][A-Za-z0-9_ ]{3}", name):
            return False
        end = begin + length
        if end > size:
            return False
    return end in (size, size - 1)


def _holds_chunks(file: BinaryIO, end: int, size: int) -> bool:
    """Whether what follows the samples is known to be something else."""
    file.seek(end)
    head = file.read(64)
    if size - end <= MOST_FILLED and not any(head + file.read(MOST_FILLED)):
        return True
    for skipped in (0, 1):  # writers fill up to an even length, or forget to
        name = head[skipped : skipped + 4]
        if head[skipped:].startswith(TAGS) or W64_NAME in head[:32]:
            return True
        if name not in FILES and any(
            _only_chunks(file, end + skipped, size, order) for order in "<>"
        ):
            return True
    return False


def _in_caf(file: BinaryIO, size: int) -> Data | None:
    position = 8
    while True:
        file.seek(position)
        header = file.read(12)
        if len(header) < 12:
            return None
        name, length = struct.unpack(">4sq", header)
        start = position + 12
        if name == b"data":  # its length counts four bytes before the samples, too
            known = length - 4 if length > 4 else None
            fields = ((position + 4, ">q", 4),)
            return Data(start + 4, known, size - start - 4, fields)
        if length < 0:
            return None
        position = start + length


def _in_w64(head: bytes, size: int) -> Data | None:
    at = head.find(b"data\xf3\xac\xd3\x11")
    if at < 0 or len(head) < at + 24:
        return None
    start = at + 24  # the length counts the 24 bytes before the samples, too
    (length,) = struct.unpack_from("<Q", head, at + 16)
    known = length - 24 if 24 < length < 2**62 else None
    fields = ((16, "<Q", start), (at + 16, "<Q", 24))
    return Data(start, known, size - start, fields)


def _in_sphere(head: bytes, size: int) -> Data | None:
    try:
        start = int(head.split(b"\n")[1])
        count = 1
        for name in SPHERE_FIELDS:
            count *= int(re.search(rb"\n%s -i (\d+)" % name.encode(), head)[1])
    except (IndexError, TypeError, ValueError):
        return None
    if b"sample_coding -s" in head and not re.search(
        rb"sample_coding -s\d+ (pcm|ulaw|alaw)\s", head
    ):
        return None  # shorten packs it
    return Data(start, count, size - start)
