"""Audio out of any container, by its content: soundfile reads it, else FFmpeg.

What FFmpeg reads (M4A, WebM, the sound of a video, AMR, WMA ...) is converted to a
scratch file once and read from there. What is no audio is refused by name.
"""

import logging
import os
import shutil
from collections.abc import Iterator
from functools import lru_cache
from tempfile import SpooledTemporaryFile
from typing import BinaryIO

import numpy as np
import soundfile

from espnet_smoe.data.speech import riff
from espnet_smoe.data.speech.ffmpeg import convert
from espnet_smoe.data.speech.raw_pcm import WINDOW, WINDOWS, RawCheck, raw_format
from espnet_smoe.data.speech.resample import SAMPLE_RATE
from espnet_smoe.data.speech.sniff import HEAD_BYTES, Kind, kind_of
from espnet_smoe.data.speech.surplus import has_surplus, without_length

BLOCK = 2**12  # samples: so much of a damaged file may be lost
UNKNOWN_FRAMES = 2**62
MOST_IN_MEMORY = 256 * 2**20  # bytes; more goes to a scratch file
MOST_MISSING = 0.05  # of a file whose header estimates its length, as of MP3
OGG_PAGE = b"OggS\0"
LONGEST_OGG_PAGE = 65307  # bytes
OGG_HEADER = 27  # bytes of a page before the table of its parts, whose length is last
AGAIN = "Copy or download it again; to keep the rest: ffmpeg -i FILE NEW.wav"


class Sound:
    """A recording that is open.

    Args:
        file: Path, or a seekable file.
        name: For error messages.
        strict: What is cut off is an error, not a warning.
        options: Of soundfile.

    Attributes:
        rate: Hz.
        channels: How many.
        frames: Samples a channel; None where only reading tells.
    """

    def __init__(
        self,
        file: BinaryIO | bytes,
        name: str,
        strict: bool = True,
        **options: object,
    ):
        self.name, self.strict = name, strict
        self._file = _Forward(file, **options)
        self.rate, self.channels = self._file.samplerate, self._file.channels
        known = self._file.can_seek and self._file.frames < UNKNOWN_FRAMES
        self.frames = self._file.frames if known else None

    def __enter__(self) -> "Sound":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def read(self, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Read ``(n, channels)`` float32 from one sample to another, or to the end."""
        nothing = np.zeros((0, self.channels), np.float32)
        if stop is None:
            return np.concatenate([nothing, *self.blocks(BLOCK, start)])
        if self.frames is None:  # neither length nor a way to seek
            return self.read()[start:stop]
        return next(self.blocks(min(stop, self.frames) - start, start), nothing)

    def blocks(self, size: int, start: int = 0) -> Iterator[np.ndarray]:
        """Yield ``(size, channels)`` float32 each to the end, the last one shorter.

        Raises:
            ValueError: The file is damaged or cut off.
        """
        count, parts, held, fault = 0, [], 0, ""
        try:
            if start:
                self._file.seek(start)
            # little at a time: what is being read when a fault is met is lost
            while size > 0 and len(part := self._read(min(BLOCK, size - held))):
                parts.append(part)
                held, count = held + len(part), count + len(part)
                if held == size:
                    yield np.concatenate(parts)
                    parts, held = [], 0
        except soundfile.SoundFileError as error:
            fault = reason_of(error)
        if parts:
            yield np.concatenate(parts)
        if fault:
            _cut(self.name, fault, self.strict)
            return
        if self.frames and start + count < (1 - MOST_MISSING) * self.frames:
            rest = 1 - (start + count) / self.frames
            _cut(self.name, f"{rest:.0%} is missing", self.strict)

    def _read(self, size: int) -> np.ndarray:
        return self._file.read(size, dtype="float32", always_2d=True)


class _Forward(soundfile.SoundFile):
    """A file that is not sought after each block.

    soundfile does so, which fails in GSM 6.10 and at the end of FLAC of unknown length.
    """

    def __init__(self, *args: object, **options: object):
        super().__init__(*args, **options)
        self.can_seek = super().seekable()

    def seekable(self) -> bool:
        return False


def open_sound(
    file: str | BinaryIO,
    name: str = "",
    raw: str = "",
    raw_rate: int = SAMPLE_RATE,
    strict: bool = True,
) -> Sound:
    """Open a recording.

    Args:
        file: Path of an existing file, or a seekable file, which has to stay open.
        name: For error messages; the path where it is empty.
        raw: Name of the format of its samples, of `raw_pcm.RAW_FORMATS`, if it is
            headerless.
        raw_rate: Hz of headerless samples.
        strict: What is cut off is an error, not a warning.

    Raises:
        ValueError: It cannot be read, is no audio, or is cut off.
    """
    if not isinstance(file, str):
        kind = _kind_of(file, name)
        if kind is None and raw:
            return _open_raw(file, name, raw, raw_rate, None)
        return _open(file, _scratch(file, name, kind, None, strict), name, strict, kind)
    name, path = name or file, os.fsencode(file)
    with _reading(path, name) as opened:
        kind = _kind_of(opened, name)
        if kind is None and raw:
            return _open_raw(opened, name, raw, raw_rate, path)
        stat = os.fstat(opened.fileno())
    version = stat.st_mtime_ns, stat.st_size, os.getpid()
    scratch = _scratch_of_file(path, name, kind, strict, *version)
    return _open(path, scratch, name, strict, kind)


def spooled(pipe: BinaryIO) -> BinaryIO:
    """What a pipe holds, to its end, as a seekable file."""
    file = SpooledTemporaryFile(max_size=MOST_IN_MEMORY)
    shutil.copyfileobj(pipe, file, 2**20)
    file.seek(0)
    return file


def refused(name: str, what: str) -> ValueError:
    """The error that something is no audio."""
    return ValueError(
        f"{name} cannot be read as audio: it is {what}. Give a recording such as WAV, "
        "FLAC, MP3 or M4A."
    )


def reason_of(error: Exception) -> str:
    """What a library says of a fault."""
    text = getattr(error, "error_string", None) or str(error)
    return text.strip().rstrip(".")


def _reading(path: bytes, name: str) -> BinaryIO:
    try:
        return open(path, "rb")
    except OSError as error:
        raise ValueError(
            f"{name} cannot be read ({error.strerror}). Correct the path or its rights."
        ) from error


def forget_converted() -> None:
    """Remove what was converted last; else it stays until another file is."""
    _scratch_of_file.cache_clear()


def _kind_of(file: BinaryIO, name: str) -> Kind | None:
    """What a file is; an error where it is no audio."""
    file.seek(0)
    head = file.read(HEAD_BYTES)
    if not head:
        raise ValueError(
            f"{name} cannot be read as audio: it is empty. Record or copy it again."
        )
    kind = kind_of(head, complete=len(head) < HEAD_BYTES)
    if kind is not None and not kind.audio:
        raise refused(name, kind.name)
    return kind


def _open(
    file: BinaryIO | bytes,
    scratch: BinaryIO | None,
    name: str,
    strict: bool,
    kind: Kind | None,
) -> Sound:
    source = file if scratch is None else scratch
    if not isinstance(source, bytes):
        source.seek(0)
    try:
        return Sound(source, name, strict)
    except (soundfile.SoundFileError, OSError) as error:
        raise ValueError(
            f"{name} cannot be read as audio ({reason_of(error)}). Convert it to WAV "
            "or FLAC."
        ) from error


@lru_cache(maxsize=1)
def _scratch_of_file(
    path: bytes, name: str, kind: Kind | None, strict: bool, *_version: int
) -> BinaryIO | None:
    """Kept, since a long recording is read part after part."""
    with _reading(path, name) as file:
        return _scratch(file, name, kind, path, strict)


def _scratch(
    file: BinaryIO, name: str, kind: Kind | None, path: bytes | None, strict: bool
) -> BinaryIO | None:
    """What to read instead of a file, mended or converted; None: the file itself."""
    data = riff.find_data(file)
    if data is not None and data.missing:
        what = f"{data.missing:.0%} of what its header tells of is missing"
        _cut(name, what, strict)
    if kind is not None and kind.name == "Ogg" and not _ogg_ends(file):
        _cut(name, "its last page is missing", strict)
    more = kind is not None and has_surplus(file, kind.name)
    if more or (data is not None and data.surplus):
        _tell_surplus(name, strict)
    if data is not None and data.fields and (data.length is None or data.surplus):
        return _with_header(file, riff.mended(file, data))
    if more and kind is not None and kind.name == "FLAC":
        return _with_header(file, without_length(file))
    if more:
        return convert(file, name, path, kind, "", strict, trust_length=False)
    file.seek(0)
    try:
        Sound(path or file, name).close()
    except (soundfile.SoundFileError, OSError) as error:
        return convert(file, name, path, kind, reason_of(error), strict)
    return None


def _open_raw(
    file: BinaryIO, name: str, raw: str, rate: int, path: bytes | None
) -> Sound:
    form = raw_format(raw)
    file.seek(0)
    head = file.read(WINDOWS * WINDOW)
    if found := RawCheck(raw)(head, last=True):
        raise ValueError(
            f"{name} looks like {found}, not like raw {raw} samples. Convert it to WAV."
        )
    file.seek(0)
    return Sound(
        path or file,
        name,
        format="RAW",
        subtype=form.subtype,
        endian=form.endian,
        samplerate=rate,
        channels=1,
    )


def _with_header(file: BinaryIO, header: bytes) -> BinaryIO:
    """A copy that begins with other bytes, as many as they are."""
    scratch = SpooledTemporaryFile(max_size=MOST_IN_MEMORY)
    scratch.write(header)
    file.seek(len(header))
    shutil.copyfileobj(file, scratch, 2**20)
    return scratch


def _tell_surplus(name: str, strict: bool) -> None:
    """ffmpeg and sox read up to the length in the header, and say nothing."""
    message = f"{name} goes on behind the length that its header tells of"
    if strict:
        raise ValueError(
            f"{message}. Make it again, or keep what FFmpeg decodes: "
            "ffmpeg -i FILE NEW.wav."
        )
    logging.warning("%s; all of it is decoded", message)


def _cut(name: str, what: str, strict: bool) -> None:
    message = f"{name} is cut off or damaged: {what}"
    if strict:
        raise ValueError(f"{message}. {AGAIN}.")
    logging.warning("%s; only the rest is decoded", message)


def _ogg_ends(file: BinaryIO) -> bool:
    """Whether the last page says that it is the last, and is whole."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - LONGEST_OGG_PAGE - 1024))
    tail = file.read()
    last = tail[max(0, tail.rfind(OGG_PAGE)) :]
    if len(last) < OGG_HEADER:
        return False
    table = last[OGG_HEADER : OGG_HEADER + last[OGG_HEADER - 1]]  # bytes of each part
    whole = len(last) >= OGG_HEADER + last[OGG_HEADER - 1] + sum(table)
    return last.startswith(OGG_PAGE) and whole and bool(last[5] & 4)
