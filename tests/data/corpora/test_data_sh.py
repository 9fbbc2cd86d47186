"""Stage 1 of egs2/aihub_koen as a user runs it."""

import shutil
import subprocess
from pathlib import Path

import pytest

from espnet_smoe.data.data_dir import read_table
from tests.data.corpora import trees
from tests.data.corpora.test_kinds import TRAIN, VALIDATION
from tests.warm_python import environment

ROOT = Path(__file__).parents[3]


@pytest.fixture
def stage1(tmp_path):
    """Run local/data.sh in a copy of the recipe."""
    recipe = tmp_path / "egs2/aihub_koen/smoe1"
    source = ROOT / "egs2/aihub_koen/smoe1"
    recipe.mkdir(parents=True)
    for name in ("path.sh", "db.sh"):
        shutil.copy(source / name, recipe)
    shutil.copytree(source / "local", recipe / "local")

    def run(*options):
        env = environment()
        command = ["local/data.sh", *options]
        done = subprocess.run(
            command, cwd=recipe, env=env, capture_output=True, text=True
        )
        return done, recipe / "data"

    return run


def test_stage_prepares_the_sets_and_translates_what_lacks_english(stage1, tmp_path):
    train = [TRAIN[0], *(item._replace(english="") for item in TRAIN[1:])]
    trees.utterance_json(tmp_path / "aihub", train, VALIDATION)
    options = ["--aihub", str(tmp_path / "aihub"), "--nj", "1"]
    done, data = stage1(*options, "--translate_command", "sed s/^/EN_/")
    assert done.returncode == 0, done.stderr
    found = list(read_table(data / "train/text_st", []).values())
    assert found == [TRAIN[0].english, *(f"EN_{item.korean}" for item in TRAIN[1:])]
    assert {path.parent.name for path in data.glob("*/wav.scp")} == {
        "train",
        "dev",
        "test",
    }


def test_help_names_the_options_of_both_programs(stage1):
    done, _ = stage1("--help")
    assert done.returncode == 0
    for option in ("--translate ", "--translate_command", "--aihub", "--dual", "keys:"):
        assert option in done.stdout


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--aihub", "nowhere"], "corpora: nowhere is not a folder"),
        (["--translate"], "--translate needs a value"),
        (["--aihub", "x", "--fluers", "y"], "arguments: --fluers y"),
    ],
)
def test_wrong_options_end_the_stage_with_an_error(stage1, options, said):
    done, data = stage1(*options)
    assert done.returncode != 0
    assert said in done.stderr
    assert not list(data.glob("*/wav.scp"))
