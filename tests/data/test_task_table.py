"""The task table: what it may hold, where it comes from, who may ask for it."""

import json

import pytest

from espnet_smoe.data.task_table import (
    METRICS,
    as_plain,
    find_targets,
    load_task_table,
    main,
    table_of_decoding,
    task_table,
)
from espnet_smoe.report.scoring import metrics

JA = "model_conf:\n  tasks:\n    ja: {target: text_ja, prompt: [<translate>, <ja>]}\n"


def test_the_default_is_recognition_and_translation():
    table = task_table()
    assert {n: (r.target, r.metrics, r.language) for n, r in table.items()} == {
        "asr": ("text", ("wer", "cer", "cer_no_space"), "ko"),
        "st": ("text_st", ("bleu", "chrf"), "en"),
    }
    assert [row.title for row in table.values()] == ["transcript", "translation"]


@pytest.mark.parametrize(
    ("prompt", "more", "language"),
    [
        (["<ja>", "<transcribe>"], {}, "ja"),
        (["<transcribe>", "<ja>"], {}, "ja"),
        (["<|ja|>", "<|transcribe|>"], {"spoken": "ja"}, "ja"),
        (["<en>", "<translate>", "<ko>"], {"spoken": "ko"}, "en"),
        (["<ko>", "<translate>", "<en>"], {"spoken": "ko"}, "en"),
        (["<transcribe>"], {}, ""),
    ],
)
def test_the_language_is_that_of_the_prompt_in_whatever_order(prompt, more, language):
    (row,) = task_table({"x": {"target": "text", "prompt": prompt, **more}}).values()
    assert row.language == language
    assert ("wer" in row.metrics) == (row.is_transcript and language != "ja")


def test_the_prompt_tells_metrics_and_language_unless_they_are_given():
    said = {"target": "text_ja", "prompt": ["<transcribe>", "<ja>"]}
    (row,) = task_table({"ja": said}).values()
    assert (row.metrics, row.language) == (("cer", "cer_no_space"), "ja")
    said |= {"metrics": ["chrf"], "language": "de"}
    (row,) = task_table({"ja": said}).values()
    assert (row.metrics, row.language) == (("chrf",), "de")


def test_names_alone_are_a_table():
    table = task_table(["asr", "st", "ja"])
    assert table == load_task_table("asr st ja") == load_task_table("asr,st,ja")
    assert table["ja"].prompt == ("<translate>", "<ja>")
    assert table["st"] == task_table()["st"]


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        ({"ja": {"targt": "text_ja"}}, "tasks.ja.*targt.*did you mean 'target'"),
        ({"ja": {"prompt": ["<ja>"]}}, "tasks.ja: needs a target"),
        ({"ja": {"target": "text_ja", "metrics": ["blue"]}}, "metrics.*'bleu'"),
        ({"ja": {"target": "../text"}}, "'../text' is no name of a file"),
        ({"../ja": {"target": "text_ja"}}, "'../ja' cannot be part"),
        (["asr", "file"], "a task cannot be called 'file'"),
        (
            {"ja": {"target": "text", "prompt": ["<ja>"], "spoken": "ko"}},
            "tasks.ja.spoken: no token of the prompt <ja> names 'ko'",
        ),
    ],
)
def test_what_is_wrong_with_a_table_is_told(tasks, message):
    with pytest.raises(ValueError, match=message):
        task_table(tasks)


def test_metrics_are_those_that_scoring_has():
    assert set(METRICS) == set(metrics.METRICS)


def test_a_training_yaml_and_an_experiment_say_the_same(tmp_path):
    (tmp_path / "config.yaml").write_text(JA)
    of_file = load_task_table(tmp_path / "config.yaml")
    assert of_file == load_task_table(tmp_path)
    assert list(of_file) == ["ja"]
    with pytest.raises(ValueError, match="conf/none.yaml"):
        load_task_table("conf/none.yaml")


def test_a_decoding_says_what_it_holds(tmp_path):
    folder = tmp_path / "exp/decode_default/test"
    folder.mkdir(parents=True)
    assert list(table_of_decoding(folder)) == ["words", "units", "asr", "st"]
    (tmp_path / "exp/config.yaml").write_text(JA)
    assert list(table_of_decoding(folder)) == ["words", "units", "ja"]
    written = {"task_table": as_plain(task_table(["de"]))}
    (folder / "decode.json").write_text(json.dumps(written))
    assert list(table_of_decoding(folder)) == ["words", "units", "de"]
    (folder / "decode.json").write_text("[]")
    with pytest.raises(ValueError, match="decode.json is damaged.*decode again"):
        table_of_decoding(folder)


def test_texts_of_a_data_directory_are_found_by_name(tmp_path):
    for name in ("text", "text_st", "text_ja", "text_st~", "text.bak", "wav.scp"):
        (tmp_path / name).touch()
    assert find_targets(tmp_path) == ["text", "text_ja", "text_st"]


def test_shell_scripts_read_files_and_tokens(tmp_path, capsys):
    (tmp_path / "train.yaml").write_text(JA)
    main([str(tmp_path / "train.yaml"), "--show", "targets"])
    main([str(tmp_path / "train.yaml"), "--show", "tokens"])
    main(["asr st ja", "--show", "targets"])
    main(["--show", "names"])
    assert capsys.readouterr().out.splitlines() == [
        "text text_ja",
        "<translate> <ja>",
        "text text_st text_ja",
        "asr st",
    ]


@pytest.mark.parametrize("spoken", ["<es>", "<|es|>"])
def test_a_prompt_may_name_the_spoken_language(tmp_path, capsys, spoken):
    row = {"target": "text", "prompt": ["<transcribe>", spoken], "spoken": "es"}
    assert task_table({"asr": row})["asr"].spoken_at == 1
    assert task_table()["asr"].spoken_at is None
    text = json.dumps({"model_conf": {"tasks": {"asr": row, "en": {**row}}}})
    (tmp_path / "train.yaml").write_text(text)
    main([str(tmp_path / "train.yaml"), "--show", "spoken"])
    main(["--show", "spoken"])
    assert capsys.readouterr().out == "es\n\n"
