"""Where a stream's audio comes from: a file, a pipe, a microphone; in small pieces."""

import logging
import queue
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import soxr

from espnet_smoe.data.speech.audio import opened
from espnet_smoe.data.speech.container import Sound, open_sound, refused, spooled
from espnet_smoe.data.speech.downmix import Downmix
from espnet_smoe.data.speech.raw_pcm import DEFAULT_FORMAT, RawCheck, raw_format
from espnet_smoe.data.speech.sniff import HEAD_BYTES, WAV, kind_of
from espnet_smoe.data.speech.waveform import as_waveform
from espnet_smoe.inference.audio import SAMPLE_RATE
from espnet_smoe.inference.streaming.live_pcm import (
    Peeked,
    blocks_of_pcm,
    read_wav_header,
)

PIECE_SECONDS = 0.1
STDIN = "standard input"

Pieces = Iterator[np.ndarray]


def open_file(
    path: str | Path, pcm_rate: int = SAMPLE_RATE, pcm_format: str = DEFAULT_FORMAT
) -> Pieces:
    """Read a file piece by piece; faults of the file show at once.

    Args:
        path: Any file that soundfile or FFmpeg reads, or headerless ``.pcm``, mono.
        pcm_rate: Hz of a headerless file.
        pcm_format: Of a headerless file, see
            `espnet_smoe.data.speech.raw_pcm.RAW_FORMATS`.

    Returns:
        Pieces ``(n,)`` float32 at 16 kHz, channels mixed.

    Raises:
        ValueError: The file is missing, or no audio.
    """
    raw_format(pcm_format)
    stack = ExitStack()
    sound = stack.enter_context(
        opened(str(path), strict=False, raw=pcm_format, raw_rate=pcm_rate)
    )
    return _pieces_of(sound, stack, str(path))


def open_pipe(
    pipe: BinaryIO, pcm_rate: int = SAMPLE_RATE, pcm_format: str = DEFAULT_FORMAT
) -> Pieces:
    """Read audio while it is being written.

    WAV is read to the length in its header, or to the end of the pipe where that is 0
    or near 2 GB and more: its writer did not know it. What begins like another
    container is read to its end before the first piece comes. What begins like none is
    raw samples, mono, unless they look like something else.

    Args:
        pipe: Such as ``sys.stdin.buffer``.
        pcm_rate: Hz of headerless audio.
        pcm_format: Of headerless audio, see
            `espnet_smoe.data.speech.raw_pcm.RAW_FORMATS`.

    Returns:
        Pieces ``(n,)`` float32 at 16 kHz, channels mixed.

    Raises:
        ValueError: There is no audio, or a header is broken. Raw samples that are none
            are found out while they are read.
    """
    form = raw_format(pcm_format)
    head = pipe.read(HEAD_BYTES)
    if not head:
        raise ValueError(f"no audio came on {STDIN}; pipe WAV or raw PCM into it")
    kind = kind_of(head, complete=len(head) < HEAD_BYTES)
    peeked = Peeked(head, pipe)
    if kind is None:
        checked = _Checked(peeked, pcm_format)
        blocks = blocks_of_pcm(checked, form, 1, pcm_rate, PIECE_SECONDS)
        return _named(at_16khz(blocks, pcm_rate), STDIN)
    if not kind.audio:
        raise refused(STDIN, kind.name)
    if kind == WAV:
        header = read_wav_header(peeked)
        if header is not None:
            about = header.format, header.channels, header.rate
            blocks = blocks_of_pcm(peeked, *about, PIECE_SECONDS, header.length)
            return _named(at_16khz(blocks, header.rate), STDIN)
        peeked.rewind()
    logging.warning(
        "%s is %s, which is read to its end before the first word; pipe WAV or raw PCM "
        "for words while they are spoken",
        STDIN,
        kind.name,
    )
    with ExitStack() as stack:
        file = stack.enter_context(spooled(peeked))
        sound = stack.enter_context(open_sound(file, STDIN, strict=False))
        return _pieces_of(sound, stack.pop_all(), STDIN)


def _pieces_of(sound: Sound, still_open: ExitStack, name: str) -> Pieces:
    """Read a sound piece by piece; what is open is closed behind the last one."""

    def blocks() -> Iterator[np.ndarray]:
        with still_open:
            yield from sound.blocks(max(1, int(PIECE_SECONDS * sound.rate)))

    return _named(at_16khz(blocks(), sound.rate), name)


def _named(pieces: Pieces, name: str) -> Pieces:
    """The same; what is no audio in them is told with the name of their source."""
    return (as_waveform(piece, name, whole=False) for piece in pieces)


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
    blocks: queue.SimpleQueue[np.ndarray] = queue.SimpleQueue()

    def note(block: np.ndarray, frames: int, when: Any, status: Any) -> None:
        if status:
            logging.warning("microphone: %s", status)
        blocks.put(block[:, 0].copy())

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
                    yield blocks.get()
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


class _Checked:
    """A pipe of raw samples that must look like them."""

    def __init__(self, pipe: Peeked, pcm_format: str):
        self._pipe, self._check = pipe, RawCheck(pcm_format)

    def read(self, size: int) -> bytes:
        """At most ``size`` bytes, fewer only at the end."""
        data = self._pipe.read(size)
        found = self._check(data, last=len(data) < size)
        if found:
            raise ValueError(
                f"{STDIN} looks like {found}, not like raw {self._check.format} mono "
                "samples; pipe WAV, or give --pcm-format"
            )
        return data


def at_16khz(blocks: Iterable[np.ndarray], rate: int) -> Pieces:
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
