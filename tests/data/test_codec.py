"""The five channel conditions."""

import json
import sys

import numpy as np
import pytest
import soxr

from espnet_smoe.data import codec
from espnet_smoe.data.codec import (
    AMR_NB_BIT_RATES,
    AMR_WB_BIT_RATES,
    BANDWIDTH_OF,
    CONDITIONS,
    G711,
    AmrNb,
    AmrWb,
    Condition,
    Narrowband,
    Wideband,
)
from espnet_smoe.data.espeak import speak


@pytest.fixture
def needs_ffmpeg() -> None:
    pytest.importorskip("imageio_ffmpeg")


@pytest.fixture(scope="module")
def spoken() -> np.ndarray:
    """A spoken sentence, 16 kHz: speech coders are made for voices alone."""
    pytest.importorskip("imageio_ffmpeg")
    pytest.importorskip("espeakng_loader")
    wave, rate = speak("어제 동생은 시장에서 사과를 샀어요", "ko+m3")
    return 0.5 * soxr.resample(wave, rate, 16000)


def noise(seconds: float = 1.0, seed: int = 0) -> np.ndarray:
    samples = np.random.default_rng(seed).normal(0, 0.1, int(16000 * seconds))
    return samples.astype(np.float32)


def level_above(wave: np.ndarray, hertz: float) -> float:
    power = np.abs(np.fft.rfft(wave * np.hanning(len(wave)))) ** 2
    above = np.fft.rfftfreq(len(wave), 1 / 16000) > hertz
    return 10 * np.log10(power[above].sum() / power.sum())


def lag(source: np.ndarray, heard: np.ndarray, most: int = 300) -> int:
    """Samples by which `heard` comes after `source`."""
    core = source[most:-most]
    scores = [
        float(core @ heard[most + shift : most + shift + len(core)])
        for shift in range(-most, most + 1)
    ]
    return int(np.argmax(scores)) - most


def test_the_five_conditions_know_their_bandwidth():
    assert BANDWIDTH_OF == {
        "nb": "nb",
        "g711_nb": "nb",
        "amr_nb": "nb",
        "wb": "wb",
        "amr_wb": "wb",
    }


@pytest.mark.parametrize("name", CONDITIONS)
@pytest.mark.parametrize("length", [1, 2, 159, 16000, 16001])
def test_length_and_type_are_kept(needs_ffmpeg, name, length):
    heard = CONDITIONS[name]()(noise(1.1)[:length].astype(np.float64))
    assert heard.shape == (length,)
    assert heard.dtype == np.float32


@pytest.mark.parametrize("name", CONDITIONS)
def test_an_empty_waveform_stays_empty(name):
    assert CONDITIONS[name]()(np.zeros(0, np.float32)).shape == (0,)


def test_wideband_is_the_signal_itself_and_a_copy():
    wave = noise()
    heard = Wideband()(wave)
    np.testing.assert_array_equal(heard, wave)
    assert not np.shares_memory(heard, wave)


@pytest.mark.parametrize("name", CONDITIONS)
def test_only_narrowband_conditions_are_empty_above_4_khz(needs_ffmpeg, name):
    level = level_above(CONDITIONS[name]()(noise()), 4300)
    if BANDWIDTH_OF[name] == "nb":
        assert level < -60
    else:
        assert level > -30


def test_what_is_heard_is_aligned_with_the_source(spoken):
    for kind in CONDITIONS.values():
        # Against the same band: the missing highs are no delay.
        band = Narrowband()(spoken) if kind.bandwidth == "nb" else spoken
        # The coders' filters delay some frequencies by a fraction of a sample more.
        assert abs(lag(band, kind()(spoken))) <= 2, kind.name


@pytest.mark.parametrize("bit_rate", AMR_NB_BIT_RATES)
def test_every_amr_nb_mode_gives_similar_aligned_speech(spoken, bit_rate):
    heard = AmrNb(bit_rate)(spoken)
    assert len(heard) == len(spoken)
    assert np.corrcoef(Narrowband()(spoken), heard)[0, 1] > 0.6


@pytest.mark.parametrize("bit_rate", AMR_WB_BIT_RATES)
def test_every_amr_wb_mode_gives_similar_aligned_speech(spoken, bit_rate):
    heard = AmrWb(bit_rate)(spoken)
    assert len(heard) == len(spoken)
    assert np.corrcoef(spoken, heard)[0, 1] > 0.8


@pytest.mark.parametrize("low, high", [(AmrNb(4750), AmrNb()), (AmrWb(6600), AmrWb())])
def test_a_higher_bit_rate_stays_closer_to_the_source(spoken, low, high):
    band = Narrowband()(spoken) if low.bandwidth == "nb" else spoken
    coarse, fine = (np.corrcoef(band, codec(spoken))[0, 1] for codec in (low, high))
    assert coarse < fine


def test_g711_keeps_the_signal_over_its_quantisation_noise(needs_ffmpeg):
    source = noise()
    narrow = Narrowband()(source)
    heard = {law: G711(law)(source) for law in codec.G711_LAWS}
    for wave in heard.values():
        error = np.mean((wave - narrow) ** 2)
        # 8-bit logarithmic samples: about 38 dB, far from linear 8-bit and from 16-bit
        assert 30 < 10 * np.log10(np.mean(narrow**2) / error) < 45
    assert not np.array_equal(heard["alaw"], heard["mulaw"])


def test_peaks_beyond_full_scale_are_clipped_and_do_not_wrap(needs_ffmpeg):
    tone = 1.5 * np.sin(2 * np.pi * 440 * np.arange(16000) / 16000)
    assert np.corrcoef(tone, G711()(tone))[0, 1] > 0.95


def test_utterances_do_not_depend_on_their_neighbours(needs_ffmpeg):
    condition, wave = AmrNb(), noise(seed=1)
    alone = condition(wave)
    condition(noise(seed=2))
    np.testing.assert_array_equal(condition(wave), alone)


@pytest.mark.parametrize(
    "condition",
    [Wideband(), Narrowband(), G711("mulaw"), AmrNb(4750), AmrWb(23850)],
    ids=lambda condition: condition.name,
)
def test_a_condition_survives_json(condition):
    assert Condition.from_dict(json.loads(json.dumps(condition.to_dict()))) == condition


@pytest.mark.parametrize(
    "values, said",
    [
        ({"condition": "g711"}, "did you mean 'g711_nb'"),
        ({"condition": "amr_nb", "bitrate": 4750}, "did you mean 'bit_rate'"),
        ({"condition": "amr_nb", "bit_rate": 23850}, "12200"),
        ({"condition": "amr_wb", "bit_rate": 12200}, "12650"),
        ({"condition": "g711_nb", "law": "ulaw"}, "did you mean 'mulaw'"),
        ({"condition": "wb", "law": "alaw"}, "condition 'wb': unknown key 'law'"),
        ({}, "unknown condition"),
    ],
)
def test_a_wrong_description_names_the_cure(values, said):
    with pytest.raises(ValueError, match=said):
        Condition.from_dict(values)


@pytest.mark.parametrize(
    "wave, said",
    [
        (np.zeros((10, 2), np.float32), "average the channels"),
        (np.zeros(10, np.int16), "scale to"),
        (np.array([0.0, np.nan], np.float32), "NaN"),
    ],
)
def test_a_waveform_of_the_wrong_kind_is_refused(wave, said):
    with pytest.raises(ValueError, match=said):
        Narrowband()(wave)


def test_without_ffmpeg_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(ImportError, match=r"espnet-smoe\[codec\]"):
        AmrNb()(noise())
    assert len(Narrowband()(noise())) == 16000  # needs no codec
