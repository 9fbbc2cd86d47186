"""The end of a recipe: one table, examples, places, commands."""

import shlex
from pathlib import Path

import pytest

from espnet_smoe.report import overview, score


def write_waves(recipe):
    lines = [f"{utt} audio/{utt}.wav\n" for utt in recipe.text]
    (recipe.data / "wav.scp").write_text("".join(lines))


@pytest.fixture
def scored(recipe, monkeypatch):
    """A recipe whose one experiment has been decoded and scored."""
    exp = recipe.experiment("moe", 0.2)
    write_waves(recipe)
    hyp = recipe.decode("moe")
    score.main(["--data", str(recipe.data), "--hyp", str(hyp)])
    monkeypatch.chdir(recipe.root)
    return exp


def shown(capsys, exp, *options):
    capsys.readouterr()
    words = ["--exp", f"exp/{exp.name}", "--decode", "beam5", "--data", "data"]
    overview.main([*words, "--sets", "test", *options])
    return capsys.readouterr().out


def table_of(text):
    lines = text.splitlines()
    begin = next(i for i, line in enumerate(lines) if "WER %" in line)
    return lines[begin : lines.index("", begin)]


def test_the_table_has_every_condition_and_fits_80_columns(capsys, scored):
    table = table_of(shown(capsys, scored))
    assert all(len(line) <= 80 for line in table)
    assert "BLEU" in table[0]
    rows = [line.split()[0] for line in table[1:-1]]
    assert rows == ["test", "nb", "g711_nb", "wb", "amr_wb", "mean", "mean"]


def test_the_table_says_what_the_scores_say(capsys, scored, recipe):
    row = table_of(shown(capsys, scored))[1].split()
    found = score.score_decode(recipe.data, recipe.decode("moe"))
    wer = found["asr"]["all"]["wer"]
    assert row[1] == "60"
    assert row[2] == f"{wer['value']:.1f}"


def test_five_examples_have_audio_hypotheses_and_truth(capsys, scored, recipe):
    text = shown(capsys, scored)
    paths = [line for line in text.splitlines() if line.endswith(".wav")]
    paths = [path for path in paths if not path.startswith(" ")]
    assert len(paths) == len(set(paths)) == 5
    assert all(path.startswith(f"{recipe.root}/audio/") for path in paths)
    for path in paths:
        utt = Path(path).stem
        block = text[text.index(path) :].splitlines()[1:5]
        assert [line.split()[0] for line in block] == [
            *("transcript", "true", "translation", "true")
        ]
        assert block[1].split()[1:] == recipe.text[utt]
        assert block[3].split()[1:] == recipe.text_st[utt]


def test_a_small_test_set_is_shown_whole(capsys, scored, recipe):
    (recipe.data / "wav.scp").write_text("utt000 a.wav\nutt001 b.wav\n")
    assert "2 sentences of test" in shown(capsys, scored)


def test_commands_name_files_that_are_there_by_absolute_paths(capsys, scored, recipe):
    packed = scored / "moe.zip"
    packed.touch()
    text = shown(capsys, scored, "--zip", "exp/moe/moe.zip", "--rival", "./run.sh -x")
    lines = text[text.index("Try next:") :].splitlines()
    transcribe = shlex.split(next(line for line in lines if "smoe transcribe" in line))
    assert transcribe[:4] == ["espnet-smoe", "transcribe", "--model", str(packed)]
    assert transcribe[4].startswith(f"{recipe.root}/audio/")
    assert f"  cd {recipe.root}" in lines
    assert lines[-2] == "  ./run.sh -x"
    assert any("espnet-smoe experts" in line for line in lines)


def test_a_dense_system_has_no_experts_to_look_into(capsys, scored):
    (scored / "params.json").write_text('{"total": 5, "active": 5}')
    assert "experts" not in shown(capsys, scored)


def test_what_is_missing_is_named_with_the_stage(capsys, scored, recipe):
    (recipe.decode("moe") / "scores.json").unlink()
    with pytest.raises(SystemExit, match="stage 13"):
        shown(capsys, scored)
