"""Audio in: any rate, any number of channels, to 16 kHz mono 16-bit files.

A recording is named by a reference: ``PATH`` or ``ARCHIVE.zip!MEMBER``, either with
``#START-END`` in seconds for a part of it (``talk.wav#12.340-15.600``).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile

from espnet_smoe.data.archive import open_member, split_member
from espnet_smoe.data.downmix import downmix
from espnet_smoe.data.resample import SAMPLE_RATE, change_speed, resample

__all__ = ["SAMPLE_RATE", "change_speed", "resample"]  # to be had here, too
RAW_SUFFIX = ".pcm"  # headerless 16 kHz signed 16-bit little-endian mono
RAW_FORMAT = {
    "format": "RAW",
    "subtype": "PCM_16",
    "endian": "LITTLE",
    "samplerate": SAMPLE_RATE,
    "channels": 1,
}
SEGMENT = re.compile(r"(?P<file>.+)#(?P<start>\d+\.?\d*)-(?P<end>\d+\.?\d*)", re.DOTALL)


def split_segment(reference: str) -> tuple[str, float, float | None]:
    """Take a reference apart: recording, start and end in seconds.

    Example:
        >>> split_segment("talk.wav#1.5-3"), split_segment("talk.wav")
        (('talk.wav', 1.5, 3.0), ('talk.wav', 0.0, None))
    """
    match = SEGMENT.fullmatch(reference)
    if match is None:
        return reference, 0.0, None
    return match["file"], float(match["start"]), float(match["end"])


def segment(reference: str, start: float, end: float) -> str:
    """Name a part of a recording, ``start`` to ``end`` in seconds.

    Example:
        >>> segment("TS.zip!talk.wav", 1.5, 3)
        'TS.zip!talk.wav#1.500-3.000'
    """
    return f"{reference}#{start:.3f}-{end:.3f}"


def version_of(reference: str) -> list[int]:
    """Time of change (ns) and size (bytes) of the file behind a reference.

    Raises:
        OSError: There is no such file.
    """
    stat = os.stat(split_member(split_segment(reference)[0])[0])
    return [stat.st_mtime_ns, stat.st_size]


def read_audio(path: Path | str) -> tuple[np.ndarray, int]:
    """Read a recording, or the part of it that is named, as it is.

    Args:
        path: A reference to any file that soundfile reads, or to headerless ``.pcm``
            (16 kHz, signed 16 bit, mono, as some Korean corpora ship it). An end
            beyond the recording's is that of the recording.

    Returns:
        The wave, float32 in [-1, 1], channels mixed, shape (samples,), and its
        sample rate in Hz.

    Raises:
        ValueError: The file does not exist or cannot be read, or the part begins
            after its end.
    """
    recording, start, end = split_segment(str(path))
    with _opened(recording) as file:
        rate = file.samplerate
        first = round(start * rate)
        if end is not None and not first < min(round(end * rate), file.frames):
            raise ValueError(
                f"{path} is no part of the recording, which lasts "
                f"{file.frames / rate:.3f} s. Correct the times."
            )
        file.seek(first)
        count = -1 if end is None else round(end * rate) - first
        wave = file.read(count, dtype="float32", always_2d=True)  # (samples, channels)
    return downmix(wave, rate), rate  # (samples,)


@contextmanager
def _opened(recording: str) -> Iterator[soundfile.SoundFile]:
    if recording.rstrip().endswith("|"):
        raise ValueError(
            f"'{recording}' is a shell pipe, not a file. Run it once and list its "
            "output."
        )
    archive, member = split_member(recording)
    if not Path(archive).is_file():
        raise ValueError(f"{archive} does not exist. Correct the path.")
    source: str | BinaryIO = archive
    if member:
        source = _last_member(archive, member, *version_of(recording), os.getpid())
        source.seek(0)
    raw = Path(recording).suffix.lower() == RAW_SUFFIX
    try:
        with soundfile.SoundFile(source, **(RAW_FORMAT if raw else {})) as file:
            yield file
    except (soundfile.SoundFileError, OSError) as error:
        raise ValueError(
            f"{recording} cannot be read as audio ({error}). Convert it to WAV or FLAC."
        ) from error


@lru_cache(maxsize=1)
def _last_member(archive: str, member: str, *_version: int) -> BinaryIO:
    """The last member read, unpacked: a long recording is read part after part."""
    return open_member(archive, member)


def fits(path: Path | str) -> bool:
    """Whether ESPnet can read the file as it is: 16 kHz mono 16-bit WAV or FLAC.

    Headerless audio, members of archives and parts of recordings it cannot.
    """
    recording, _, end = split_segment(str(path))
    packed = split_member(recording)[1]
    if end is not None or packed or Path(recording).suffix.lower() == RAW_SUFFIX:
        return False
    info = soundfile.info(recording)
    return (
        info.format in ("WAV", "FLAC")
        and info.subtype == "PCM_16"
        and info.samplerate == SAMPLE_RATE
        and info.channels == 1
    )


def write_wav(path: Path | str, wave: np.ndarray) -> None:
    """Write a 16 kHz mono 16-bit WAV; a killed run never leaves half a file."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = np.clip(np.round(wave * 32768), -32768, 32767).astype(np.int16)
    partial = path.with_name(path.name + ".part")
    soundfile.write(partial, samples, SAMPLE_RATE, format="WAV")
    os.replace(partial, path)
