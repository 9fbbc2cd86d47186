"""Narrowband or wideband, from rate and spectrum."""

import tracemalloc

import numpy as np
import pytest
import soundfile
import soxr

from espnet_smoe.data.check import AUTO, Utterance
from espnet_smoe.data.checked_audio import AudioJob, check_audio
from espnet_smoe.data.corpora.measure import measure
from espnet_smoe.data.speech.bandwidth import (
    bandwidth_at_16khz,
    detect_bandwidth,
    high_to_low_db,
)
from espnet_smoe.data.speech.codec import BANDWIDTH_OF, CONDITIONS
from espnet_smoe.data.speech.espeak import speak
from espnet_smoe.inference.audio import read_audio
from espnet_smoe.inference.long_form.speech_pieces import find_speech


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
    with pytest.raises(ValueError, match="mono.*mix its channels"):
        detect_bandwidth(np.zeros((2, 100)), 16000)
    with pytest.raises(ValueError, match="positive"):
        detect_bandwidth(np.zeros(100), 0)


@pytest.mark.parametrize("rate", [8000, 8192, 9600, 11025, 12000, 16000, 22050, 48000])
def test_file_and_array_stage_and_transcription_have_one_answer(voices, tmp_path, rate):
    """What training is told of a recording, recognition shall find."""
    for number, wave in enumerate((voices[1], CONDITIONS["nb"]()(voices[1]))):
        path = tmp_path / f"{number}.wav"
        soundfile.write(path, soxr.resample(wave, 16000, rate), rate)
        utterance = Utterance(
            str(number), str(path), {"text": "가"}, AUTO, "s", "", speed=1.0
        )
        staged = check_audio(AudioJob(utterance, [], tmp_path / "dump", True))
        native, _ = soundfile.read(path, dtype="float32")
        found = {
            bandwidth_at_16khz(*read_audio(path)),
            detect_bandwidth(native, rate),
            measure(str(path)).bandwidth,
            find_speech(str(path))[1],
            staged.bandwidth,
        }
        if rate > 8000:  # the copy in dump does not tell its first rate
            found.add(bandwidth_at_16khz(*read_audio(staged.wav)))
        assert len(found) == 1
        assert found == {"wb" if rate >= 9600 and number == 0 else "nb"}


def test_an_hour_takes_hardly_more_memory_than_itself():
    hour = np.random.default_rng(0).normal(0, 0.1, 16000 * 600).astype(np.float32)
    hour = np.tile(hour, 6)
    tracemalloc.start()
    try:
        assert bandwidth_at_16khz(hour, 16000) == "wb"
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 64 * 2**20


@pytest.mark.parametrize("ratio, label", [(-46.8, "wb"), (-47.2, "nb"), (-30, "wb")])
def test_47_db_less_above_4_3_khz_than_below_3_4_is_narrowband(ratio, label):
    seconds = np.arange(16000) / 16000
    # a bin each 31.25 Hz: 100 of them from 0.3 to 3.4 kHz, 87 from 4.3 to 7
    level = 10 ** (ratio / 20) * (87 / 100) ** 0.5
    low, high = (np.sin(2 * np.pi * hertz * seconds) for hertz in (1000, 5500))
    wave = 0.5 * (low + level * high)
    assert high_to_low_db(wave) == pytest.approx(ratio, abs=0.1)
    assert bandwidth_at_16khz(wave, 16000) == label
