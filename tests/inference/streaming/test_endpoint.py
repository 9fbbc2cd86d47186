"""An utterance ends by its blanks or its length."""

import numpy as np
import pytest

from espnet_smoe.inference.streaming.endpoint import Ending, Endpoint
from espnet_smoe.inference.streaming.options import StreamOptions

FRAME = 0.04


def after(spoken, **options):
    """The endpoint behind frames that are spoken (1) or blank (0)."""
    endpoint = Endpoint(StreamOptions(**options), FRAME)
    for start in range(0, len(spoken), 4):
        labels = np.array(spoken[start : start + 4])
        endpoint.advance(np.log(np.where(np.eye(2)[labels], 0.9, 0.1)))
    return endpoint


@pytest.mark.parametrize("blanks", [19, 20])
def test_blanks_behind_a_text_end_it(blanks):
    endpoint = after([0, 1, 0, 1] + [0] * blanks, silence_seconds=20 * FRAME)
    wanted = Ending.FINAL if blanks == 20 else Ending.NOT_YET
    assert endpoint.ending(has_text=True) is wanted
    assert endpoint.first_nonblank == 1


def test_blanks_before_a_text_do_not_end_it():
    endpoint = after([0] * 30 + [1], silence_seconds=20 * FRAME)
    assert endpoint.ending(has_text=True) is Ending.NOT_YET


@pytest.mark.parametrize("frames", [124, 125])
def test_what_says_nothing_is_forgotten_in_time(frames):
    endpoint = after([0] * frames, start_seconds=5.0)
    wanted = Ending.RESTART if frames == 125 else Ending.NOT_YET
    assert endpoint.ending(has_text=False) is wanted


@pytest.mark.parametrize("has_text", [True, False])
def test_nothing_is_longer_than_the_longest(has_text):
    options = {"longest_seconds": 2.0, "silence_seconds": 9.0, "start_seconds": 9.0}
    assert after([1] * 49, **options).ending(has_text) is Ending.NOT_YET
    wanted = Ending.FINAL if has_text else Ending.RESTART
    assert after([1] * 50, **options).ending(has_text) is wanted


@pytest.mark.parametrize(
    "option, value",
    [
        ("chunk_size", 0),
        ("left_chunks", -2),
        ("beam_size", 0),
        ("ctc_weight", -0.1),
        ("reverse_weight", 1.1),
        ("silence_seconds", 0.0),
        ("start_seconds", float("nan")),
    ],
)
def test_an_option_without_sense_is_named(option, value):
    with pytest.raises(ValueError, match=f"{option}: {value} is not a "):
        StreamOptions(**{option: value})
