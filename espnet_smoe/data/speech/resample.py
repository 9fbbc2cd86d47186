"""Waveforms at other rates and speeds."""

import numpy as np
import soxr

SAMPLE_RATE = 16000  # Hz, what every model of this package hears


def resample(wave: np.ndarray, rate: float, target: float = SAMPLE_RATE) -> np.ndarray:
    """Change the sample rate of a wave of shape (samples,)."""
    return wave if rate == target else soxr.resample(wave, rate, target)


def change_speed(wave: np.ndarray, factor: float) -> np.ndarray:
    """Play a wave ``factor`` times as fast; pitch moves with it (Ko et al. 2015)."""
    return wave if factor == 1 else soxr.resample(wave, factor, 1.0)
