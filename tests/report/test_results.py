import subprocess

import pytest

from espnet_smoe.report import results, score


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
    assert "3.2M in all, 2.4M active" in text
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
    with pytest.raises(SystemExit, match=r"scores\.json does not exist: run stages 12"):
        write(experiment, recipe.root / "RESULTS.md")
    with pytest.raises(SystemExit, match="exp/gone does not exist: run stage 11"):
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
