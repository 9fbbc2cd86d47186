"""Sound behind the end that a header tells of, in FLAC, MP3 and Ogg files.

Readers stop at the end that the header claims: what follows would be lost silently.
It is there in files joined with ``cat``, and where a program has gone on writing.
"""

import os
import struct
from collections.abc import Callable, Iterator
from typing import BinaryIO

from espnet_smoe.data.speech.sniff import mpeg_frame_bytes

LEAST = 1.05  # times what the header tells of: encoders add frames at the end
TAIL = 2**17  # bytes: the longest frame of FLAC, and another one
FLAC_BLOCKS = {1: 192, 6: None, 7: None}  # None: the size follows in the header
FLAC_BLOCKS |= {n: 576 << (n - 2) for n in range(2, 6)}
FLAC_BLOCKS |= {n: 256 << (n - 8) for n in range(8, 16)}
TAG_BYTES = 128  # in ID3v1
OGG_HEADER, FIRST_PAGE = 27, 2  # bytes; a flag


def has_surplus(file: BinaryIO, kind: str) -> bool:
    """Whether a file holds more sound than a reader will see.

    Args:
        file: Seekable; its position is moved.
        kind: Name of its `Kind`.
    """
    check = CHECKS.get(kind)
    file.seek(0)
    return check is not None and check(file)


def without_length(file: BinaryIO) -> bytes:
    """The beginning of a FLAC file that does not tell how long it is."""
    file.seek(0)
    head = bytearray(file.read(26))
    head[21] &= 0xF0  # 36 bits count the samples; 0: unknown
    head[22:26] = bytes(4)
    return bytes(head)


def _flac(file: BinaryIO) -> bool:
    """The last frame tells where it lies."""
    head = file.read(42)
    if head[:4] != b"fLaC" or len(head) < 42:
        return False
    total = int.from_bytes(head[21:26], "big") & (2**36 - 1)
    smallest = struct.unpack_from(">H", head, 8)[0]
    first = _first_flac_frame(file, head)
    if not total or not first:
        return False
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - TAIL))
    tail = file.read()
    at = tail.rfind(first[:2])
    while at >= 0:
        # of the same rate and width as the first; only a last block is of another size
        if tail[at + 2 : at + 3] and tail[at + 2] & 15 == first[2] & 15:
            if tail[at + 3 : at + 4] == first[3:4]:
                end = _flac_end(tail[at : at + 16], smallest)
                if end is not None:
                    return end > LEAST * total
        at = tail.rfind(first[:2], 0, at)
    return False


def _first_flac_frame(file: BinaryIO, head: bytes) -> bytes:
    position, last = 4, False
    while not last:
        file.seek(position)
        block = file.read(4)
        if len(block) < 4:
            return b""
        last = bool(block[0] & 0x80)
        position += 4 + int.from_bytes(block[1:], "big")
    file.seek(position)
    frame = file.read(4)
    return frame if len(frame) == 4 and frame[0] == 0xFF else b""


def _flac_end(frame: bytes, smallest: int) -> int | None:
    """Samples up to the end of a frame; None where its checksum is wrong."""
    ones = 8 - (frame[4] ^ 0xFF).bit_length() if len(frame) > 4 else 9
    length = max(1, ones)  # bytes of a number written as UTF-8 writes characters
    if ones == 1 or ones > 7 or len(frame) < 5 + length + 2:
        return None
    number = frame[4] & (0x7F >> ones)
    for byte in frame[5 : 4 + length]:
        number = number << 6 | byte & 0x3F
    at, code = 4 + length, frame[2] >> 4
    block = FLAC_BLOCKS.get(code)
    if code in (6, 7):
        block = 1 + int.from_bytes(frame[at : at + code - 5], "big")
        at += code - 5
    at += {12: 1, 13: 2, 14: 2}.get(frame[2] & 15, 0)  # Hz that no code stands for
    if block is None or _crc8(frame[:at]) != frame[at : at + 1]:
        return None
    return (number if frame[1] & 1 else number * smallest) + block


def _crc8(data: bytes) -> bytes:
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc << 1 ^ 0x07 if crc & 0x80 else crc << 1) & 0xFF
    return bytes([crc])


def _mp3(file: BinaryIO) -> bool:
    """A first frame without sound may count the others."""
    data = file.read()
    at = _id3_bytes(data, 0)
    size = mpeg_frame_bytes(data[at : at + 4])
    tag = max(data.find(b"Xing", at, at + size), data.find(b"Info", at, at + size))
    if tag < 0 or len(data) < tag + 12 or not data[tag + 7] & 1:
        return False
    claimed = struct.unpack_from(">I", data, tag + 8)[0]
    return (
        claimed > 0
        and sum(1 for _ in _mpeg_frames(data, at + size)) > LEAST * claimed + 2
    )


def _mpeg_frames(data: bytes, at: int) -> Iterator[int]:
    """Yield where each frame begins, up to what is none."""
    while True:
        while size := _id3_bytes(data, at):
            at += size
        size = mpeg_frame_bytes(data[at : at + 4])
        if not size:
            return
        yield at
        at += size


def _id3_bytes(data: bytes, at: int) -> int:
    """Length of the tag that begins here; 0 where there is none."""
    tag = data[at : at + 10]
    if tag[:3] == b"TAG":
        return TAG_BYTES
    if tag[:3] != b"ID3" or len(tag) < 10:
        return 0
    return 10 + sum((byte & 0x7F) << 7 * (3 - n) for n, byte in enumerate(tag[6:]))


def _ogg(file: BinaryIO) -> bool:
    """Whether one stream follows another: all begin before the first goes on."""
    position, begun = 0, False
    while True:
        file.seek(position)
        page = file.read(OGG_HEADER + 255)
        if len(page) < OGG_HEADER or page[:4] != b"OggS":
            return False
        first = bool(page[5] & FIRST_PAGE)
        if first and begun:
            return True
        begun = begun or not first
        segments = page[26]
        lengths = page[OGG_HEADER : OGG_HEADER + segments]
        position += OGG_HEADER + segments + sum(lengths)


CHECKS: dict[str, Callable[[BinaryIO], bool]] = {
    "FLAC": _flac,
    "MP3": _mp3,
    "Ogg": _ogg,
}
