from pathlib import Path

import pytest

from espnet_smoe.report.pairing import look_up, pair, read_text

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


def test_empty_references_are_named_up_to_five():
    references = {f"u{i}": "" for i in range(8)}
    with pytest.raises(ValueError, match=r"text: empty .* u0, u1, .*u4 and 3 more"):
        pair(references, references, REF, HYP)


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
