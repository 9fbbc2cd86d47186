"""Texts that are too long for their audio are found, others not."""

import pytest

from espnet_smoe.data.speech.speech_rate import FASTEST, fastest, syllables


@pytest.mark.parametrize(
    "text, count",
    [
        ("안녕 하세요", 5),
        ("你好", 2),
        ("hello", 2),
        ("2024년", 5),
        ("ひらがな", 4),
        ("", 0),
        ("... !?", 0),
        ("привет", 2.4),
    ],
)
def test_syllables_are_counted_in_any_script(text, count):
    assert syllables(text) == pytest.approx(count)


def test_half_a_recording_with_its_whole_text_stands_out():
    rates = [6.0] * 30
    assert fastest(rates) == 12
    assert 12 / 0.99 > fastest([*rates[1:], 12 / 0.99])


def test_a_few_utterances_are_held_to_what_can_be_said_at_all():
    assert fastest([]) == fastest([2.0]) == FASTEST == 15
