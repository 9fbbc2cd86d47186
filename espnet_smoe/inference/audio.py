"""Audio files as a model hears them: mono, 16 kHz, checked."""

from pathlib import Path

import numpy as np

from espnet_smoe.data import audio
from espnet_smoe.data.bandwidth import detect_bandwidth

SAMPLE_RATE = audio.SAMPLE_RATE
SHORTEST_SECONDS = 0.1  # less than the frames that a subsampling needs


def read_audio(path: str | Path) -> tuple[np.ndarray, int]:
    """Read a recording.

    Args:
        path: Any file that soundfile reads, of any rate and number of channels, or
            headerless ``.pcm`` (16 kHz, signed 16 bit, mono).

    Returns:
        ``(samples,)`` float32 at 16 kHz, channels averaged; the rate of the file in Hz.

    Raises:
        ValueError: The file is missing, unreadable, empty, too short or holds NaN;
            says which file, and what to do.
    """
    wave, rate = audio.read_audio(path)
    return to_16khz(wave, rate, str(path)), rate


def to_16khz(wave: np.ndarray, rate: int, name: str) -> np.ndarray:
    """Check a mono wave and bring it to 16 kHz.

    Args:
        wave: ``(samples,)``.
        rate: Hz.
        name: Of the recording, for error messages.

    Returns:
        ``(samples,)`` float32 at 16 kHz.

    Raises:
        ValueError: It is not mono, too short, or holds NaN or infinite samples.
    """
    wave = np.asarray(wave, dtype=np.float32)
    if wave.ndim != 1:
        raise ValueError(
            f"{name}: expected a mono waveform (samples,), got shape {wave.shape}; "
            "average its channels"
        )
    if rate <= 0:
        raise ValueError(f"{name}: the sample rate must be positive, got {rate} Hz")
    if len(wave) == 0:
        raise ValueError(f"{name}: the audio is empty; leave it out or record it again")
    if len(wave) < SHORTEST_SECONDS * rate:
        raise ValueError(
            f"{name}: {len(wave) / rate:.3f} s of audio are too short; at least "
            f"{SHORTEST_SECONDS} s are needed"
        )
    if not np.isfinite(wave).all():
        raise ValueError(
            f"{name}: the audio holds NaN or infinite samples; export it again as "
            "16-bit WAV"
        )
    return audio.resample(wave, rate)


def bandwidth_of(wave: np.ndarray, original_rate: int) -> str:
    """``nb`` or ``wb`` of a wave at 16 kHz that was recorded at another rate.

    Args:
        wave: ``(samples,)`` at 16 kHz.
        original_rate: Hz, before resampling.
    """
    return detect_bandwidth(wave, min(original_rate, SAMPLE_RATE))
