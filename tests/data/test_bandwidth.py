"""Narrowband or wideband, from rate and spectrum."""

import numpy as np
import pytest
import soxr

from espnet_smoe.data.bandwidth import detect_bandwidth
from espnet_smoe.data.codec import BANDWIDTH_OF, CONDITIONS
from espnet_smoe.data.espeak import speak


@pytest.fixture(scope="module")
def voices() -> list[np.ndarray]:
    """A sentence by four voices, 16 kHz."""
    pytest.importorskip("espeakng_loader")
    waves = []
    for variant in ("f2", "m3", "Annie", "klatt"):
        wave, rate = speak("어제 동생은 시장에서 사과를 샀어요", f"ko+{variant}")
        waves.append(soxr.resample(wave, rate, 16000))
    return waves


def as_stored(wave: np.ndarray) -> np.ndarray:
    """Round as a 16-bit file does."""
    return np.rint(wave * 32767) / 32767


@pytest.mark.parametrize("name", CONDITIONS)
@pytest.mark.parametrize("gain", [0.5, 0.05])
def test_speech_is_told_apart_in_every_condition(voices, name, gain):
    if name not in ("nb", "wb"):
        pytest.importorskip("imageio_ffmpeg")
    found = [
        detect_bandwidth(as_stored(gain * CONDITIONS[name]()(v)), 16000) for v in voices
    ]
    assert found == [BANDWIDTH_OF[name]] * len(voices)


@pytest.mark.parametrize("rate", [11025, 22050, 44100, 48000])
def test_other_rates_are_judged_by_their_spectrum(voices, rate):
    wide = voices[0]
    narrow = CONDITIONS["nb"]()(wide)
    assert detect_bandwidth(soxr.resample(wide, 16000, rate), rate) == "wb"
    assert detect_bandwidth(soxr.resample(narrow, 16000, rate), rate) == "nb"


def test_a_rate_of_8_khz_is_narrowband_whatever_is_heard():
    noise = np.random.default_rng(0).normal(0, 0.1, 8000)
    assert detect_bandwidth(noise, 8000) == "nb"
    assert detect_bandwidth(noise, 6000) == "nb"
    assert detect_bandwidth(noise, 16000) == "wb"


@pytest.mark.parametrize(
    "wave",
    [
        np.zeros(0),
        np.zeros(16000),
        np.full(1, 0.5),
        np.full(100, 0.5),
        np.full(16000, 1e-6),
        np.full(16000, np.nan),
    ],
    ids=["empty", "silent", "one sample", "short", "rounding noise", "NaN"],
)
def test_without_evidence_the_rate_decides(wave):
    assert detect_bandwidth(wave, 16000) == "wb"
    assert detect_bandwidth(wave, 8000) == "nb"


def test_a_click_does_not_make_narrowband_speech_wide(voices):
    narrow = CONDITIONS["nb"]()(voices[0])
    narrow[len(narrow) // 2] = 1.0
    assert detect_bandwidth(narrow, 16000) == "nb"


def test_wrong_input_is_refused():
    with pytest.raises(ValueError, match="average the channels"):
        detect_bandwidth(np.zeros((2, 100)), 16000)
    with pytest.raises(ValueError, match="positive"):
        detect_bandwidth(np.zeros(100), 0)
