"""Arrays of samples from anywhere: checked, scaled, one channel, float32."""

import os
from numbers import Real
from typing import Any

import numpy as np

LOUDEST = 10.0  # 1 is full scale: 20 dB above it is another scale, not a loud voice
LOWEST_RATE = 1000  # Hz; less is a number of kHz
INTEGERS = ("int8", "int16", "int32", "uint8")  # those that audio files hold
# Bits of samples that are kept in 32-bit integers without being shifted to their top.
NARROW_BITS = (16, 24)
READ_IT = "read the file with espnet_smoe.inference.audio.read_audio"


def as_waveform(
    wave: Any, name: str = "the waveform", *, finite: bool = True, whole: bool = True
) -> np.ndarray:
    """Bring an array of samples to mono float32 within [-1, 1].

    Integers are scaled by their type: 16-bit ones by 1 / 32768, unsigned 8-bit ones are
    centered first. Floats stay as they are; somewhat beyond 1 is fine.

    Args:
        wave: ``(samples,)``, ``(1, samples)`` or ``(samples, 1)``: an array, a tensor,
            or a list of numbers.
        name: Of the recording, for error messages.
        finite: Refuse NaN and infinity.
        whole: It is a whole recording, not a piece that may be silent.

    Returns:
        ``(samples,)`` float32. It may share memory with ``wave``.

    Raises:
        ValueError: It has several channels, another type or another scale, or is no
            array at all.

    Example:
        >>> as_waveform(np.array([0, 16384, -32768], np.int16))
        array([ 0. ,  0.5, -1. ], dtype=float32)
    """
    wave = _one_channel(_as_array(wave, name), name)
    if wave.dtype.kind in "iu":
        return _scaled(wave, name, whole)
    if wave.dtype.kind != "f":
        raise ValueError(
            f"{name}: samples of {wave.dtype} are no audio; give floats within [-1, 1] "
            "or 16-bit integers"
        )
    good = np.isfinite(wave)
    if finite and not good.all():
        raise ValueError(
            f"{name}: the audio holds NaN or infinite samples; repair it, or export it "
            "again as 16-bit WAV"
        )
    peak = np.abs(wave).max(initial=0.0, where=good)
    if peak > LOUDEST:
        raise ValueError(
            f"{name}: samples reach {peak:g} where 1 is full scale; divide them by "
            "full scale (16-bit: 32768)"
        )
    return np.require(wave, np.float32, "CW")  # torch takes no other


def problem_of(wave: np.ndarray) -> str:
    """What makes a wave of shape (samples,) useless; empty where it is good."""
    if len(wave) == 0:
        return "the audio has no samples"
    if not np.isfinite(wave).all():
        return "the audio holds NaN or infinity"
    if (peak := np.abs(wave).max()) > LOUDEST:
        return f"its samples reach {peak:g} where 1 is full scale"
    if not wave.any():
        return "every sample of the audio is zero"
    return ""


def check_rate(rate: Any, name: str = "the waveform") -> float:
    """A sample rate in Hz.

    Raises:
        ValueError: It is no number, not positive, or too low to be in Hz.
    """
    number = isinstance(rate, Real) and not isinstance(rate, (bool, np.bool_))
    if not number or not 0 < rate < float("inf"):
        raise ValueError(
            f"{name}: the sample rate must be a positive number of Hz, got {rate!r}"
        )
    if rate < LOWEST_RATE:
        raise ValueError(
            f"{name}: a sample rate of {rate:g} Hz; give it in Hz, such as 16000"
        )
    return rate


def _as_array(wave: Any, name: str) -> np.ndarray:
    if isinstance(wave, (str, os.PathLike)):
        raise ValueError(
            f"{name}: got the path '{os.fspath(wave)}', not samples; {READ_IT}"
        )
    if isinstance(wave, (bytes, bytearray, memoryview)):
        raise ValueError(
            f"{name}: got bytes, not samples; unpack them first: "
            "np.frombuffer(data, np.int16) for raw 16-bit audio"
        )
    if wave is None:
        raise ValueError(f"{name}: got None, not samples; {READ_IT}")
    if hasattr(wave, "detach"):  # a tensor of PyTorch, on any device
        wave = wave.detach().cpu()
        wave = wave.float() if wave.is_floating_point() else wave
    try:
        array = np.asarray(wave)
    except (ValueError, TypeError, RuntimeError) as error:  # rows of unequal length
        raise ValueError(
            f"{name}: no array of samples ({error}); give (samples,)"
        ) from error
    if isinstance(array, np.ma.MaskedArray) or np.ma.isMaskedArray(wave):
        raise ValueError(f"{name}: a masked array; fill its gaps with .filled(0)")
    return array


def _one_channel(wave: np.ndarray, name: str) -> np.ndarray:
    if wave.ndim == 2 and 1 in wave.shape:
        return wave.reshape(-1)
    if wave.ndim == 0:
        what = repr(wave[()]) if wave.dtype.kind in "biufc" else type(wave[()]).__name__
        raise ValueError(f"{name}: got {what}, not samples (samples,)")
    if wave.ndim != 1:
        raise ValueError(
            f"{name}: expected a mono waveform (samples,), got shape {wave.shape}; mix "
            "its channels with espnet_smoe.data.speech.downmix.downmix"
        )
    return wave


def _scaled(wave: np.ndarray, name: str, whole: bool) -> np.ndarray:
    kind = wave.dtype.newbyteorder("=").name
    if kind not in INTEGERS:
        raise ValueError(
            f"{name}: samples of {kind} have no known full scale; convert them to the "
            "type they were recorded in: wave.astype('int16')"
        )
    bits = 8 * wave.dtype.itemsize
    scaled = wave.astype(np.float64 if bits == 32 else np.float32)
    if kind == "uint8":
        scaled -= 128
    if whole and bits == 32:
        _check_width(wave, np.abs(scaled).max(initial=0.0), name)
    return (scaled / 2 ** (bits - 1)).astype(np.float32)


def _check_width(wave: np.ndarray, peak: float, name: str) -> None:
    """Refuse 32-bit integers whose full scale is that of a narrower type."""
    if not (wave & 0xFF).any():  # shifted to the top, or silent
        return
    for bits in NARROW_BITS:
        if peak <= 2 ** (bits - 1):
            raise ValueError(
                f"{name}: 32-bit integers that reach {peak:.0f} of {2**31}: {bits}-bit "
                f"samples in a wider type? Scale them: wave / {2 ** (bits - 1)}; if "
                f"they are that quiet: wave / {2**31}"
            )
