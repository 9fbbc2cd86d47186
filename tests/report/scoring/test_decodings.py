"""Which hypotheses a folder holds: of our recipes, of ESPnet's scripts, or none."""

import json

import pytest

from espnet_smoe.report.scoring.decodings import is_decoded, read_decoded
from tests.report.conftest import write_table


def trn(path, *lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def test_our_hypotheses_come_first_and_tasks_in_their_order(tmp_path):
    write_table(tmp_path / "text", {"a": "theirs"})
    write_table(tmp_path / "hyp.st", {"a": "x"})
    write_table(tmp_path / "hyp.asr", {"a": "y"})
    found = read_decoded(tmp_path, None)
    assert list(found) == ["asr", "st"]
    assert found["st"].hypotheses == {"a": "x"}
    assert found["st"].path == tmp_path / "hyp.st"
    assert found["st"].references is found["st"].speakers is None


def test_the_table_of_the_decoding_says_what_scores_a_task(tmp_path):
    write_table(tmp_path / "hyp.ja", {"a": "x"})
    table = {"ja": {"target": "text_x", "metrics": ["cer"]}}
    (tmp_path / "decode.json").write_text(json.dumps({"task_table": table}))
    row = read_decoded(tmp_path, None)["ja"].row
    assert (row.target, row.metrics) == ("text_x", ("cer",))


def test_a_task_that_no_table_has_is_a_translation(tmp_path):
    write_table(tmp_path / "hyp.asr", {"a": "y"})
    write_table(tmp_path / "hyp.fr", {"a": "x"})
    write_table(tmp_path / "hyp.fr.part", {"a": "x"})
    found = read_decoded(tmp_path, None)
    assert list(found) == ["asr", "fr"]
    assert (found["fr"].row.target, found["fr"].row.metrics) == (
        *("text_fr", ("bleu", "chrf")),
    )


def test_a_task_that_was_decoded_and_is_gone_is_missed(tmp_path):
    write_table(tmp_path / "hyp.asr", {"a": "y"})
    (tmp_path / "decode.json").write_text('{"tasks": ["st", "asr", "dance"]}')
    with pytest.raises(ValueError, match="hyp.st does not exist"):
        read_decoded(tmp_path, None)
    write_table(tmp_path / "hyp.st", {"a": "x"})
    with pytest.raises(ValueError, match="hyp.dance does not exist"):
        read_decoded(tmp_path, None)


def test_a_folder_is_decoded_if_any_kind_of_hypotheses_is_there(tmp_path):
    places = ("hyp.units", "text", "logdir/output.3/1best_recog/text")
    for number, place in enumerate((*places, "1best_recog/text")):
        folder = tmp_path / str(number)
        folder.mkdir()
        assert not is_decoded(folder)
        write_table(folder / place, {"a": "x"})
        assert is_decoded(folder)
    folder = tmp_path / "trn"
    trn(folder / "hyp.trn", "x (a)")
    assert not is_decoded(folder)  # without references
    trn(folder / "ref.trn", "x (a)")
    assert is_decoded(folder)
    with pytest.raises(ValueError, match="holds none of hyp.<task>, text, "):
        read_decoded(tmp_path, None)


def test_texts_are_taken_where_there_are_references_else_trn_files(tmp_path):
    write_table(tmp_path / "dec/text", {"s1-u1": "from text"})
    for name in ("hyp", "ref"):
        trn(
            tmp_path / f"dec/score_wer/{name}.trn", "", f"{name}  of   trn\t(s1-s1-u1) "
        )
    alone = read_decoded(tmp_path / "dec", None)
    assert alone["asr"].hypotheses == {"s1-s1-u1": "hyp of trn"}
    assert alone["asr"].references == {"s1-s1-u1": "ref of trn"}
    assert alone["asr"].speakers == {"s1-s1-u1": "s1"}
    assert alone["asr"].path == tmp_path / "dec/score_wer/hyp.trn"
    (tmp_path / "data").mkdir()
    assert read_decoded(tmp_path / "dec", tmp_path / "data") == alone
    write_table(tmp_path / "data/text", {"s1-u1": "true"})
    found = read_decoded(tmp_path / "dec", tmp_path / "data")
    assert found["asr"].hypotheses == {"s1-u1": "from text"}
    assert found["asr"].references is None


def test_speakers_are_known_if_all_ids_tell_them(tmp_path):
    for name in ("hyp", "ref"):
        trn(tmp_path / f"{name}.trn", "x (s1-s1u)", "y (other)")
    assert read_decoded(tmp_path, None)["asr"].speakers is None


@pytest.mark.parametrize(
    ("line", "fault"),
    [("no id", r"hyp.trn:3: no \(id\) at"), ("z (a)", "hyp.trn:3: its id is used twi")],
)
def test_a_faulty_line_is_named(tmp_path, line, fault):
    trn(tmp_path / "hyp.trn", "x (a)", "", line)
    trn(tmp_path / "ref.trn", "x (a)")
    with pytest.raises(ValueError, match=fault):
        read_decoded(tmp_path, None)


def test_a_line_ends_where_sclite_ends_it(tmp_path):
    trn(tmp_path / "hyp.trn", "x\u2028y (a)\r", "z\x85 (b)")
    trn(tmp_path / "ref.trn", "x (a)", "z (b)")
    assert read_decoded(tmp_path, None)["asr"].hypotheses == {"a": "x y", "b": "z"}


def test_a_file_in_another_encoding_says_so(tmp_path):
    trn(tmp_path / "ref.trn", "x (a)")
    (tmp_path / "hyp.trn").write_bytes("날씨 (a)".encode("cp949"))
    with pytest.raises(ValueError, match="hyp.trn is not UTF-8: convert it with iconv"):
        read_decoded(tmp_path, None)


def test_a_text_of_an_earlier_decoding_takes_no_place(tmp_path):
    """More jobs once, fewer now: their files are still there."""
    for job, texts in enumerate(({"a": "x"}, {"b": "y"}, {"b": "old"}), 1):
        write_table(tmp_path / f"logdir/output.{job}/1best_recog/text", texts)
    with pytest.raises(ValueError, match=r"output.3/.* b is in the file of another"):
        read_decoded(tmp_path, tmp_path)
