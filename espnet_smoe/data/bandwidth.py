"""Is a recording narrowband (telephone, 8 kHz) or wideband (16 kHz)?"""

import numpy as np

LOW_BAND = (300.0, 3400.0)  # Hz: every telephone passes it
HIGH_BAND = (4300.0, 7000.0)  # Hz: above the roll-off of an 8 kHz signal
NARROW_BELOW_DB = -47.0  # high over low band, see `detect_bandwidth`
# Loud frames are compared, not the loudest: a clipped sample or a click fills the
# high band of a few frames in narrowband speech too.
LOW_PERCENTILE, HIGH_PERCENTILE = 95, 85
FRAME_SECONDS = 0.032
SHORTEST_SECONDS = 0.1  # less holds no consonant to judge by
SILENCE_POWER = 1e-10  # mean square; -100 dB re full scale: 16-bit rounding noise


def detect_bandwidth(wave: np.ndarray, sample_rate: int) -> str:
    """Tell the bandwidth of a recording from its rate and its spectrum.

    A rate of 8 kHz or less is narrowband. Above that, the level of loud frames
    between 4.3 and 7 kHz is compared with that between 0.3 and 3.4 kHz: fricatives
    of wideband speech stay above -47 dB, the rounding noise of narrowband speech
    that was resampled upwards stays below.

    Silence and recordings under 0.1 s give what the rate says (``wb`` above
    8 kHz): their spectrum is no evidence against it.

    A cheap resampler (linear interpolation) mirrors narrowband speech above 4 kHz;
    such a file looks wideband here: give its bandwidth by hand.

    Args:
        wave: (T,) mono waveform, float within [-1, 1].
        sample_rate: Hz.

    Returns:
        ``nb`` or ``wb``, the values of ``utt2bandwidth``.

    Raises:
        ValueError: The waveform is not mono, or the rate is not positive.

    Example:
        >>> detect_bandwidth(np.zeros(16000), 8000)
        'nb'
    """
    wave = np.asarray(wave, dtype=np.float64)
    if wave.ndim != 1:
        raise ValueError(
            f"the bandwidth is detected on a mono waveform (T,), got shape "
            f"{wave.shape}: average the channels first"
        )
    if sample_rate <= 0:
        raise ValueError(f"sample rate must be positive, got {sample_rate} Hz")
    if sample_rate <= 8000:
        return "nb"
    ratio_db = high_to_low_db(wave, sample_rate)
    return "nb" if ratio_db is not None and ratio_db < NARROW_BELOW_DB else "wb"


def high_to_low_db(wave: np.ndarray, sample_rate: int) -> float | None:
    """Return the level of 4.3-7 kHz over 0.3-3.4 kHz in dB, loud frames.

    Args:
        wave: (T,) mono waveform.
        sample_rate: Hz, above 8,000.

    Returns:
        The ratio, or None where the recording is too short, silent or not finite.
    """
    if len(wave) < SHORTEST_SECONDS * sample_rate or not np.isfinite(wave).all():
        return None
    if np.mean(wave**2) <= SILENCE_POWER:
        return None
    size = int(FRAME_SECONDS * sample_rate)
    frames = np.lib.stride_tricks.sliding_window_view(wave, size)[:: size // 2]
    # A smooth window: the side lobes of a rectangular one leak above 4 kHz.
    power = np.abs(np.fft.rfft(frames * np.blackman(size))) ** 2  # (frames, bins)
    hertz = np.fft.rfftfreq(size, 1 / sample_rate)
    low = np.percentile(_band(power, hertz, LOW_BAND), LOW_PERCENTILE)
    high = np.percentile(_band(power, hertz, HIGH_BAND), HIGH_PERCENTILE)
    if low <= 0:
        return None
    return float(10 * np.log10(max(high / low, 1e-30)))


def _band(
    power: np.ndarray, hertz: np.ndarray, limits: tuple[float, float]
) -> np.ndarray:
    """Return the mean power (frames,) of (frames, bins) between two frequencies."""
    return power[:, (hertz >= limits[0]) & (hertz <= limits[1])].mean(axis=1)
