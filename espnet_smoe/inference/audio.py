"""Audio files as a model takes them: mono, 16 kHz, checked."""

from numbers import Number
from os import PathLike
from pathlib import Path

import numpy as np

from espnet_smoe.data.speech import audio
from espnet_smoe.data.speech.waveform import as_waveform, check_rate

SAMPLE_RATE = audio.SAMPLE_RATE
SHORTEST_SECONDS = 0.1  # less than the frames that a subsampling needs
MOST_CHANNELS = 64  # of a recording (samples, channels)


def read_audio(path: str | Path, *, commands: bool = False) -> tuple[np.ndarray, int]:
    """Read a recording.

    Args:
        path: Any file that soundfile or FFmpeg reads, of any rate and number of
            channels, or headerless ``.pcm`` (16 kHz, signed 16 bit, mono). Of a file
            that is cut off, what is there, with a warning.
        commands: Run ``COMMAND |``, as a ``wav.scp`` may hold.

    Returns:
        ``(samples,)`` float32 at 16 kHz, channels mixed; the rate of the file in Hz.

    Raises:
        ValueError: The file is missing, unreadable, empty, too short or holds NaN;
            says which file, and what to do.
    """
    wave, rate = audio.read_audio(path, commands=commands, strict=False)
    return to_16khz(wave, rate, str(path)), rate


def to_16khz(wave: np.ndarray, rate: int, name: str) -> np.ndarray:
    """Check a mono wave and bring it to 16 kHz.

    Args:
        wave: ``(samples,)``, see `espnet_smoe.data.speech.waveform.as_waveform`.
        rate: Hz.
        name: Of the recording, for error messages.

    Returns:
        ``(samples,)`` float32 at 16 kHz.

    Raises:
        ValueError: It is no audio, not mono, of another scale, too short, or holds NaN
            or infinite samples.
    """
    wave = as_waveform(wave, name)
    rate = check_rate(rate, name)
    if len(wave) == 0:
        raise ValueError(f"{name}: the audio is empty; leave it out or record it again")
    if len(wave) / rate < SHORTEST_SECONDS:
        raise ValueError(
            f"{name}: {len(wave) / rate:.3f} s of audio are too short; at least "
            f"{SHORTEST_SECONDS} s are needed"
        )
    return audio.resample(wave, rate)


def as_waveforms(waveforms: object) -> list:
    """What a user gives for a list of recordings.

    Args:
        waveforms: Recordings, each as `to_16khz` takes it; or a single one.

    Returns:
        A list of recordings; a single one becomes a list of one.

    Raises:
        ValueError: It is neither.

    Example:
        >>> len(as_waveforms(np.zeros(16000))), len(as_waveforms([np.zeros(16000)]))
        (1, 1)
    """
    if isinstance(waveforms, (str, bytes, PathLike, dict)) or not hasattr(
        waveforms, "__iter__"
    ):
        return [as_waveform(waveforms, "waveforms")]  # says what is wrong
    shape = getattr(waveforms, "shape", None)
    if shape is None:
        waveforms = list(waveforms)
        numbers = waveforms and all(isinstance(x, Number) for x in waveforms)
        return [waveforms] if numbers else waveforms
    # one recording (samples,), (samples, 1) or (samples, channels), which is refused
    # with its shape; else one in each row
    if len(shape) < 2 or (len(shape) == 2 and shape[1] <= MOST_CHANNELS < shape[0]):
        return [waveforms]
    return list(waveforms)
