"""ESPnet's effects: the speed as stages 2 and 3 change it."""

import numpy as np
import pytest

from espnet_smoe.compat import DataAugmentation
from espnet_smoe.data.speech.effects import Effects, check_effects
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


SLOWER = [1, "speed_perturb", {"factor": 0.9}]


@pytest.mark.parametrize(
    "effects", [None, [SLOWER], [SLOWER, [0.5, [SLOWER, [1, "reverse", {}]]]]]
)
def test_effects_that_work_are_taken(effects):
    check_effects({"data_aug_effects": effects}, RATE, "conf")


@pytest.mark.parametrize(
    ("effect", "message"),
    [
        ([1, "speed_pertub", {}], "no effect 'speed_pertub', did you mean 'speed_pe"),
        ([1, "speed_perturb", {"factr": 1.1}], "speed_perturb does not work with"),
        ([1, "speed_perturb", {"factor": 0}], "speed_perturb does not work with"),
        ([1, "lowpass", {"cutoff": 100}], "unexpected keyword argument 'cutoff'"),
        (["reverse", {}], "is no effect such as"),
        ([0, "reverse", {}], "is no effect such as"),
        ([0.5, [SLOWER]], "is no effect such as"),
        ([0.5, [SLOWER, [1, "revers", {}]]], "no effect 'revers'"),
    ],
)
def test_an_effect_that_does_not_work_is_told_before_a_training(effect, message):
    with pytest.raises(ValueError, match=r"conf\.data_aug_effects: ") as caught:
        check_effects({"data_aug_effects": [effect]}, RATE, "conf")
    assert message in str(caught.value)


def test_effects_need_the_sampling_rate():
    with pytest.raises(ValueError, match="conf: .* add 'fs: 16000'"):
        check_effects({"data_aug_effects": [SLOWER]}, 0, "conf")


@pytest.mark.parametrize("number", [[1, 2], [1], [0, 0], [2, 1]])
def test_the_number_of_effects_fits_them(number):
    options = {"data_aug_effects": [SLOWER], "data_aug_num": number}
    with pytest.raises(ValueError, match="conf.data_aug_num: .* of 1 effects"):
        check_effects(options, RATE, "conf")
