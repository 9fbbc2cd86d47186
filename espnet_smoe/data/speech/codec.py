"""The five channel conditions a 16 kHz utterance is sent through.

``nb`` and ``wb`` are the plain bandwidths; ``g711_nb``, ``amr_nb`` and ``amr_wb``
pass the speech through a telephone codec and back. Every condition keeps rate,
length and alignment, so a transcript or a time stamp stays valid.

FFmpeg does the coding: the binary of imageio-ffmpeg (``pip install
"espnet-smoe[codec]"``) brings the AMR encoders that few distributions ship.

Example:
    >>> import numpy as np
    >>> wave = np.random.default_rng(0).normal(0, 0.1, 16000).astype(np.float32)
    >>> Narrowband()(wave).shape
    (16000,)
"""

import subprocess
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np
import soxr

from espnet_smoe.config.options import nearest
from espnet_smoe.data.speech.waveform import as_waveform
from espnet_smoe.plugins import import_extra

WIDE_RATE = 16000  # Hz, of every waveform that goes in and comes out
NARROW_RATE = 8000  # Hz, inside a narrowband condition

AMR_NB_BIT_RATES = (4750, 5150, 5900, 6700, 7400, 7950, 10200, 12200)  # bit/s
AMR_WB_BIT_RATES = (6600, 8850, 12650, 14250, 15850, 18250, 19850, 23050, 23850)
G711_LAWS = ("alaw", "mulaw")

# Samples by which a decoded signal lags behind its source, the same in every mode:
# 5 ms of look-ahead, and in AMR-WB 15 samples of its inner rate converter.
AMR_NB_DELAY = 40  # at 8 kHz
AMR_WB_DELAY = 95  # at 16 kHz


@dataclass(frozen=True)
class Condition:
    """One way from the speaker to the recognizer.

    Attributes:
        name: Value of ``utt2condition``.
        bandwidth: Value of ``utt2bandwidth``, ``nb`` or ``wb``.
        modes: Values of its one option, where it has one.
    """

    name: ClassVar[str]
    bandwidth: ClassVar[str]
    modes: ClassVar[tuple] = ()

    def __call__(self, wave: np.ndarray) -> np.ndarray:
        """Pass one utterance through the condition.

        Args:
            wave: (T,) mono waveform at 16 kHz, float within [-1, 1] or integers.

        Returns:
            (T,) float32 waveform at 16 kHz, aligned with the input.

        Raises:
            ValueError: The waveform is not mono, of another scale, or holds NaN or
                infinity.
            ImportError: A codec is needed and imageio-ffmpeg is not installed.
        """
        wave = as_waveform(wave, f"condition {self.name!r}")
        if wave.size == 0:
            return wave.copy()
        passed = self._transmit(wave)
        return _fit(passed, len(wave)).astype(np.float32, copy=False)

    @classmethod
    def every(cls) -> "list[Condition]":
        """The condition in each of its modes."""
        return [cls(mode) for mode in cls.modes] or [cls()]

    def to_dict(self) -> dict[str, Any]:
        """Return the condition as plain values, for YAML or JSON."""
        return {"condition": self.name, **asdict(self)}

    def _transmit(self, wave: np.ndarray) -> np.ndarray:
        raise NotImplementedError


@dataclass(frozen=True)
class Wideband(Condition):
    """The 16 kHz signal as it is."""

    name: ClassVar[str] = "wb"
    bandwidth: ClassVar[str] = "wb"

    def _transmit(self, wave: np.ndarray) -> np.ndarray:
        return wave.copy()


@dataclass(frozen=True)
class Narrowband(Condition):
    """Sampled at 8 kHz and back: nothing is left above 4 kHz."""

    name: ClassVar[str] = "nb"
    bandwidth: ClassVar[str] = "nb"

    def _transmit(self, wave: np.ndarray) -> np.ndarray:
        return _widen(_narrow(wave))


@dataclass(frozen=True)
class G711(Condition):
    """Fixed-line telephony: 8 kHz, logarithmic 8-bit samples (ITU-T G.711).

    Attributes:
        law: ``alaw`` (most of the world) or ``mulaw`` (North America, Japan).
    """

    name: ClassVar[str] = "g711_nb"
    bandwidth: ClassVar[str] = "nb"
    modes: ClassVar[tuple] = G711_LAWS
    law: str = "alaw"

    def __post_init__(self) -> None:
        _reject_other("G.711 law", self.law, G711_LAWS)

    def _transmit(self, wave: np.ndarray) -> np.ndarray:
        coded = _encode(_narrow(wave), NARROW_RATE, ["-f", self.law])
        form = ["-f", self.law, "-ar", str(NARROW_RATE), "-ac", "1"]
        return _widen(_decode(coded, form, NARROW_RATE))


@dataclass(frozen=True)
class AmrNb(Condition):
    """Mobile telephony at 8 kHz (3GPP AMR-NB).

    Attributes:
        bit_rate: Mode of the codec in bit/s, one of `AMR_NB_BIT_RATES`.
    """

    name: ClassVar[str] = "amr_nb"
    bandwidth: ClassVar[str] = "nb"
    modes: ClassVar[tuple] = AMR_NB_BIT_RATES
    bit_rate: int = 12200

    def __post_init__(self) -> None:
        _check_bit_rate(self.name, self.bit_rate, AMR_NB_BIT_RATES)

    def _transmit(self, wave: np.ndarray) -> np.ndarray:
        narrow = _narrow(wave)
        decoded = _amr(
            narrow, NARROW_RATE, "libopencore_amrnb", self.bit_rate, AMR_NB_DELAY
        )
        return _widen(decoded)


@dataclass(frozen=True)
class AmrWb(Condition):
    """Mobile telephony at 16 kHz (3GPP AMR-WB, ITU-T G.722.2).

    Attributes:
        bit_rate: Mode of the codec in bit/s, one of `AMR_WB_BIT_RATES`.
    """

    name: ClassVar[str] = "amr_wb"
    bandwidth: ClassVar[str] = "wb"
    modes: ClassVar[tuple] = AMR_WB_BIT_RATES
    bit_rate: int = 12650

    def __post_init__(self) -> None:
        _check_bit_rate(self.name, self.bit_rate, AMR_WB_BIT_RATES)

    def _transmit(self, wave: np.ndarray) -> np.ndarray:
        return _amr(wave, WIDE_RATE, "libvo_amrwbenc", self.bit_rate, AMR_WB_DELAY)


CONDITIONS: dict[str, type[Condition]] = {
    kind.name: kind for kind in (Narrowband, G711, AmrNb, Wideband, AmrWb)
}
BANDWIDTH_OF = {name: kind.bandwidth for name, kind in CONDITIONS.items()}


def _reject_other(what: str, value: Any, known: Iterable[str]) -> None:
    if value not in known:
        raise ValueError(
            f"unknown {what} {value!r}{nearest(str(value), known)} "
            f"(known: {', '.join(known)})"
        )


def _check_bit_rate(name: str, bit_rate: int, modes: tuple[int, ...]) -> None:
    if bit_rate not in modes:
        raise ValueError(
            f"condition {name!r} has no mode of {bit_rate!r} bit/s: choose one of "
            + ", ".join(map(str, modes))
        )


def _fit(wave: np.ndarray, length: int) -> np.ndarray:
    """Crop or zero-pad the end of (T,) to `length` samples."""
    return np.pad(wave[:length], (0, max(0, length - len(wave))))


def _narrow(wave: np.ndarray) -> np.ndarray:
    return soxr.resample(wave, WIDE_RATE, NARROW_RATE)


def _widen(wave: np.ndarray) -> np.ndarray:
    return soxr.resample(wave, NARROW_RATE, WIDE_RATE)


def _amr(
    wave: np.ndarray, rate: int, encoder: str, bit_rate: int, delay: int
) -> np.ndarray:
    """Encode and decode (T,) at `rate` Hz; the result is (T,), without the delay."""
    padded = np.pad(wave, (0, delay))  # or the codec would keep the last samples
    target = ["-c:a", encoder, "-b:a", str(bit_rate), "-f", "amr"]
    decoded = _decode(_encode(padded, rate, target), ["-f", "amr"], rate)
    return _fit(decoded[delay:], len(wave))


def _encode(wave: np.ndarray, rate: int, target: list[str]) -> bytes:
    # FFmpeg's codecs take 16-bit samples; without this clip a peak would wrap.
    samples = np.clip(np.rint(wave * 32768.0), -32768, 32767).astype("<i2")
    source = ["-f", "s16le", "-ar", str(rate), "-ac", "1"]
    return _ffmpeg([*source, "-i", "pipe:0", *target, "pipe:1"], samples.tobytes())


def _decode(coded: bytes, source: list[str], rate: int) -> np.ndarray:
    target = ["-f", "s16le", "-ar", str(rate), "-ac", "1"]
    raw = _ffmpeg([*source, "-i", "pipe:0", *target, "pipe:1"], coded)
    return np.frombuffer(raw, "<i2").astype(np.float32) / 32768.0


def _ffmpeg(arguments: list[str], data: bytes) -> bytes:
    # One process an utterance: a codec has a state, so utterances
    # sharing a stream would depend on their neighbors. A start costs 2-4 ms, an
    # AMR utterance of 5 s 30-55 ms in all (`espnet-smoe benchmark codec`).
    command = [ffmpeg_path(), "-hide_banner", "-loglevel", "error", *arguments]
    done = subprocess.run(command, input=data, capture_output=True, check=False)
    if done.returncode != 0 or not done.stdout:
        raise RuntimeError(
            f"FFmpeg failed: {' '.join(command)}\n{done.stderr.decode().strip()}\n"
            "If an AMR encoder is unknown to it, install imageio-ffmpeg>=0.6,<0.8 "
            "and unset IMAGEIO_FFMPEG_EXE."
        )
    return done.stdout


def ffmpeg_path() -> str:
    """The FFmpeg that holds the codecs.

    Raises:
        ImportError: imageio-ffmpeg is not installed.
    """
    return import_extra("imageio_ffmpeg", "codec", "a telephone codec").get_ffmpeg_exe()
