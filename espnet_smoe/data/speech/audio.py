"""Audio in: any rate, any number of channels, to 16 kHz mono 16-bit files.

A recording is named by a reference: ``PATH`` or ``ARCHIVE.zip!MEMBER``, either with
``#START-END`` in seconds for a part of it (``talk.wav#12.340-15.600``; without ``END``,
to its end). Where a file of exactly that name exists, it is meant. A ``wav.scp`` may
also hold what Kaldi knows: ``COMMAND |`` and ``ARCHIVE.ark:OFFSET``.
"""

import io
import os
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile

from espnet_smoe.data.segment import segment, split_segment
from espnet_smoe.data.speech.archive import open_member, split_member
from espnet_smoe.data.speech.container import Sound, open_sound, spooled
from espnet_smoe.data.speech.downmix import downmix
from espnet_smoe.data.speech.kaldi_audio import (
    files_of_command,
    is_command,
    open_entry,
    run_command,
    split_entry,
)
from espnet_smoe.data.speech.raw_pcm import DEFAULT_FORMAT
from espnet_smoe.data.speech.resample import SAMPLE_RATE, change_speed, resample
from espnet_smoe.data.speech.riff import find_data

__all__ = ["SAMPLE_RATE", "change_speed", "resample", "segment"]  # to be had here, too

RAW_SUFFIX = ".pcm"  # headerless 16 kHz signed 16-bit little-endian mono
OVERSHOOT = 0.5  # seconds that a part may end beyond its recording, as in Kaldi
PIPES = ("/dev/fd/", "/dev/stdin", "/proc/self/fd/")  # files of a shell, read once


def version_of(reference: str) -> list[int]:
    """Time of change (ns) and size (bytes) of the file behind a reference.

    Of a command, those of the files that it names.

    Raises:
        OSError: There is no such file.
    """
    recording = split_segment(reference)[0]
    files = [split_entry(split_member(recording)[0])[0]]
    if is_command(recording):
        files = files_of_command(recording)
    stats = map(os.stat, files)
    return [value for stat in stats for value in (stat.st_mtime_ns, stat.st_size)]


def read_audio(
    path: Path | str, *, commands: bool = False, strict: bool = True
) -> tuple[np.ndarray, int]:
    """Read a recording, or the part of it that is named, as it is.

    Args:
        path: A reference to any file that soundfile or FFmpeg reads, or to headerless
            ``.pcm`` (16 kHz, signed 16 bit, mono, as some Korean corpora ship it). An
            end beyond the recording's is that of the recording.
        commands: Run ``COMMAND |`` and read what it prints.
        strict: A file that is cut off is an error, not a warning.

    Returns:
        The wave, float32 in [-1, 1], channels mixed, shape (samples,), and its
        sample rate in Hz.

    Raises:
        ValueError: The file does not exist, cannot be read or is cut off, or the part
            is not within it.
    """
    recording, start, end = split_segment(str(path))
    with opened(recording, commands=commands, strict=strict) as sound:
        rate = sound.rate
        if start == 0 and end is None:
            wave = sound.read()  # (samples, channels)
        else:
            wave = _part(sound, str(path), start, end)
    return downmix(wave, rate), rate  # (samples,)


def read_listed(reference: str) -> tuple[np.ndarray, int]:
    """Read what a ``wav.scp`` or ``segments`` lists, with every doubt an error.

    Args:
        reference: See :func:`read_audio`; or ``COMMAND |``, which is run.

    Raises:
        ValueError: As :func:`read_audio`; or a part ends more than 0.5 s beyond its
            recording.
    """
    wave, rate = read_audio(reference, commands=True)
    check_end(reference, len(wave) / rate)
    return wave, rate


def check_end(reference: str, seconds: float) -> None:
    """Check that a part ends within its recording.

    Args:
        reference: Of the part.
        seconds: What was read of it.

    Raises:
        ValueError: It ends more than 0.5 s beyond.
    """
    _, start, end = split_segment(reference)
    if end is not None and end - start > seconds + OVERSHOOT:
        raise ValueError(
            f"{reference} ends beyond the recording, which lasts "
            f"{start + seconds:.3f} s. Correct the times, or copy the recording again "
            "if it was cut off."
        )


def _part(sound: Sound, name: str, start: float, end: float | None) -> np.ndarray:
    whole = sound.read() if sound.frames is None else None
    frames = sound.frames if whole is None else len(whole)
    assert frames is not None
    seconds = frames / sound.rate
    first = round(start * sound.rate)
    last = frames if end is None else round(end * sound.rate)
    if not first < min(last, frames):
        raise ValueError(
            f"{name} is no part of the recording, which lasts {seconds:.3f} s. Correct "
            "the times."
        )
    if whole is not None:
        return whole[first:last]
    return sound.read(first, min(last, frames))


@contextmanager
def opened(
    recording: str,
    *,
    commands: bool = False,
    strict: bool = True,
    raw: str = DEFAULT_FORMAT,
    raw_rate: int = SAMPLE_RATE,
) -> Iterator[Sound]:
    """Open a recording: a reference without times.

    Args:
        recording: See :func:`read_audio`.
        commands: See :func:`read_audio`.
        strict: See :func:`read_audio`.
        raw: Format of a ``.pcm`` file, of `raw_pcm.RAW_FORMATS`.
        raw_rate: Hz of a ``.pcm`` file.

    Raises:
        ValueError: It does not exist, cannot be read or is cut off.
    """
    source, version = _source(recording, commands)
    file: str | BinaryIO = source
    if version is not None:
        file = _last_unpacked(recording, *version, os.getpid())
        file.seek(0)
    form = raw if is_raw(recording) else ""
    with open_sound(file, recording, form, raw_rate, strict) as sound:
        yield sound


def _source(recording: str, commands: bool) -> tuple[str, list[int] | None]:
    """The file to open, and its version where it has to be unpacked first."""
    if is_command(recording):
        if not commands:
            raise ValueError(
                f"'{recording}' is a shell pipe, not a file; only a wav.scp may hold "
                "one. Run it once and give its output."
            )
        return "", version_of(recording)
    file, member = split_member(recording)
    archive, offset = split_entry(file)
    try:
        mode = os.stat(archive).st_mode
    except (OSError, ValueError) as error:  # the latter: a null character
        raise ValueError(f"{archive} does not exist. Correct the path.") from error
    if stat.S_ISREG(mode):
        unpack = bool(member) or offset is not None
        return file, version_of(recording) if unpack else None
    if archive.startswith(PIPES):
        return archive, [0]
    what = "a folder" if stat.S_ISDIR(mode) else "a named pipe or device"
    raise ValueError(f"{archive} is {what}, not a file. Name a file.")


@lru_cache(maxsize=1)
def _last_unpacked(recording: str, *_version: int) -> BinaryIO:
    """The last one, unpacked: a long recording is read part after part."""
    if is_command(recording):
        return run_command(recording)
    file, member = split_member(recording)
    if member:
        return open_member(file, member)
    archive, offset = split_entry(file)
    if offset is not None:
        return open_entry(archive, offset)
    with open(archive, "rb") as pipe:
        return spooled(pipe)


def is_raw(recording: str) -> bool:
    """Whether the name of a recording says that it has no header."""
    # Not by pathlib: Python 3.12 keeps the parts of each path for ever.
    return os.path.splitext(recording)[1].lower() == RAW_SUFFIX


def fits(path: Path | str, samples: int | None = None) -> bool:
    """Whether ESPnet can read the file as it is: 16 kHz mono 16-bit WAV or FLAC.

    Headerless audio, members of archives, parts of recordings and the output of
    commands it cannot, nor files whose header does not tell their length.

    Args:
        path: A reference.
        samples: What was read of it, if it has been.
    """
    path = str(path)
    # its readers split and strip the lines of wav.scp
    if not os.path.isfile(path) or path != path.strip() or path.endswith("|"):
        return False
    if is_raw(path):
        return False
    try:
        info = soundfile.info(path)
    except (soundfile.SoundFileError, UnicodeEncodeError):
        return False
    return (
        info.format in ("WAV", "FLAC")
        and info.subtype == "PCM_16"
        and info.samplerate == SAMPLE_RATE
        and info.channels == 1
        and (samples is None or info.frames == samples)
    )


def write_wav(path: Path | str, wave: np.ndarray) -> None:
    """Write a 16 kHz mono 16-bit WAV; a killed run never leaves half a file."""
    path = os.fspath(path)
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    samples = np.clip(np.round(wave * 32768), -32768, 32767).astype(np.int16)
    partial = f"{path}.part"
    with open(partial, "wb") as file:
        file.write(wav_of(samples))
        file.flush()
        os.fsync(file.fileno())  # else a power cut may leave the name without content
    os.replace(partial, path)


def wav_of(samples: np.ndarray) -> memoryview:
    """A 16 kHz mono 16-bit WAV file; soundfile does not say that a disk is full.

    Args:
        samples: ``(T,)`` int16, or floats within +-1.
    """
    file = io.BytesIO()
    soundfile.write(file, samples, SAMPLE_RATE, "PCM_16", format="WAV")
    return file.getbuffer()


def is_whole(path: Path | str) -> bool:
    """Whether a file of :func:`write_wav` is there with all its samples."""
    try:
        with open(path, "rb") as file:
            data = find_data(file)
    except OSError:
        return False
    return bool(data and data.length and data.length == data.there)


def stamp_of(path: Path | str) -> list[int]:
    """Size (bytes), time of change (ns) and CRC-32 of a file."""
    stat = os.stat(path)
    check = 0
    with open(path, "rb") as file:
        while content := file.read(2**20):
            check = zlib.crc32(content, check)
    return [stat.st_size, stat.st_mtime_ns, check]


def is_as_stamped(path: str, stamp: list[int] | None) -> bool:
    """Whether a file is there, and what :func:`stamp_of` gave; None: any will do."""
    try:
        stat = os.stat(path)
    except OSError:
        return False
    if stamp is None or [stat.st_size, stat.st_mtime_ns] == stamp[:2]:
        return True
    return stat.st_size == stamp[0] and stamp_of(path)[2] == stamp[2]
