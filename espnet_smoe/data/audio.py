"""Audio in: any rate, any number of channels, to 16 kHz mono 16-bit files."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import soundfile
import soxr

SAMPLE_RATE = 16000  # Hz, what every model of this package hears
RAW_SUFFIX = ".pcm"  # headerless 16 kHz signed 16-bit little-endian mono


def read_audio(path: Path | str) -> tuple[np.ndarray, int]:
    """Read a recording as it is.

    Args:
        path: Any file that soundfile reads, or headerless ``.pcm`` (16 kHz, signed
            16 bit, mono, as some Korean corpora ship it).

    Returns:
        The wave, float32 in [-1, 1], channels averaged, shape (samples,), and its
        sample rate in Hz.

    Raises:
        ValueError: The file does not exist or cannot be read.
    """
    if str(path).rstrip().endswith("|"):
        raise ValueError(
            f"'{path}' is a shell pipe, not a file. Run it once and list its output."
        )
    if not Path(path).is_file():
        raise ValueError(f"{path} does not exist. Correct the path.")
    try:
        if Path(path).suffix.lower() == RAW_SUFFIX:
            return _read_raw(Path(path)), SAMPLE_RATE
        wave, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, OSError) as error:
        raise ValueError(
            f"{path} cannot be read as audio ({error}). Convert it to WAV or FLAC."
        ) from error
    return wave.mean(axis=1, dtype=np.float32), rate  # (samples,)


def _read_raw(path: Path) -> np.ndarray:
    raw = path.read_bytes()
    # Some corpora hold files with half a sample at the end.
    samples = np.frombuffer(raw[: len(raw) // 2 * 2], dtype="<i2")
    return samples.astype(np.float32) / 32768


def resample(wave: np.ndarray, rate: float, target: float = SAMPLE_RATE) -> np.ndarray:
    """Change the sample rate of a wave of shape (samples,)."""
    return wave if rate == target else soxr.resample(wave, rate, target)


def change_speed(wave: np.ndarray, factor: float) -> np.ndarray:
    """Play a wave ``factor`` times as fast; pitch moves with it (Ko et al. 2015)."""
    return wave if factor == 1 else soxr.resample(wave, factor, 1.0)


def fits(path: Path | str) -> bool:
    """Whether ESPnet can read the file as it is: 16 kHz mono 16-bit WAV or FLAC."""
    if Path(path).suffix.lower() == RAW_SUFFIX:
        return False
    info = soundfile.info(path)
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
