"""Texts that are too long for their audio are found, others not."""

import pytest

from espnet_smoe.data.speech.speech_rate import syllables, too_much_text


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
    texts = dict.fromkeys(map(str, range(30)), "다" * 12)
    seconds = dict.fromkeys(texts, 2.0)
    assert too_much_text(texts, seconds) == {}
    seconds["7"] = 0.99
    assert list(too_much_text(texts, seconds)) == ["7"]


def test_a_few_utterances_are_held_to_what_can_be_said_at_all():
    assert too_much_text({"a": "다" * 14}, {"a": 1.0}) == {}
    assert list(too_much_text({"a": "다" * 16}, {"a": 1.0})) == ["a"]
    assert too_much_text({"a": "다"}, {"a": 0.0}) == {}
