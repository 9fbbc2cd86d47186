"""Recipes for those who have the package alone."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from espnet_smoe import recipes
from espnet_smoe.cli import main

ROOT = Path(__file__).parents[1]


def test_every_recipe_is_listed_with_its_title(capsys):
    assert main(["recipes", "list"]) == 0
    listed = {line.split()[0] for line in capsys.readouterr().out.splitlines()}
    assert listed == {
        str(run.parent.relative_to(ROOT / "egs2"))
        for run in (ROOT / "egs2").glob("*/*/run.sh")
    }


@pytest.mark.parametrize("corpus", ["mini_koen", "mini_an4", "aishell"])
def test_a_copy_has_all_that_its_scripts_call(tmp_path, capsys, corpus):
    assert main(["recipes", "copy", corpus, str(tmp_path / "my recipes")]) == 0
    folders = capsys.readouterr().out.splitlines()
    assert folders
    for line in folders:
        folder = Path(line.removeprefix("cd ").removesuffix(" && ./run.sh").strip("'"))
        original = ROOT / "egs2" / folder.relative_to(tmp_path / "my recipes")
        for path in recipes.recipe_files(original):
            if path.parts[0] not in recipes.MADE | recipes.FETCHED:
                assert (folder / path).read_bytes() == (original / path).read_bytes()
        for driver in ("smoe.sh", "u2pp.sh", "ctc.sh"):
            if (folder / driver).exists():
                help_text = subprocess.run(
                    [f"./{driver}", "--help"],
                    cwd=folder,
                    capture_output=True,
                    text=True,
                )
                assert help_text.returncode == 0, help_text.stderr
                assert "--stage" in help_text.stdout + help_text.stderr


def test_what_a_recipe_has_made_is_not_copied(tmp_path, monkeypatch):
    egs2 = tmp_path / "egs2"
    recipe = egs2 / "mini_koen/smoe1"
    shutil.copytree(ROOT / "egs2/TEMPLATE", egs2 / "TEMPLATE", symlinks=True)
    recipe.mkdir(parents=True)
    (recipe / "run.sh").write_text("#!/bin/sh\n")
    for name in ("data/train/text", "exp/a/model.pth", "dump/x", "local/data/kept"):
        (recipe / name).parent.mkdir(parents=True, exist_ok=True)
        (recipe / name).write_text("x")
    monkeypatch.setattr(recipes, "recipes_root", lambda: egs2)
    recipes.copy_recipe("mini_koen", tmp_path / "out")
    copied = {path.name for path in (tmp_path / "out/mini_koen/smoe1").iterdir()}
    assert copied == {"run.sh", "local"}
    assert (tmp_path / "out/mini_koen/smoe1/local/data/kept").exists()


def test_settings_of_a_copy_are_its_own(tmp_path):
    [folder] = recipes.copy_recipe("mini_koen/smoe1", tmp_path)
    assert (folder / "smoe.sh").is_symlink() and os.access(folder / "run.sh", os.X_OK)
    for name in ("cmd.sh", "conf/train.yaml", "conf/slurm.conf"):
        assert not (folder / name).is_symlink()


def test_an_edited_file_is_not_overwritten(tmp_path, capsys):
    [folder] = recipes.copy_recipe("mini_koen", tmp_path)
    recipes.copy_recipe("mini_koen", tmp_path)  # again, unchanged
    (folder / "conf/train.yaml").write_text("mine: 1\n")
    assert main(["recipes", "copy", "mini_koen", str(tmp_path)]) == 1
    assert "train.yaml is there and is another" in capsys.readouterr().err
    assert (folder / "conf/train.yaml").read_text() == "mine: 1\n"


def test_an_unknown_recipe_names_the_nearest(tmp_path, capsys):
    assert main(["recipes", "copy", "mini_ken", str(tmp_path)]) == 1
    assert "did you mean 'mini_koen'?" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
