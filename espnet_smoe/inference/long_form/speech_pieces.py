"""A recording that is read twice: where speech is, then the speech itself.

Neither time more than a block or a piece of it is in memory, however long it is.
"""

import math
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack

import numpy as np
import soundfile

from espnet_smoe.data.speech.audio import opened, split_segment
from espnet_smoe.data.speech.bandwidth import BandwidthMeter
from espnet_smoe.data.speech.waveform import as_waveform
from espnet_smoe.inference.audio import SAMPLE_RATE, SHORTEST_SECONDS, read_audio
from espnet_smoe.inference.long_form.detectors import Detector, new_activity
from espnet_smoe.inference.long_form.segmentation import Cut
from espnet_smoe.inference.long_form.speech_activity import SpeechActivity
from espnet_smoe.inference.streaming.sources import at_16khz

BLOCK_SECONDS = 1.0
BLOCK_SAMPLES = 2**21  # of all channels, at most: a header may claim any rate


def find_speech(
    path: str,
    most_seconds: float = math.inf,
    strict: bool = False,
    vad: Detector = "energy",
) -> tuple[SpeechActivity, str]:
    """Find the speech of a recording, and its bandwidth.

    Args:
        path: See `espnet_smoe.data.speech.audio.read_audio`.
        most_seconds: A longer one is not read to its end.
        strict: A file that is cut off is an error, not a warning.
        vad: How speech is found.

    Returns:
        Where speech is; the bandwidth, ``nb`` or ``wb``.

    Raises:
        ValueError: The file is missing, unreadable, empty, too short, too long, of
            another scale or holds NaN; says which file, and what to do.
    """
    blocks, rate = audio_blocks(path, strict)
    activity, bandwidth = new_activity(vad), BandwidthMeter(rate)
    for block in blocks:
        block = as_waveform(block, path, whole=False)  # of full scale, and finite
        activity.accept(block)
        bandwidth.accept(block)
        if activity.samples > most_seconds * SAMPLE_RATE:
            raise ValueError(
                f"{path}: more than {most_seconds:g} s of audio; send it in parts"
            )
    seconds = activity.samples / SAMPLE_RATE
    if not seconds:
        raise ValueError(f"{path}: the audio is empty; leave it out or record it again")
    if seconds < SHORTEST_SECONDS:
        raise ValueError(
            f"{path}: {seconds:.3f} s of audio are too short; at least "
            f"{SHORTEST_SECONDS} s are needed"
        )
    return activity, bandwidth.label


def pieces(
    path: str, cuts: Sequence[Cut], strict: bool = False
) -> Iterator[tuple[Cut, np.ndarray]]:
    """Read a recording again, and take pieces out of it.

    Args:
        path: As of `find_speech`.
        cuts: In their order; one may overlap the next.
        strict: As of `find_speech`.

    Yields:
        Each piece and its samples ``(n,)``, float32 at 16 kHz.

    Raises:
        ValueError: It has become shorter.
    """
    if not cuts:
        return
    blocks = audio_blocks(path, strict)[0]
    held, first = np.zeros(0, np.float32), 0  # samples from this one on
    for cut in cuts:
        parts = [held[max(0, cut.start - first) :]]
        have = first + len(held)
        first = max(first, cut.start)
        while have < cut.end:
            block = next(blocks, None)
            if block is None:
                raise ValueError(f"{path}: the audio became shorter while it was read")
            parts.append(block[max(0, cut.start - have) :])
            have += len(block)
        held = np.concatenate(parts)
        yield cut, held[: cut.end - cut.start]


def audio_blocks(path: str, strict: bool = False) -> tuple[Iterator[np.ndarray], int]:
    """Read a recording block by block; faults of the file show at once.

    Args:
        path: As of `find_speech`.
        strict: As of `find_speech`.

    Returns:
        Blocks ``(n,)`` float32 at 16 kHz, channels mixed; the rate of the file in Hz.
    """
    _, start, end = split_segment(path)
    if start or end is not None:  # a part, which somebody has cut: not long
        wave, rate = read_audio(path)
        return iter([wave]), rate
    with ExitStack() as stack:
        sound = stack.enter_context(opened(path, strict=strict))
        left = stack.pop_all()

    def blocks() -> Iterator[np.ndarray]:
        with left:
            size = min(int(BLOCK_SECONDS * sound.rate), BLOCK_SAMPLES // sound.channels)
            yield from sound.blocks(max(1, size))

    return at_16khz(blocks(), sound.rate), sound.rate


def seconds_of(path: str) -> float:
    """What a file says about its length; 0 where it says nothing."""
    try:
        return soundfile.info(os.fsencode(path)).duration
    except (soundfile.SoundFileError, OSError):
        return 0.0
