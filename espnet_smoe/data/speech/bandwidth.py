"""Is a recording narrowband (telephone, 8 kHz) or wideband (16 kHz)?"""

from collections.abc import Iterator

import numpy as np

from espnet_smoe.data.speech.resample import SAMPLE_RATE, resample
from espnet_smoe.data.speech.waveform import as_waveform, check_rate

NARROW_RATE = 8000  # Hz; a recording of this rate or less is narrowband
LOW_BAND = (300.0, 3400.0)  # Hz: every telephone passes it
HIGH_BAND = (4300.0, 7000.0)  # Hz: above the roll-off of an 8 kHz signal
NARROW_BELOW_DB = -47.0  # high over low band, see `detect_bandwidth`
# Loud frames are compared, not the loudest: a clipped sample or a click fills the
# high band of a few frames in narrowband speech too.
LOW_PERCENTILE, HIGH_PERCENTILE = 95, 85
FRAME_SECONDS = 0.032
SHORTEST_SECONDS = 0.1  # less holds no consonant to judge by
SILENCE_POWER = 1e-10  # mean square; -100 dB re full scale: 16-bit rounding noise
BLOCK = 1024  # frames whose spectra are held at once: an hour takes as much as a minute


def detect_bandwidth(wave: np.ndarray, sample_rate: int) -> str:
    """Tell the bandwidth of a recording from its rate and its spectrum.

    A rate of 8 kHz or less is narrowband. Above that, the level of loud frames
    between 4.3 and 7 kHz is compared with that between 0.3 and 3.4 kHz: fricatives
    of wideband speech stay above -47 dB, the rounding noise of narrowband speech
    that was resampled upwards stays below. It is judged as the model will hear it, at
    16 kHz, so that a file, its copy at 16 kHz and its samples have one answer.

    Silence and recordings under 0.1 s give what the rate says (``wb`` above
    8 kHz): their spectrum is no evidence against it.

    A cheap resampler (linear interpolation) mirrors narrowband speech above 4 kHz;
    such a file looks wideband here: give its bandwidth by hand.

    Args:
        wave: (T,) mono waveform, float within [-1, 1] or integers.
        sample_rate: Hz, of the recording and of ``wave``.

    Returns:
        ``nb`` or ``wb``, the values of ``utt2bandwidth``.

    Raises:
        ValueError: The waveform is not mono or of another scale, or the rate is not
            positive.

    Example:
        >>> detect_bandwidth(np.zeros(16000), 8000)
        'nb'
    """
    wave = as_waveform(wave, finite=False)
    return bandwidth_at_16khz(resample(wave, check_rate(sample_rate)), sample_rate)


def bandwidth_at_16khz(wave: np.ndarray, original_rate: float) -> str:
    """Tell the bandwidth of a recording that was brought to 16 kHz.

    Args:
        wave: (T,) mono float at 16 kHz.
        original_rate: Hz, of the recording before.

    Returns:
        What :func:`detect_bandwidth` gives for the recording as it was.
    """
    meter = BandwidthMeter(original_rate)
    meter.accept(wave)
    return meter.label


def high_to_low_db(wave: np.ndarray) -> float | None:
    """Return the level of 4.3-7 kHz over 0.3-3.4 kHz in dB, loud frames.

    Args:
        wave: (T,) mono float at 16 kHz.

    Returns:
        The ratio, or None where the recording is too short, silent or not finite.
    """
    meter = BandwidthMeter(SAMPLE_RATE)
    meter.accept(wave)
    return meter.high_to_low_db()


class BandwidthMeter:
    """Hears a recording block by block, then tells its bandwidth.

    It keeps 16 bytes a frame, 3.6 MB an hour.

    Args:
        original_rate: Hz, of the recording before it was brought to 16 kHz.

    Example:
        >>> meter = BandwidthMeter(8000)
        >>> meter.accept(np.zeros(16000))
        >>> meter.label
        'nb'
    """

    def __init__(self, original_rate: float):
        self.original_rate = original_rate
        self._samples, self._energy = 0, 0.0
        self._rest = np.zeros(0, np.float32)
        self._low: list[np.ndarray] = []
        self._high: list[np.ndarray] = []

    def accept(self, wave: np.ndarray) -> None:
        """Take the next samples (n,), mono float at 16 kHz."""
        if self.original_rate <= NARROW_RATE:
            return
        self._samples += len(wave)
        self._energy += float(np.dot(wave, wave))
        wave = np.concatenate([self._rest, wave]) if len(self._rest) else wave
        size = int(FRAME_SECONDS * SAMPLE_RATE)
        frames = max(0, (len(wave) - size) // (size // 2) + 1)
        self._rest = wave[frames * (size // 2) :].copy()
        if not np.isfinite(self._energy) or not frames:
            return
        for low, high in _band_powers(wave):
            self._low.append(low)
            self._high.append(high)

    def high_to_low_db(self) -> float | None:
        """See :func:`high_to_low_db`."""
        if self._samples < SHORTEST_SECONDS * SAMPLE_RATE:
            return None
        power = self._energy / self._samples
        if not np.isfinite(power) or power <= SILENCE_POWER:
            return None
        low = np.percentile(np.concatenate(self._low), LOW_PERCENTILE)
        high = np.percentile(np.concatenate(self._high), HIGH_PERCENTILE)
        if low <= 0:
            return None
        return float(10 * np.log10(max(high / low, 1e-30)))

    @property
    def label(self) -> str:
        """``nb`` or ``wb``."""
        if self.original_rate <= NARROW_RATE:
            return "nb"
        ratio_db = self.high_to_low_db()
        return "nb" if ratio_db is not None and ratio_db < NARROW_BELOW_DB else "wb"


def _band_powers(wave: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the powers (frames,) of the low and the high band, block by block."""
    size = int(FRAME_SECONDS * SAMPLE_RATE)
    frames = np.lib.stride_tricks.sliding_window_view(wave, size)[:: size // 2]
    hertz = np.fft.rfftfreq(size, 1 / SAMPLE_RATE)
    # A smooth window: the side lobes of a rectangular one leak above 4 kHz.
    window = np.blackman(size)
    for start in range(0, len(frames), BLOCK):
        block = frames[start : start + BLOCK] * window
        power = np.abs(np.fft.rfft(block)) ** 2  # (frames, bins)
        yield _band(power, hertz, LOW_BAND), _band(power, hertz, HIGH_BAND)


def _band(
    power: np.ndarray, hertz: np.ndarray, limits: tuple[float, float]
) -> np.ndarray:
    """Return the mean power (frames,) of (frames, bins) between two frequencies."""
    return power[:, (hertz >= limits[0]) & (hertz <= limits[1])].mean(axis=1)
