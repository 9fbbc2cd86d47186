"""Speech is found in any bed of noise; noise, tones and clicks are none."""

import numpy as np
import pytest

from espnet_smoe.inference.long_form.speech_activity import (
    SpeechActivity,
    onset,
    speech_spans,
)
from tests.inference.sounds import RATE, not_speech, pink
from tests.tiny import talk

SOUNDS = not_speech()


@pytest.mark.parametrize("name", SOUNDS)
def test_noise_tones_and_clicks_are_no_speech(name):
    assert speech_spans(SOUNDS[name]) == []
    assert speech_spans(SOUNDS[name][:RATE]) == []


@pytest.mark.parametrize(
    "bed",
    [
        lambda n: np.zeros(n),
        lambda n: np.random.default_rng(1).integers(-1, 2, n) / 32768,
        lambda n: np.full(n, 0.2),
        lambda n: 0.002 * pink(n / RATE),
        lambda n: 0.05 * np.sin(2 * np.pi * 120 * np.arange(n) / RATE),
    ],
    ids=["zeros", "dither", "offset", "pink", "hum"],
)
@pytest.mark.parametrize("gain", [1.0, 0.03, 30.0], ids=["", "quiet", "clipped"])
def test_speech_is_found_in_a_bed(bed, gain):
    wave = np.zeros(6 * RATE)
    wave[2 * RATE : 4 * RATE] = np.clip(gain * talk(2.0), -1, 1)
    wave += (gain if gain < 1 else 1.0) * bed(len(wave))
    spans = speech_spans(wave.astype(np.float32))
    assert abs(spans[0].start - 2 * RATE) < 0.2 * RATE
    assert abs(spans[-1].end - 4 * RATE) < 0.2 * RATE


def test_noise_that_begins_suddenly_hides_nothing_and_is_no_speech():
    wave = np.zeros(20 * RATE)
    wave[5 * RATE :] = 0.003 * pink(15)
    wave[12 * RATE : 14 * RATE] += talk(2.0)
    spans = speech_spans(wave.astype(np.float32))
    assert abs(spans[0].start - 12 * RATE) < 0.3 * RATE
    assert abs(spans[-1].end - 14 * RATE) < 0.3 * RATE


def test_blocks_of_any_size_give_the_same():
    wave = np.concatenate([talk(3), np.zeros(RATE, np.float32), talk(2, 1)])
    whole = speech_spans(wave)
    for size in (1, 100, 7777):
        activity = SpeechActivity()
        for start in range(0, len(wave) if size > 1 else 0, size):
            activity.accept(wave[start : start + size])
        assert size == 1 or activity.spans() == whole
    assert len(whole) > 1


def test_memory_does_not_grow_with_the_samples():
    activity = SpeechActivity()
    for _ in range(60):
        activity.accept(talk(10))
    kept = sum(x.nbytes for x in [*activity._bands, *activity._widths])
    assert kept < 600 * 100 * 40


def test_onset_is_the_first_sample_louder_than_the_background():
    wave = 1e-3 * np.random.default_rng(0).uniform(-1, 1, RATE)
    wave[8000:] += talk(0.5) + 0.1
    assert onset(wave, 7700) == 8000
    assert onset(wave[7900:], 10) == 10  # too little background to tell


def test_the_quietest_place_is_found():
    activity = SpeechActivity()
    wave = talk(3)
    wave[20000:22000] *= 0.001
    activity.accept(wave)
    assert 20000 <= activity.quietest(8000, 40000) <= 22000
