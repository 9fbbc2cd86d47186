"""Samples off a pipe while they come: headerless, or behind the header of a WAV."""

import io
import logging
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Protocol

import numpy as np
import soundfile

from espnet_smoe.data.speech.raw_pcm import RawFormat
from espnet_smoe.data.speech.riff import SLACK, UNKNOWN_LENGTH

# by format tag and bytes a sample
WAV_FORMATS = {
    (1, 1): "PCM_U8",
    (1, 2): "PCM_16",
    (1, 3): "PCM_24",
    (1, 4): "PCM_32",
    (3, 4): "FLOAT",
    (3, 8): "DOUBLE",
    (6, 1): "ALAW",
    (7, 1): "ULAW",
}
EXTENSIBLE = 0xFFFE
LONGEST_CHUNK = 2**26  # bytes before the samples: a picture, at most


class Readable(Protocol):
    """What bytes come from."""

    def read(self, size: int) -> bytes:
        """At most ``size`` bytes, fewer only at the end."""


@dataclass(frozen=True)
class WavHeader:
    """What comes behind the header of a WAV.

    Attributes:
        format: Of the samples.
        channels: How many.
        rate: Hz.
        length: Bytes of all of them; very many where the writer did not know it.
    """

    format: RawFormat
    channels: int
    rate: int
    length: int


class Peeked:
    """A pipe whose first bytes can be read again.

    Args:
        head: What has been read of it.
        pipe: The pipe.
    """

    def __init__(self, head: bytes, pipe: BinaryIO):
        self._head, self._pipe = head, pipe
        self._read_so_far: bytes | None = b""

    def read(self, size: int) -> bytes:
        """At most ``size`` bytes, fewer only at the end."""
        head, self._head = self._head[:size], self._head[size:]
        data = head if len(head) == size else head + self._pipe.read(size - len(head))
        if self._read_so_far is not None:
            self._read_so_far += data
        return data

    def rewind(self) -> None:
        """Read from the beginning again."""
        assert self._read_so_far is not None, "the beginning is forgotten"
        self._head, self._read_so_far = self._read_so_far + self._head, b""

    def forget(self) -> None:
        """Keep no more for `rewind`."""
        self._read_so_far = None


def read_wav_header(pipe: Peeked) -> WavHeader | None:
    """Read a WAV up to its samples.

    Returns:
        What follows; None where its samples are packed in blocks: they cannot be read
        as they come.

    Raises:
        ValueError: The header is broken.
    """
    try:
        header = _read_chunks(pipe)
    except (struct.error, ValueError) as error:
        raise ValueError(
            f"the WAV header on standard input is broken ({error or 'cut off'}); write "
            "it with: ffmpeg -i FILE -c:a pcm_s16le -f wav -"
        ) from error
    if header is not None:
        pipe.forget()
    return header


def _read_chunks(pipe: Peeked) -> WavHeader | None:
    pipe.read(12)  # RIFF, size, WAVE
    found = None
    while True:
        chunk = pipe.read(8)
        if len(chunk) < 8:
            raise ValueError("it is cut off")
        name, length = struct.unpack("<4sI", chunk)
        if name == b"data":
            break
        if length > LONGEST_CHUNK:
            raise ValueError(f"a chunk {name!r} of {length} bytes")
        content = pipe.read(length + length % 2)
        if name == b"fmt ":
            found = content
    if found is None:
        raise ValueError("it has no 'fmt ' chunk before its samples")
    tag, channels, rate, _, block, _ = struct.unpack_from("<HHIIHH", found)
    if tag == EXTENSIBLE and len(found) >= 26:
        (tag,) = struct.unpack_from("<H", found, 24)
    if rate < 1 or channels < 1:
        raise ValueError(f"{channels} channels at {rate} Hz")
    width = block // channels
    if (tag, width) not in WAV_FORMATS or block % channels:
        return None
    known = 0 < length < UNKNOWN_LENGTH
    form = RawFormat(WAV_FORMATS[tag, width], width)
    return WavHeader(form, channels, rate, length if known else sys.maxsize)


def blocks_of_pcm(
    pipe: Readable,
    form: RawFormat,
    channels: int,
    rate: int,
    seconds: float,
    length: int = sys.maxsize,
) -> Iterator[np.ndarray]:
    """Yield ``(n, channels)`` float32.

    Args:
        pipe: Where they come from.
        form: Format of the samples.
        channels: How many.
        rate: Hz.
        seconds: Of a block.
        length: Bytes in all; fewer where the pipe ends before, with a warning.
    """
    frame = channels * form.width
    size = max(1, int(seconds * rate)) * frame
    while data := pipe.read(min(size, length)):
        length -= len(data)
        whole = data[: len(data) // frame * frame]
        if whole:
            yield soundfile.read(
                io.BytesIO(whole),
                dtype="float32",
                always_2d=True,
                format="RAW",
                subtype=form.subtype,
                endian=form.endian,
                samplerate=rate,
                channels=channels,
            )[0]
    if SLACK < length < UNKNOWN_LENGTH:
        logging.warning(
            "standard input ended %.1f s before the length in its WAV header",
            length / frame / rate,
        )
