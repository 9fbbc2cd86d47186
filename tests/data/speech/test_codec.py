"""The five channel conditions."""

import sys

import numpy as np
import pytest
import soxr
from hypothesis import example, given, settings
from hypothesis import strategies as st

from espnet_smoe.data.speech import codec
from espnet_smoe.data.speech.codec import (
    BANDWIDTH_OF,
    CONDITIONS,
    G711,
    AmrNb,
    AmrWb,
    Condition,
    Narrowband,
    Wideband,
)
from espnet_smoe.data.speech.espeak import speak


@pytest.fixture
def needs_ffmpeg() -> None:
    pytest.importorskip("imageio_ffmpeg")


SENTENCES = (
    ("어제 동생은 시장에서 사과를 샀어요", "ko+m3"),
    ("내일 아침 일찍 만나서 함께 산에 가기로 했습니다", "ko+f2"),
    ("the weather is nice today and she sells sea shells", "en+m1"),
)


@pytest.fixture(scope="module")
def sentences() -> list[np.ndarray]:
    """Spoken sentences, 16 kHz: speech coders are made for voices alone."""
    pytest.importorskip("imageio_ffmpeg")
    pytest.importorskip("espeakng_loader")
    spoken = [speak(text, voice) for text, voice in SENTENCES]
    return [0.5 * soxr.resample(wave, rate, 16000) for wave, rate in spoken]


@pytest.fixture(scope="module")
def heard(sentences) -> dict[Condition, list[np.ndarray]]:
    """The sentences through every mode of every codec."""
    modes = [*G711.every(), *AmrNb.every(), *AmrWb.every()]
    return {mode: [mode(wave) for wave in sentences] for mode in modes}


def noise(seconds: float = 1.0, seed: int = 0) -> np.ndarray:
    samples = np.random.default_rng(seed).normal(0, 0.1, int(16000 * seconds))
    return samples.astype(np.float32)


def level_above(wave: np.ndarray, hertz: float) -> float:
    power = np.abs(np.fft.rfft(wave * np.hanning(len(wave)))) ** 2
    above = np.fft.rfftfreq(len(wave), 1 / 16000) > hertz
    return 10 * np.log10(power[above].sum() / power.sum())


def in_band(condition: Condition, wave: np.ndarray) -> np.ndarray:
    """What there is to transmit: the missing highs are neither error nor delay."""
    return Narrowband()(wave) if condition.bandwidth == "nb" else wave


def lag(source: np.ndarray, heard: np.ndarray) -> int:
    """Samples by which `heard` comes after `source`: peak of the phase correlation.

    Without the phase transform, the high-pass filters of the coders, which turn the
    phase of the lowest and loudest frequencies, would pass for an advance.
    """
    size = 1 << (2 * len(source)).bit_length()
    cross = np.fft.rfft(heard, size) * np.conj(np.fft.rfft(source, size))
    power = np.abs(cross)
    cross[power < 1e-6 * power.max()] = 0
    scores = np.fft.irfft(cross / np.maximum(power, 1e-12), size)
    place = int(np.argmax(scores))
    return place if place < len(source) else place - size


def log_spectra(wave: np.ndarray, top: float, floor: float) -> np.ndarray:
    """Power (frames, bins) in dB, up to `top` Hz."""
    frames = np.lib.stride_tricks.sliding_window_view(wave, 512)[::160]
    power = np.abs(np.fft.rfft(frames * np.hanning(512))) ** 2
    return 10 * np.log10(power[:, 1 : int(top / 16000 * 512)] + floor)


def spectral_distance(condition: Condition, source: np.ndarray, heard: np.ndarray):
    """Log-spectral distance in dB, over the frames in which somebody speaks."""
    top = 3400 if condition.bandwidth == "nb" else 7000
    source = in_band(condition, source)
    floor = 1e-6 * np.mean(10 ** (log_spectra(source, top, 1e-12) / 10))
    before, after = (log_spectra(wave, top, floor) for wave in (source, heard))
    loud = before.mean(axis=1) > 10 * np.log10(floor) + 25
    return float(np.sqrt(((before - after)[loud] ** 2).mean(axis=1)).mean())


def test_the_five_conditions_know_their_bandwidth():
    assert BANDWIDTH_OF == {
        "nb": "nb",
        "g711_nb": "nb",
        "amr_nb": "nb",
        "wb": "wb",
        "amr_wb": "wb",
    }


@settings(max_examples=8, deadline=None)  # an example starts FFmpeg six times
@given(st.one_of(st.integers(1, 700), st.integers(1, 20000)))
@example(1)
@example(159)
@example(16001)
def test_length_and_type_are_kept(length):
    pytest.importorskip("imageio_ffmpeg")
    for kind in CONDITIONS.values():
        heard = kind()(noise(1.3)[:length].astype(np.float64))
        assert heard.shape == (length,)
        assert heard.dtype == np.float32


@pytest.mark.parametrize("name", CONDITIONS)
def test_every_condition_has_its_modes(name):
    count = {"g711_nb": 2, "amr_nb": 8, "amr_wb": 9}.get(name, 1)
    modes = CONDITIONS[name].every()
    assert len(set(modes)) == count
    assert CONDITIONS[name]() in modes


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


def test_what_is_heard_comes_neither_late_nor_early(sentences, heard):
    for condition, waves in heard.items():
        for source, wave in zip(sentences, waves):
            assert wave.shape == source.shape
            assert lag(in_band(condition, source), wave) == 0, condition


def test_narrowband_speech_is_empty_above_4_khz_in_every_mode(sentences, heard):
    for condition, waves in heard.items():
        for source, wave in zip(sentences, waves):
            assert level_above(source, 4300) > -30
            narrow = condition.bandwidth == "nb"
            assert (level_above(wave, 4300) < -100) == narrow, condition


@pytest.mark.parametrize("kind", [AmrNb, AmrWb])
def test_the_spectrum_moves_away_as_the_bit_rate_falls(sentences, heard, kind):
    distances = [
        np.mean([spectral_distance(m, *pair) for pair in zip(sentences, heard[m])])
        for m in kind.every()
    ]
    assert (np.diff(distances) < 0.05).all()  # dB; the next mode is as good or better
    assert distances[0] - distances[-1] > 1.5
    g711 = G711()
    pairs = zip(sentences, heard[g711])
    assert np.mean([spectral_distance(g711, *p) for p in pairs]) < distances[-1] - 2


@pytest.mark.parametrize("law", codec.G711_LAWS)
def test_g711_is_that_of_the_itu(needs_ffmpeg, law):
    codewords = np.arange(256, dtype=np.uint8)
    form = ["-f", law, "-ar", "8000", "-ac", "1"]
    decoded = codec._decode(codewords.tobytes(), form, 8000) * 32768
    values = {"alaw": itu_alaw, "mulaw": itu_mulaw}[law](codewords)
    np.testing.assert_array_equal(decoded, values)
    every = np.arange(-32768, 32768)
    coded = codec._encode(every.astype(np.float32) / 32768, 8000, ["-f", law])
    error = np.abs(values[np.frombuffer(coded, np.uint8)] - every)
    nearest = np.abs(np.subtract.outer(every, np.unique(values))).min(axis=1)
    assert (error == nearest).mean() > 0.99  # at the thresholds FFmpeg rounds
    assert (error - nearest).max() <= 300  # within the step, 1024 at the top


def itu_alaw(codewords: np.ndarray) -> np.ndarray:
    """Table 1 of ITU-T G.711, scaled to 16 bit."""
    bits = codewords.astype(int) ^ 0x55  # even bits are inverted
    segment, step = bits >> 4 & 7, bits & 15
    value = np.where(
        segment == 0, 2 * step + 1, (2 * step + 33) << (segment.clip(1) - 1)
    )
    return np.where(bits & 0x80, 8 * value, -8 * value)


def itu_mulaw(codewords: np.ndarray) -> np.ndarray:
    """Table 2 of ITU-T G.711, scaled to 16 bit."""
    bits = ~codewords.astype(int) & 0xFF  # all bits are inverted
    value = ((2 * (bits & 15) + 33) << (bits >> 4 & 7)) - 33
    return np.where(bits & 0x80, -4 * value, 4 * value)


@pytest.mark.parametrize(
    "mode, decoder, least",
    [
        *((mode, "libopencore_amrnb", 18) for mode in AmrNb.every()),
        # Its noise above 6.4 kHz is its own, and its post-filter another.
        *((mode, "libopencore_amrwb", 6) for mode in AmrWb.every()),
    ],
    ids=str,
)
def test_a_second_decoder_of_amr_hears_the_same(
    sentences, heard, monkeypatch, mode, decoder, least
):
    decode = codec._decode

    def with_the_second(coded: bytes, source: list[str], rate: int) -> np.ndarray:
        return decode(coded, ["-c:a", decoder, *source], rate)

    monkeypatch.setattr(codec, "_decode", with_the_second)
    ours, theirs = heard[mode][0], mode(sentences[0])
    assert not np.array_equal(ours, theirs)
    assert lag(ours, theirs) == 0
    agreement = 10 * np.log10(np.mean(ours**2) / np.mean((ours - theirs) ** 2))
    assert agreement > least  # dB


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
    "name, mode, message",
    [
        ("amr_nb", 23850, "12200"),
        ("amr_wb", 12200, "12650"),
        ("g711_nb", "ulaw", "did you mean 'mulaw'"),
    ],
)
def test_a_mode_that_a_codec_lacks_names_those_it_has(name, mode, message):
    with pytest.raises(ValueError, match=message):
        CONDITIONS[name](mode)


@pytest.mark.parametrize(
    "wave, said",
    [
        (np.zeros((10, 2), np.float32), "mix its channels"),
        (np.full(10, 32767.0, np.float32), "full scale"),
        (np.array([0.0, np.nan], np.float32), "NaN"),
    ],
)
def test_a_waveform_of_the_wrong_kind_is_refused(wave, said):
    with pytest.raises(ValueError, match=said):
        Narrowband()(wave)


def test_without_ffmpeg_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(ImportError, match=r"espnet_smoe\[codec\]"):
        AmrNb()(noise())
    assert len(Narrowband()(noise())) == 16000  # needs no codec
