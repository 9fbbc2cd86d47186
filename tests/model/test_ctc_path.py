"""One label a frame, as CTC reads it."""

from espnet_smoe.model.ctc_path import collapse


def test_a_repeat_counts_once_and_a_blank_parts_two():
    assert collapse([2, 2, 0, 2, 1, 1, 0, 0], blank=0) == [2, 2, 1]
    assert collapse([2, 2, 0, 2, 1], blank=2) == [0, 1]
    assert collapse([], blank=0) == []
