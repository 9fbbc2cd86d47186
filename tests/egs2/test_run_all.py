"""run_all.sh of mini_koen: five systems, one preparation, one comparison."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

RECIPE = Path(__file__).parents[2] / "egs2" / "mini_koen" / "smoe1"
SYSTEMS = ["base", "decffnx2", "decsmoe", "encdecsmoe", "espnet"]


@pytest.fixture
def recipe(tmp_path):
    """The script beside a smoe.sh and a python3 that only note their arguments."""
    folder = tmp_path / "egs2" / "mini_koen" / "smoe1"
    folder.mkdir(parents=True)
    shutil.copy(RECIPE / "run_all.sh", folder)
    shutil.copy(RECIPE / "path.sh", folder)
    for name in ("smoe.sh", "python3"):
        path = folder / name
        path.write_text(f'#!/usr/bin/env bash\necho {name} "$@" >>"{folder}/calls"\n')
        path.chmod(0o755)
    return folder


def run_all(folder, *options) -> list[str]:
    env = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}
    subprocess.run(["./run_all.sh", *options], cwd=folder, env=env, check=True)
    return (folder / "calls").read_text().splitlines()


def test_every_system_trains_and_all_are_compared(recipe):
    prepare, *trainings, compare = run_all(recipe, "--nj", "3")
    assert "--stop_stage 10" in prepare
    for system, call in zip(SYSTEMS, trainings, strict=True):
        config = RECIPE / "conf/tuning" / f"train_{system}.yaml"
        assert config.is_file() and f"conf/tuning/{config.name}" in call
        assert f"--asr_tag {system} " in call and "--stage 11 --stop_stage 13" in call
    assert all(call.endswith("--nj 3") for call in (prepare, *trainings))
    assert "espnet_smoe compare exp/base exp/decffnx2" in compare


def test_what_is_prepared_is_not_prepared_again(recipe):
    stats = recipe / "exp/stats_train_bbpe500/train"
    stats.mkdir(parents=True)
    (stats / "feats_stats.npz").touch()
    assert len(run_all(recipe)) == len(SYSTEMS) + 1
