import json
import subprocess
from importlib.metadata import version

import pytest

from espnet_smoe.report.scoring import command as score
from espnet_smoe.report.tables import results


@pytest.fixture
def experiment(recipe):
    path = recipe.experiment("base", error=0.2)
    score.main(["--data", str(recipe.data), "--hyp", str(recipe.decode("base"))])
    return path


def write(experiment, out, command="./run.sh --ngpu 1"):
    results.main(["--exp", str(experiment), "--out", str(out), "--command", command])
    return out.read_text()


def test_new_file_holds_environment_command_and_scores(experiment, tmp_path):
    text = write(experiment, tmp_path / "RESULTS.md")
    assert text.startswith("# Results\n")
    assert "```sh\n./run.sh --ngpu 1\n```" in text
    for fact in ("- date: ", "- python: ", "- torch: ", "- espnet: ", "- git: "):
        assert fact in text
    assert "\n### base\n\nParameters: 3.2M in all, 2.4M active" in text
    assert "Training time: 2 min 04 s" in text
    assert "**decode_beam5/test**, RTF 0.125" in text
    table = [line for line in text.splitlines() if line.startswith("| ")]
    assert len({line.count("|") for line in table}) == 1
    assert [line.split(" | ")[0] for line in table] == [
        *("| condition", "| all", "| nb", "| g711_nb", "| wb", "| amr_wb"),
        *("| mean of NB", "| mean of WB"),
    ]


def test_what_is_written_is_printed_too(experiment, tmp_path, capsys):
    out = tmp_path / "exp/RESULTS.md"
    text = write(experiment, out)
    shown = capsys.readouterr().out
    assert "**decode_beam5/test**" in shown and shown.endswith(f"Written to {out}\n")
    assert all(line in text for line in shown.splitlines()[:-1])


def test_text_around_the_block_is_kept_and_the_block_replaced(experiment, tmp_path):
    out = tmp_path / "RESULTS.md"
    out.write_text(
        f"# My title\n\nbefore\n{results.BEGIN}\nold table\n{results.END}\nafter\n"
    )
    text = write(experiment, out)
    assert text.startswith("# My title\n\nbefore\n")
    assert text.endswith("\nafter\n")
    assert "old table" not in text and "asr WER %" in text
    again = write(experiment, out, "./other.sh")
    assert "./run.sh" not in again
    assert again.count(results.BEGIN) == again.count(results.END) == 1


def test_file_without_marks_gets_the_block_at_its_end():
    text = results.replace_block("# Hand-written\n", "block", "RESULTS.md")
    assert text == f"# Hand-written\n\n{results.BEGIN}\nblock\n{results.END}\n"


@pytest.mark.parametrize(
    "text",
    [
        results.BEGIN,
        results.END,
        f"{results.END} {results.BEGIN}",
        f"{results.BEGIN} {results.END} {results.BEGIN} {results.END}",
    ],
)
def test_broken_marks_are_refused_instead_of_losing_text(text):
    with pytest.raises(ValueError, match="RESULTS.md: needs"):
        results.replace_block(text, "block", "RESULTS.md")


def test_experiment_without_scores_names_the_stages(recipe):
    experiment = recipe.experiment("base", error=0.2)
    with pytest.raises(ValueError, match=r"scores\.json does not exist: run stages 12"):
        write(experiment, recipe.root / "RESULTS.md")
    with pytest.raises(ValueError, match="exp/gone does not exist: run stage 11"):
        write(recipe.root / "exp" / "gone", recipe.root / "RESULTS.md")


def test_git_hash_tells_changed_files_but_not_the_results(tmp_path):
    def git(*arguments):
        identity = ("-c", "user.name=a", "-c", "user.email=a@b")
        command = ["git", "-C", str(tmp_path), *identity, *arguments]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    assert results.git_hash(tmp_path) == "not a git checkout"
    recipe_dir = tmp_path / "egs2" / "mini"
    recipe_dir.mkdir(parents=True)
    (recipe_dir / "RESULTS.md").write_text("1")
    (tmp_path / "code.py").write_text("1")
    git("init")
    git("add", ".")
    git("commit", "-m", "first")
    commit = git("rev-parse", "HEAD")
    (recipe_dir / "RESULTS.md").write_text("2")
    assert results.git_hash(recipe_dir) == commit
    (tmp_path / "code.py").write_text("2")
    assert results.git_hash(recipe_dir) == f"{commit}-dirty"


def test_a_condition_that_is_the_whole_set_has_no_line_of_its_own():
    score = {"value": 1.0, "low": 0.5, "high": 1.5, "n": 4}
    other = {**score, "value": 2.0}
    scores = {"asr": {"all": {"wer": score}, "wb": {"wer": score}}}
    assert len(results.scores_table(scores).splitlines()) == 3
    scores["asr"]["wb"] = {"wer": other}
    assert len(results.scores_table(scores).splitlines()) == 4


def entry(value, n=4, **more):
    return {"value": value, "low": value - 1, "high": value + 1, "n": n, **more}


def test_the_table_has_the_kinds_of_errors_of_each_first_rate_and_gaps_as_dashes():
    kinds = {"substitute": 5.0, "delete": 3.0, "insert": 2.0}
    scores = {
        "asr": {
            "all": {"wer": entry(10.0, **kinds), "cer": entry(5.0, **kinds)},
            "nb": {"wer": entry(12.0), "cer": entry(6.0)},
            "wb": {"wer": entry(10.0, **kinds), "cer": entry(5.0, **kinds)},
        },
        "st": {
            "all": {"bleu": entry(30.0, 3)},
            "nb": {"bleu": entry(0.0, 2) | dict.fromkeys(("value", "low", "high"))},
        },
    }
    ten, five = "10.00 [9.00–11.00] | 5.0 | 3.0 | 2.0", "5.00 [4.00–6.00]"
    assert results.scores_table(scores).splitlines() == [
        "| condition | n | asr WER % | Sub | Del | Ins | asr CER % | st BLEU |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
        f"| all | 4 / 3 | {ten} | {five} | 30.00 [29.00–31.00] |",
        "| nb | 4 / 2 | 12.00 [11.00–13.00] | - | - | - | 6.00 [5.00–7.00] | - |",
        f"| wb | 4 | {ten} | {five} | - |",  # translations have no such condition
    ]


def test_below_a_table_stands_what_was_resampled_and_where_errors_are(
    experiment, tmp_path
):
    text = write(experiment, tmp_path / "RESULTS.md")
    assert (
        "Resampled: 60 utterances (speakers are not known: no utt2spk; another voice "
        "may differ by more). The errors one by one: "
        + ", ".join(
            f"`decode_beam5/test/score_{metric}/result.txt`"
            for metric in ("cer", "cer_no_space", "wer")
        )
        + "."
    ) in text
    for path in experiment.glob("decode_beam5/test/score_*/result.txt"):
        path.unlink()
    scores = experiment / "decode_beam5/test/scores.json"
    content = json.loads(scores.read_text())
    del content["asr"]["all"]["wer"]["resampled"]  # as earlier versions wrote it
    scores.write_text(json.dumps(content))
    text = write(experiment, tmp_path / "RESULTS.md")
    assert "\nResampled: utterances.\n" in text and "one by one" not in text


def test_a_comparison_stands_a_heading_lower_before_the_scores(experiment, tmp_path):
    page = tmp_path / "compare.md"
    page.write_text("# Comparison\n\ntable\n")
    facts = {"date": "today", "git": "abc"}
    block = results.results_block([experiment], "./run.sh", facts, [page])
    assert block.startswith(
        "## Environment\n\n- date: `today`\n- git: `abc`\n\n## Command\n\n"
        "```sh\n./run.sh\n```\n\n## Comparison\n\ntable\n\n## Scores\n\nIn brackets"
    )
    alone = results.results_block([], "./run.sh", facts, [page])
    assert alone.endswith("## Comparison\n\ntable")
    with pytest.raises(ValueError, match="none.md does not exist: espnet-smoe compare"):
        results.results_block([], "./run.sh", facts, [tmp_path / "none.md"])


def test_what_the_numbers_were_made_with_is_what_is_installed(tmp_path):
    facts = results.environment(tmp_path)
    assert list(facts) == [
        *("date", "python", "torch", "espnet", "espnet_smoe", "git", "machine")
    ]
    assert facts["torch"] == version("torch") and facts["git"] == "not a git checkout"
    assert results._version("no-such-package") == "not installed"


def test_without_git_there_is_no_commit(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert results.git_hash(tmp_path) == "not a git checkout"


def test_the_block_goes_below_what_is_there_or_stands_alone():
    marked = f"{results.BEGIN}\nblock\n{results.END}\n"
    assert results.replace_block("", "block", "p") == marked
    assert results.replace_block("# A\n\n\n", "block", "p") == f"# A\n\n{marked}"
    twice = f"{results.BEGIN} a {results.END} b {results.END}"
    with pytest.raises(ValueError, match="p: needs"):
        results.replace_block(twice, "block", "p")


def test_nothing_to_write_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit):
        results.main(["--out", str(tmp_path / "R.md"), "--command", "x"])
    assert "give --exp or --comparison" in capsys.readouterr().err
    assert not (tmp_path / "R.md").exists()
