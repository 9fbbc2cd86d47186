"""`make demo` as somebody meets it who has just cloned the repository."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

REPO = Path(__file__).parents[2]


@pytest.fixture
def clone(tmp_path):
    """The clone's scripts; making an environment fails, and is noted."""
    root = tmp_path / "clone"
    shutil.copytree(REPO / "egs2/TEMPLATE", root / "egs2/TEMPLATE", symlinks=True)
    recipe = root / "egs2/mini_koen/smoe1"
    recipe.mkdir(parents=True)
    for name in ("run.sh", "smoe.sh", "run_job", "path.sh", "cmd.sh"):
        path = REPO / "egs2/mini_koen/smoe1" / name
        shutil.copy(path, recipe / name, follow_symlinks=False)
    shutil.copy(REPO / "Makefile", root)
    (root / ".ci").mkdir()
    (root / ".ci/venv").write_text("#!/bin/sh\ntouch environment-asked-for\nexit 1\n")
    (root / ".ci/venv").chmod(0o755)
    return root


def make_demo(clone, args):
    return subprocess.run(
        ["make", "demo", f"ARGS={args}"],
        cwd=clone,
        env={"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": os.environ["HOME"]},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("option", ["--help", "-h", "--stage 11 --help"])
def test_help_comes_before_the_environment(clone, option):
    done = make_demo(clone, option)
    assert done.returncode == 0, done.stderr
    assert "--stop_stage" in done.stdout
    assert not (clone / "environment-asked-for").exists()


def test_help_tells_the_values_of_the_recipe_not_of_the_driver(clone):
    shown = make_demo(clone, "--help").stdout
    assert "tokens, special ones included [500]" in shown
    assert shown.startswith("usage: ./smoe.sh ")  # no path of this machine


@pytest.mark.parametrize("option", ["--nbep 500", "--nbpe many", "--nbpe"])
def test_wrong_options_are_told_before_the_environment_is_made(clone, option):
    done = make_demo(clone, option)
    assert done.returncode != 0
    assert "--nb" in done.stderr
    assert not (clone / "environment-asked-for").exists()


def test_good_options_lead_to_the_environment(clone):
    assert make_demo(clone, "--stage 11").returncode != 0
    assert (clone / "environment-asked-for").exists()
