"""Options: an unknown key names the nearest known one."""

import pytest

from espnet_smoe.config.options import GIVEN, options_of, reject_unknown


class Encoder:
    @options_of("encoder_conf")
    def __init__(self, input_size: int, num_blocks: int = 2):
        self.sizes = (input_size, num_blocks)


def test_known_options_pass():
    assert Encoder(4, num_blocks=3).sizes == (4, 3)
    assert Encoder(input_size=4).sizes == (4, 2)


def test_an_unknown_option_names_section_nearest_and_known():
    with pytest.raises(ValueError) as error:
        Encoder(4, num_block=3)
    assert str(error.value) == (
        "encoder_conf: unknown key 'num_block', did you mean 'num_blocks'? "
        "(known keys: num_blocks)"
    )


def test_of_very_many_known_options_the_nearest_is_enough():
    known = [f"option_{i}" for i in range(200)]
    with pytest.raises(ValueError) as error:
        reject_unknown(["option_7x"], known, "configuration")
    assert "did you mean 'option_7'?" in str(error.value)
    assert len(str(error.value)) < 100


def test_what_the_task_fills_in_is_not_offered():
    assert "input_size" in GIVEN["encoder_conf"]
    with pytest.raises(ValueError, match=r"known keys: num_blocks\)"):
        Encoder(4, size=3)


def test_every_unknown_key_is_named():
    with pytest.raises(ValueError, match="'a'.*'b'"):
        reject_unknown(["a", "b"], ["c"], "here")
