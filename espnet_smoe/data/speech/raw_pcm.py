"""Headerless audio: its formats, and whether bytes are of the format that is named.

Nothing tells the format of raw samples, but read in the wrong one they become loud
noise. So signed 16-bit samples that are such noise, and smooth in another format, are
named instead of decoded.
"""

from dataclasses import dataclass

import numpy as np

from espnet_smoe.config.options import nearest
from espnet_smoe.data.speech.downmix import correlation
from espnet_smoe.data.speech.sniff import HEAD_BYTES, kind_of

WINDOW = 24 * 171  # bytes judged at once: whole samples in every format
WINDOWS = 32  # of sound that are judged
FEWEST_BYTES = 1024  # say too little
MOST_NOISE = 0.1  # correlation of neighbors up to which samples are noise
SMOOTH = 0.5  # and from which they are sound
VERY_SMOOTH = 0.8
SMOOTHER = 0.3  # than in the expected format, to be in another one
LOUD = 0.1  # RMS over full scale of what is read in the wrong format
RANDOM_RMS = (0.52, 0.64)  # over full scale; that of random bytes is 0.577
RANDOM = "compressed or encrypted data"
FEWEST_VALUES = 64  # different samples; fewer are an artificial tone


@dataclass(frozen=True)
class RawFormat:
    """How raw samples are stored.

    Attributes:
        subtype: soundfile's name of it.
        width: Bytes a sample.
        endian: ``LITTLE`` or ``BIG``.
    """

    subtype: str
    width: int
    endian: str = "LITTLE"


RAW_FORMATS = {
    "s16le": RawFormat("PCM_16", 2),
    "s16be": RawFormat("PCM_16", 2, "BIG"),
    "s24le": RawFormat("PCM_24", 3),
    "s32le": RawFormat("PCM_32", 4),
    "f32le": RawFormat("FLOAT", 4),
    "f64le": RawFormat("DOUBLE", 8),
    "u8": RawFormat("PCM_U8", 1),
    "s8": RawFormat("PCM_S8", 1),
    "alaw": RawFormat("ALAW", 1),
    "mulaw": RawFormat("ULAW", 1),
}
DEFAULT_FORMAT = "s16le"


def raw_format(name: str) -> RawFormat:
    """The format of a name, FFmpeg's.

    Raises:
        ValueError: There is none; the nearest is named.
    """
    if name not in RAW_FORMATS:
        raise ValueError(
            f"unknown raw format '{name}'{nearest(name, RAW_FORMATS)} (known: "
            f"{', '.join(RAW_FORMATS)})"
        )
    return RAW_FORMATS[name]


class RawCheck:
    """Watch the beginning of raw audio as it comes.

    Args:
        format: Name of `RAW_FORMATS` that it shall be.
        noise: Take full-scale white noise for audio, too.
    """

    def __init__(self, format: str = DEFAULT_FORMAT, noise: bool = False):
        self.format, self.noise = format, noise
        self._head, self._waiting = b"", b""
        self._windows = 0

    def __call__(self, data: bytes, last: bool = False) -> str:
        """Look at the next bytes.

        Args:
            data: They.
            last: None follow.

        Returns:
            What it is instead of such audio, with an article; empty where it may be.
        """
        if len(self._head) < HEAD_BYTES:
            self._head += data[: HEAD_BYTES - len(self._head)]
            kind = kind_of(self._head, last)
            if kind is not None:
                return kind.name
        if self.format != DEFAULT_FORMAT or self._windows >= WINDOWS:
            return ""
        self._waiting += data
        while len(self._waiting) >= (1 if last else WINDOW):
            window, self._waiting = self._waiting[:WINDOW], self._waiting[WINDOW:]
            if window.strip(b"\0"):
                self._windows += 1
                found = unlike_pcm16(window)
                if found and not (self.noise and found == RANDOM):
                    return found
        return ""


def unlike_pcm16(data: bytes) -> str:
    """Tell raw bytes that are no signed 16-bit little-endian mono samples.

    Args:
        data: Some kilobytes.

    Returns:
        What they look like; empty where they may be such samples.
    """
    octets = np.frombuffer(data[: len(data) // 24 * 24], np.uint8)
    cells = octets.reshape(-1, 24)
    octets = cells[cells.any(axis=1)].reshape(-1)  # without what is silent
    data = octets.tobytes()
    if len(data) < FEWEST_BYTES:
        return ""
    samples = np.frombuffer(data, "<i2") / 32768.0
    even, odd = samples[::2], samples[1::2]
    together = correlation(even, odd)
    if len(np.unique(samples)) < FEWEST_VALUES:
        return ""
    if np.mean(np.abs(octets - 128.0) <= 32) > 0.95:
        return "unsigned 8-bit samples (u8)"
    loud = np.sqrt(np.mean(samples**2)) > LOUD
    if loud and together < SMOOTH and (floats := _floats(data)):
        return floats
    # in one channel of 16 bits every second sample is like the others
    alike = np.sqrt(np.mean(even**2) / np.mean(odd**2)) if odd.any() else 1.0
    if alike < 1 / 8:
        return "32-bit integers (s32le) or two channels"
    if _smooth(odd) > SMOOTH and max(abs(together), abs(_smooth(even))) < MOST_NOISE:
        return "32-bit integers (s32le)"
    if (even == odd).all() and _smooth(odd) > SMOOTH:
        return "two channels"
    return _other_format(data, samples) if loud else ""


def _other_format(data: bytes, samples: np.ndarray) -> str:
    octets = np.frombuffer(data, np.uint8)
    single = {
        "unsigned 8-bit samples (u8)": octets,
        "A-law (alaw)": _decompressed(octets ^ 0x55),
        "mu-law (mulaw)": _decompressed(~octets),
    }
    smooth = {name: _smooth(values) for name, values in single.items()}
    best = max(smooth, key=smooth.__getitem__)
    swapped = np.frombuffer(data, ">i2")
    # the low bytes of 16-bit sound are noise
    if smooth[best] > max(VERY_SMOOTH, _smooth(swapped)):
        return best
    others = single | {
        "big-endian 16-bit samples (s16be)": swapped,
        "24-bit samples (s24le)": _wide(octets),
    }
    smooth = {name: _smooth(values) for name, values in others.items()}
    best = max(smooth, key=smooth.__getitem__)
    own = _smooth(samples)
    if smooth[best] > max(SMOOTH, own + SMOOTHER):
        return best
    noise = max(abs(own), abs(correlation(samples[:-2], samples[2:]))) < MOST_NOISE
    rms = np.sqrt(np.mean(samples**2))
    if noise and RANDOM_RMS[0] < rms < RANDOM_RMS[1]:
        return RANDOM
    return ""


def _smooth(values: np.ndarray) -> float:
    values = values.astype(np.float64)
    return correlation(values[:-1], values[1:])


def _floats(data: bytes) -> str:
    words = np.frombuffer(data, "<u4")
    if _are_floats(words[::2], 23, 8) and _are_floats(words[1::2], 23, 8):
        return "32-bit floats (f32le)"
    if _are_floats(np.frombuffer(data, "<u8"), 52, 11):
        return "64-bit floats (f64le)"
    return ""


def _are_floats(words: np.ndarray, mantissa: int, exponent: int) -> bool:
    """Whether the words, zeros apart, are floats from 2^-37 to 4."""
    words = words[words != 0]
    if len(words) < 32:
        return False
    middle = 2 ** (exponent - 1) - 1
    powers = (words >> mantissa).astype(np.int64) % 2**exponent - middle
    return bool(np.mean((powers > -37) & (powers <= 1)) > 0.98)


def _wide(octets: np.ndarray) -> np.ndarray:
    """24-bit samples."""
    low, middle, high = octets.reshape(-1, 3).astype(np.int32).T
    return low | middle << 8 | high.astype(np.int8).astype(np.int32) << 16


def _decompressed(octets: np.ndarray) -> np.ndarray:
    """G.711, near enough to tell whether it is smooth: sign, power of 2, 4 bits."""
    power = (octets >> 4 & 7).astype(np.float64)
    size = (16 + (octets & 15)) * 2.0**power - 16
    return np.where(octets & 0x80, size, -size)
