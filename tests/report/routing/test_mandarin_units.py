"""Modelling units fall into classes of initial, final and tone."""

import pytest

from espnet_smoe.report.routing.mandarin_units import (
    ENGLISH,
    FACTORS,
    classes_of,
    factors_of,
)


@pytest.mark.parametrize(
    ("unit", "initial", "final", "tone"),
    [
        ("zhuang1", "z zh j", "-ng", "1"),
        ("shi4", "f h s sh x", "i u ü", "4"),  # sh, not s
        ("si4", "f h s sh x", "i u ü", "4"),
        ("nv3", "l m n r", "i u ü", "3"),
        ("nü3", "l m n r", "i u ü", "3"),
        ("lve4", "l m n r", "e o", "4"),
        ("yuan2", "none", "-n", "2"),
        ("wo3", "none", "e o", "3"),
        ("er2", "none", "-er", "2"),
        ("gui4", "b d g", "-ai -ei", "4"),
        ("qiu1", "c ch q", "-ao -ou", "1"),
        ("ta1", "p t k", "a", "1"),
        ("zi5", "z zh j", "i u ü", "neutral"),
        ("ng4", "none", "-ng", "4"),  # a syllable without a vowel
        ("m2", "none", "-n", "2"),
    ],
)
def test_a_syllable_has_three_classes(unit, initial, final, tone):
    assert classes_of(unit) == {"initial": initial, "final": final, "tone": tone}


def test_english_phones_are_a_class_of_their_own():
    assert classes_of("HH") == classes_of("L") == dict.fromkeys(FACTORS, ENGLISH)


@pytest.mark.parametrize("unit", ["<unk>", "ni", "ni6", "hello", "xq1", ""])
def test_anything_else_has_no_class(unit):
    assert classes_of(unit) == {}


def test_every_syllable_of_pypinyin_has_a_known_class():
    pytest.importorskip("pypinyin")
    from espnet_smoe.data.text.mandarin import all_syllables

    for syllable in all_syllables():
        classes = classes_of(syllable)
        assert set(classes) == set(FACTORS), syllable
        assert all(classes[factor] in FACTORS[factor] for factor in FACTORS)


def test_syllables_are_told_by_their_parts_and_other_units_by_themselves():
    assert factors_of([["ni3", "HH", "OW"], ["<unk>", "shi4"]]).names == FACTORS
    # capitals, no phones; a unit in angle brackets is special, the brackets alone not
    letters = factors_of([["A", "B"], ["B", "<space>", "<unk>", "<s>"]])
    assert letters.names == {"unit": ("B", "A", "<space>")}
    assert letters.classes_of("A") == {"unit": "A"}
    assert letters.classes_of("Z") == letters.classes_of("<unk>") == {}
    # two that look like syllables, and are less than half
    pieces = factors_of([["▁the", "me3", "▁cat", "be4", "▁a"]])
    assert set(pieces.names) == {"unit"}
    assert factors_of([["▁the", "me3", "▁cat", "be4", "ba1"]]).names == FACTORS
