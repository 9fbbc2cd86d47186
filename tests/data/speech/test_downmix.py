"""Channels become one, and nothing that was said is lost."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from espnet_smoe.data.speech.downmix import Downmix, downmix

RATE = 16000


def voice(seed=0, seconds=1.0, gain=0.3):
    """Noise with the spectrum of speech, more or less."""
    rng = np.random.default_rng(seed)
    wave = np.convolve(rng.normal(0, 1, int(seconds * RATE)), np.ones(9) / 9, "same")
    return (gain * wave).astype(np.float32)


def level(wave):
    return 10 * np.log10(np.mean(np.square(wave, dtype=np.float64)))


def mixed(*channels):
    return downmix(np.stack(channels, axis=1).astype(np.float32), RATE)


@pytest.mark.parametrize(
    "weights",
    [(1, -1), (1, -0.5), (-1, 1), (0.2, -1), (1, -1, 1), (1, -1, -1, 1), (0, 1, -1)],
)
def test_opposite_phase_keeps_the_voice(weights):
    wave = voice()
    found = mixed(*(w * wave for w in weights))
    wanted = np.mean(np.abs(weights))
    sign = np.sign(np.dot(found, wave))
    np.testing.assert_allclose(sign * found, wanted * wave, atol=1e-6)


def test_opposite_phase_is_heard_where_only_a_part_of_the_recording_has_it():
    wave = voice(seconds=2)
    other = wave.copy()
    other[RATE:] *= -1
    found = mixed(wave, other)
    np.testing.assert_array_equal(found[:RATE], wave[:RATE])
    np.testing.assert_allclose(found[RATE + 400 :], wave[RATE + 400 :], atol=1e-6)


@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_room_noise_does_not_hide_the_opposite_phase(noise):
    left, right = voice(), -voice()
    found = mixed(left + noise * voice(1), right + noise * voice(2))
    assert level(found) > level(left) - 1


def test_channels_that_agree_are_averaged_to_the_last_bit():
    channels = np.stack([voice(), 0.4 * voice() + 0.01 * voice(1)], axis=1)
    np.testing.assert_array_equal(
        downmix(channels, RATE), channels.mean(axis=1, dtype=np.float32)
    )


def test_a_speaker_on_each_channel_and_both_are_heard():
    one, other = voice(1), voice(2)
    found = mixed(one, other)
    for wave in (one, other):
        assert abs(np.dot(found, wave)) > 0.45 * np.dot(wave, wave)


def test_a_constant_offset_turns_nothing():
    wave = voice(gain=0.01)
    found = mixed(wave + 0.2, wave - 0.2)
    np.testing.assert_allclose(found, wave, atol=1e-6)


def test_one_channel_and_silent_ones_are_themselves():
    wave = voice()
    np.testing.assert_array_equal(mixed(wave), wave)
    np.testing.assert_allclose(mixed(wave, 0 * wave), wave / 2)
    assert not mixed(0 * wave, 0 * wave).any()
    assert len(mixed(wave[:0], wave[:0])) == 0


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 5000), max_size=8), st.sampled_from([8000, 44100]))
def test_block_by_block_is_as_at_once(cuts, rate):
    wave = voice(seconds=0.7)
    other = np.where(np.arange(len(wave)) < 5000, wave, -wave)
    channels = np.stack([wave, other], axis=1)
    mix = Downmix(rate)
    pieces = [mix(piece) for piece in np.split(channels, sorted(cuts))]
    pieces.append(mix(channels[:0], last=True))
    np.testing.assert_array_equal(np.concatenate(pieces), downmix(channels, rate))
