"""run_all.sh: five systems, one preparation, fine-tuning from what was trained."""

import os
import subprocess
from pathlib import Path

import pytest

TEMPLATE = Path(__file__).parents[2] / "egs2" / "TEMPLATE" / "smoe1"
RECIPES = [
    TEMPLATE.parents[1] / f"{name}/smoe1" for name in ("mini_koen", "aihub_koen")
]
NOTE = 'echo {name} "$@" >>"{folder}/calls"'
RESULT = """
tag= out=
while [ $# -gt 0 ]; do
    [ "$1" != --asr_tag ] || tag=$2
    [ "$1" != --results ] || out=$2
    shift
done
if [ -n "$out" ]; then
    for set in test test_nbwb; do
        mkdir -p exp/$tag/decode_default/$set
        touch exp/$tag/decode_default/$set/scores.json
    done
    touch "$out"
fi
"""


@pytest.fixture
def recipe(tmp_path):
    """The script beside a run.sh and a python3 that only note their arguments."""
    folder = tmp_path / "egs2" / "corpus" / "smoe1"
    folder.mkdir(parents=True)
    for name in ("run_all.sh", "path.sh"):
        (folder / name).symlink_to(TEMPLATE / name)
    (folder / "conf").mkdir()
    (folder / "conf/decode.yaml").write_text("beam_size: 5\nctc_weight: 0.3  # CTC\n")
    for name, more in (("run.sh", RESULT), ("python3", "")):
        path = folder / name
        note = NOTE.format(name=name, folder=folder)
        path.write_text(f"#!/usr/bin/env bash\n{note}\n{more}")
        path.chmod(0o755)
    return folder


def run_all(folder, *options, check=True):
    env = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}
    command = ["./run_all.sh", *options]
    done = subprocess.run(
        command, cwd=folder, env=env, check=check, capture_output=True, text=True
    )
    calls = folder / "calls"
    return done, calls.read_text().splitlines() if calls.exists() else []


def value(call: str, option: str) -> str:
    words = call.split()
    return words[words.index(f"--{option}") + 1]


def test_every_system_is_trained_with_every_seed(recipe):
    _, calls = run_all(recipe, "--seeds", "1 2", "--nj", "3")
    prepare, prepare_nbwb, *rest = calls
    assert value(prepare, "stop_stage") == value(prepare_nbwb, "stop_stage") == "10"
    assert value(prepare_nbwb, "on_nbwb") == "true"
    trainings = [call for call in rest if call.startswith("run.sh")]
    systems = ["base", "decffnx2", "decsmoe", "base_nbwb", "encdecsmoe"]
    expected = [f"{system}_seed{seed}" for seed in (1, 2) for system in systems]
    tags = [value(call, "asr_tag") for call in trainings]
    assert sorted(tags) == sorted(expected)
    for call, tag in zip(trainings, tags):
        assert value(call, "nj") == "3" and value(call, "stage") == "11"
        assert value(call, "seed") == tag[-1]
        assert ("--on_nbwb true" in call) == (tag[:-6] in ("base_nbwb", "encdecsmoe"))


def test_fine_tuning_starts_from_the_same_seeds_trained_model(recipe):
    _, calls = run_all(recipe, "--seeds", "2", "--stage", "11")
    upcycle = next(c for c in calls if "upcycle exp/decsmoe_seed2" in c)
    assert value(upcycle, "config") == "conf/tuning/train_encdecsmoe.yaml"
    tuning = next(c for c in calls if "--asr_tag encdecsmoe_seed2" in c)
    assert value(tuning, "pretrained_model") == value(upcycle, "out")
    assert calls.index(upcycle) < calls.index(tuning)


def test_both_tables_hold_all_seeds_and_go_into_the_results(recipe):
    _, calls = run_all(recipe, "--seeds", "1 2")
    first, second, results, experts = calls[-4:]
    assert "compare exp/base_seed1 exp/base_seed2 exp/decffnx2_seed1" in first
    assert value(first, "test-set") == "test"
    assert "compare exp/base_nbwb_seed1 exp/base_nbwb_seed2 exp/encdecsmoe" in second
    assert value(second, "test-set") == "test_nbwb"
    tables = "exp/table1_test.md exp/table2_test_nbwb.md"
    assert f"--comparison {tables} --out RESULTS.md" in results
    assert value(results, "command") == "./run_all.sh"
    assert "experts exp/encdecsmoe_seed1 --data dump/raw/test_nbwb" in experts
    assert value(experts, "ctc-weight") == "0.3"


def test_what_is_done_is_not_done_again(recipe):
    run_all(recipe)
    (recipe / "calls").unlink()
    (recipe / "exp/decffnx2_seed1/RESULTS.md").unlink()
    _, calls = run_all(recipe, "--stage", "11")
    trained = [value(c, "asr_tag") for c in calls if c.startswith("run.sh")]
    assert trained == ["decffnx2_seed1"]


def results_of(calls):
    return next(value(c, "out") for c in calls if "report.tables.results" in c)


def test_the_tables_of_another_command_stay(recipe):
    (recipe / "RESULTS.md").write_text("```sh\n./run_all.sh --seeds 1\\ 2\n```\n")
    done, calls = run_all(recipe, "--seeds", "1")
    assert results_of(calls) == "exp/RESULTS.md"
    assert "RESULTS.md holds the tables of another command and stays" in done.stderr


@pytest.mark.parametrize(
    "options", [["--seeds", "1 2"], ["--test_sets", "x", "--results", "RESULTS.md"]]
)
def test_the_same_command_or_the_user_replaces_the_tables(recipe, options):
    (recipe / "RESULTS.md").write_text("```sh\n./run_all.sh --seeds 1\\ 2\n```\n")
    _, calls = run_all(recipe, *options)
    assert results_of(calls) == "RESULTS.md"


def test_a_system_older_than_its_configuration_is_named(recipe):
    run_all(recipe)
    (recipe / "conf/tuning").mkdir()
    (recipe / "conf/tuning/train_base.yaml").touch()
    done, _ = run_all(recipe, "--stage", "11")
    assert "base_seed1 is not made again, although" in done.stderr
    assert "decsmoe" not in done.stderr


def test_an_option_that_every_system_has_of_its_own_is_refused(recipe):
    done, calls = run_all(recipe, "--asr_tag", "x", check=False)
    assert done.returncode == 1 and calls == []
    assert "--asr_tag belongs to run.sh" in done.stderr


@pytest.mark.parametrize("folder", RECIPES, ids=lambda p: p.parent.name)
def test_each_recipe_has_the_configurations_of_all_five(folder):
    for name in ("base", "decffnx2", "decsmoe", "base_nbwb", "encdecsmoe"):
        assert (folder / f"conf/tuning/train_{name}.yaml").is_file()
    assert (folder / "run_all.sh").resolve() == TEMPLATE / "run_all.sh"


def test_help_tells_what_it_does_and_where_the_other_options_are(recipe):
    done, calls = run_all(recipe, "--help")
    assert calls == [] and "The five systems of the paper" in done.stdout
    assert done.stdout.endswith("Those of run.sh: ./run.sh --help\n")
