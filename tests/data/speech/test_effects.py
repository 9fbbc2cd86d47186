"""ESPnet's effects: the speed as stages 2 and 3 change it."""

import numpy as np
import pytest

from espnet_smoe.compat import DataAugmentation
from espnet_smoe.data.speech.effects import Effects
from espnet_smoe.data.speech.resample import change_speed

RATE = 16000


@pytest.fixture
def tone() -> np.ndarray:
    time = np.arange(RATE) / RATE
    return np.sin(2 * np.pi * 440 * time).astype(np.float32)


@pytest.mark.parametrize("factor", [0.85, 1.2, 1.4])
def test_speed_is_espnets_and_that_of_stage_3(tone, factor):
    effects = [[1.0, "speed_perturb", {"factor": factor}]]
    ours = Effects(effects)(tone, RATE)
    np.testing.assert_array_equal(ours, change_speed(tone, factor))
    theirs = DataAugmentation(effects)(tone, RATE)
    assert abs(len(ours) - len(theirs)) <= 1
    inside = slice(400, len(ours) - 400)
    assert np.abs(ours[inside] - theirs[inside]).max() < 1e-2


def test_other_effects_are_espnets(tone):
    effects = [[1.0, "lowpass", {"cutoff_freq": 200}]]
    ours, theirs = (kind(effects)(tone, RATE) for kind in (Effects, DataAugmentation))
    np.testing.assert_array_equal(ours, theirs)
    assert np.abs(ours).max() < 0.5
