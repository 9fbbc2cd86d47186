import unicodedata
from pathlib import Path

import pytest

from espnet_smoe.report.scoring.pairing import (
    in_one_form,
    look_up,
    name_some,
    pair,
    read_text,
)

REF, HYP = Path("data/test/text"), Path("decode/hyp.asr")


def test_pairs_follow_the_order_of_the_references():
    utts, refs, hyps = pair({"b": "1", "a": "2"}, {"a": "x", "b": ""}, REF, HYP)
    assert (utts, refs, hyps) == (["b", "a"], ["1", "2"], ["", "x"])


def test_utterances_without_translation_are_left_out():
    utts, _, _ = pair({"a": "<na>", "b": "x", "c": "<na>"}, {"a": "y", "b": "x"}, *"rh")
    assert utts == ["b"]


def test_missing_hypothesis_names_utterance_and_file():
    with pytest.raises(ValueError, match=r"hyp\.asr: no hypothesis for .* b of .*text"):
        pair({"a": "1", "b": "2"}, {"a": "1"}, REF, HYP)


def test_hypothesis_without_reference_names_utterance_and_file():
    with pytest.raises(ValueError, match=r"text: no reference for .* b of .*hyp\.asr"):
        pair({"a": "1"}, {"a": "1", "b": "2"}, REF, HYP)


def test_empty_references_stay():
    utts, refs, hyps = pair({"a": "", "b": "x"}, {"a": "y", "b": "x"}, REF, HYP)
    assert (utts, refs, hyps) == (["a", "b"], ["", "x"], ["y", "x"])


def test_texts_that_look_alike_become_alike_and_are_counted():
    decomposed = unicodedata.normalize("NFD", "오늘 날씨")
    references = {"a": decomposed, "b": "１２０원", "c": "nice"}
    hypotheses = {"a": "오늘\u200b 날씨", "b": "120원", "c": "nice"}
    refs, hyps, notes = in_one_form(references, hypotheses)
    assert refs == hyps == {"a": "오늘 날씨", "b": "120원", "c": "nice"}
    (note,) = notes
    assert "2 of 3 references and 1 of 3 hypotheses" in note
    assert "decomposed characters" in note and "invisible characters" in note
    assert in_one_form(refs, hyps) == (refs, hyps, [])
    assert in_one_form({"a": "x"}, {"a": "y"}) == ({"a": "x"}, {"a": "y"}, [])


def test_a_reference_in_which_nothing_is_seen_is_named():
    refs, _, notes = in_one_form({"a": "\u200b\ufeff", "b": ""}, {"a": "", "b": ""})
    assert refs == {"a": "", "b": ""}
    assert "utterance(s) a, only U+200B, U+FEFF: scored as empty" in notes[1]


def test_missing_file_tells_the_cure(tmp_path):
    with pytest.raises(ValueError, match="hyp.asr does not exist: run stage 12"):
        read_text(tmp_path / "hyp.asr", "run stage 12")


def test_doubled_utterance_is_refused_with_its_line(tmp_path):
    (tmp_path / "text").write_text("a 1\nb 2\na 3\n")
    with pytest.raises(ValueError, match=r"text:3: utterance a"):
        read_text(tmp_path / "text", "")


def test_values_may_be_empty_and_hold_unusual_spaces(tmp_path):
    (tmp_path / "hyp").write_text("a\nb x\u2028y  z \n", encoding="utf-8")
    assert read_text(tmp_path / "hyp", "") == {"a": "", "b": "x y z"}


def test_utterance_without_condition_is_named():
    with pytest.raises(ValueError, match="utt2condition: no value for .* b"):
        look_up({"a": "nb"}, ["a", "b"], Path("utt2condition"))


def test_of_several_faults_the_first_is_told_and_the_rest_counted(tmp_path):
    path = tmp_path / "text"
    path.write_text("a 1\na 2\na 3\n")
    with pytest.raises(ValueError, match=r"text:2: .* \(and 1 more\)$"):
        read_text(path, "")
    path.write_text("a 1\na 2\n")
    with pytest.raises(ValueError, match=r"text:2: [^()]*$"):
        read_text(path, "")


def test_five_utterances_are_named_and_more_are_counted():
    names = list("abcdefg")
    assert name_some(names[:5]) == "utterance(s) a, b, c, d, e"
    assert name_some(names) == "utterance(s) a, b, c, d, e and 2 more"
