"""Where a stream's audio comes from: a file, a pipe, a microphone; in small pieces."""

import io
import logging
import queue
import sys
import time
import wave
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import soundfile
import soxr

from espnet_smoe.data.audio import RAW_FORMAT, RAW_SUFFIX
from espnet_smoe.data.downmix import Downmix
from espnet_smoe.inference.audio import SAMPLE_RATE

PIECE_SECONDS = 0.1
# bytes from which on a WAV's length says that its writer does not know it: ffmpeg has
# 0xffffffff there, arecord 0x7fffff00, sox 0x7ffff000
UNKNOWN_LENGTH = 0x7FFF0000
WAVE_SUBTYPES = {1: "PCM_U8", 2: "PCM_16", 3: "PCM_24", 4: "PCM_32"}  # by bytes
OTHER_FORMATS = {
    b"fLaC": "FLAC",
    b"OggS": "Ogg",
    b"ID3": "MP3",
    b"RIFX": "big-endian WAV",
    b"RF64": "RF64",
    b".snd": "AU",
    b"FORM": "AIFF",
}

Pieces = Iterator[np.ndarray]


def open_file(path: str | Path, pcm_rate: int = SAMPLE_RATE) -> Pieces:
    """Read a file piece by piece; faults of the file show at once.

    Args:
        path: Any file that soundfile reads, or headerless ``.pcm`` (signed 16 bit,
            mono).
        pcm_rate: Hz of a headerless file.

    Returns:
        Pieces ``(n,)`` float32 at 16 kHz, channels averaged.

    Raises:
        ValueError: The file is missing, or no audio.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path} does not exist; name an audio file, or - for stdin")
    raw = path.suffix.lower() == RAW_SUFFIX
    options = RAW_FORMAT | {"samplerate": pcm_rate} if raw else {}
    try:
        file = soundfile.SoundFile(path, **options)
    except (soundfile.SoundFileError, OSError) as error:
        raise ValueError(
            f"{path} cannot be read as audio ({error}); convert it to WAV or FLAC"
        ) from error
    return _at_16khz(_blocks_of(file), file.samplerate)


def open_pipe(pipe: BinaryIO, pcm_rate: int = SAMPLE_RATE) -> Pieces:
    """Read WAV or headerless audio while it is being written.

    Args:
        pipe: Such as ``sys.stdin.buffer``. What begins with ``RIFF`` is WAV of 8 to 32
            bits, read to the length in its header, or to the end of the pipe where
            that is 0 or near 2 GB and more: its writer did not know it. Else it is
            signed 16 bit, little-endian, mono.
        pcm_rate: Hz of headerless audio.

    Returns:
        Pieces ``(n,)`` float32 at 16 kHz, channels averaged.

    Raises:
        ValueError: There is no audio, the header of a WAV is broken, or it is audio of
            another kind.
    """
    head = pipe.read(4)
    if not head:
        raise ValueError("no audio came on standard input; pipe WAV or raw PCM into it")
    for magic, name in OTHER_FORMATS.items():
        if head.startswith(magic):
            raise ValueError(
                f"standard input is {name}; WAV or raw PCM is needed: name the file, "
                "or convert it (ffmpeg -i FILE -f wav -)"
            )
    pipe = _Peeked(head, pipe)
    if head != b"RIFF":
        return _at_16khz(_blocks_of_pcm(pipe, 1, 2, pcm_rate), pcm_rate)
    try:
        header = wave.open(pipe)
    except (wave.Error, EOFError) as error:
        raise ValueError(
            f"the WAV header on standard input is broken ({error or 'it is cut off'}); "
            "write it with: ffmpeg -i FILE -c:a pcm_s16le -f wav -"
        ) from error
    rate = header.getframerate()
    if rate < 1:
        raise ValueError(f"the WAV header on standard input tells a rate of {rate} Hz")
    channels, width = header.getnchannels(), header.getsampwidth()
    length = header.getnframes() * channels * width
    if not 0 < length < UNKNOWN_LENGTH:
        length = sys.maxsize
    return _at_16khz(_blocks_of_pcm(pipe, channels, width, rate, length), rate)


def open_microphone() -> Pieces:
    """Listen to the default microphone, without end.

    Raises:
        ValueError: sounddevice, its library or a microphone is missing.
    """
    try:
        import sounddevice
    except (ImportError, OSError) as error:  # the second: without PortAudio
        raise ValueError(
            f"a microphone needs sounddevice and PortAudio ({error}): pip install "
            "'espnet_smoe[mic]', and libportaudio2 of the system"
        ) from error
    heard: queue.SimpleQueue[np.ndarray] = queue.SimpleQueue()

    def note(block: np.ndarray, frames: int, when: Any, status: Any) -> None:
        if status:
            logging.warning("microphone: %s", status)
        heard.put(block[:, 0].copy())

    def pieces() -> Pieces:
        try:
            with sounddevice.InputStream(
                samplerate=SAMPLE_RATE,
                channels=1,
                dtype="float32",
                blocksize=int(PIECE_SECONDS * SAMPLE_RATE),
                callback=note,
            ):
                while True:
                    yield heard.get()
        except sounddevice.PortAudioError as error:
            raise ValueError(f"no microphone can be opened: {error}") from error

    return pieces()


def in_real_time(pieces: Iterable[np.ndarray]) -> Pieces:
    """Hand on each piece when its last sample would have been spoken."""
    begun, samples = time.monotonic(), 0
    for piece in pieces:
        samples += len(piece)
        time.sleep(max(0.0, begun + samples / SAMPLE_RATE - time.monotonic()))
        yield piece


def _blocks_of(file: soundfile.SoundFile) -> Iterator[np.ndarray]:
    """``(n, channels)`` float32."""
    size = max(1, int(PIECE_SECONDS * file.samplerate))
    with file:
        yield from file.blocks(size, dtype="float32", always_2d=True)


def _blocks_of_pcm(
    pipe: BinaryIO, channels: int, width: int, rate: int, length: int = sys.maxsize
) -> Iterator[np.ndarray]:
    """``(n, channels)`` float32 of ``width`` bytes a sample, ``length`` in all.

    Fewer where the pipe ends before.
    """
    frame = channels * width
    size = max(1, int(PIECE_SECONDS * rate)) * frame
    layout = RAW_FORMAT | {
        "subtype": WAVE_SUBTYPES[width],
        "samplerate": rate,
        "channels": channels,
    }
    while data := pipe.read(min(size, length)):
        length -= len(data)
        whole = data[: len(data) // frame * frame]
        if whole:
            options = {"dtype": "float32", "always_2d": True}
            yield soundfile.read(io.BytesIO(whole), **layout, **options)[0]


def _at_16khz(blocks: Iterable[np.ndarray], rate: int) -> Pieces:
    """Channels mixed ``(n,)``, and resampled without a seam."""
    waves = _mixed(blocks, rate)
    if rate == SAMPLE_RATE:
        yield from waves
        return
    resampler = soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32")
    for samples in waves:
        yield resampler.resample_chunk(samples)
    yield resampler.resample_chunk(np.zeros(0, np.float32), last=True)


def _mixed(blocks: Iterable[np.ndarray], rate: int) -> Pieces:
    mix = Downmix(rate)
    block = np.zeros((0, 1), np.float32)
    for block in blocks:
        yield mix(block)
    rest = mix(block[:0], last=True)
    if len(rest):
        yield rest


class _Peeked:
    """A pipe whose first bytes have been looked at."""

    def __init__(self, head: bytes, pipe: BinaryIO):
        self._head, self._pipe = head, pipe

    def read(self, size: int) -> bytes:
        """At most ``size`` bytes, fewer only at the end."""
        head, self._head = self._head[:size], self._head[size:]
        return head + self._pipe.read(size - len(head))
