"""Each recipe: one system, its page, its corpora."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.egs2.test_drivers import DRIVERS, EGS2, NOTE, TEMPLATE, calls

RECIPES = sorted(
    run.parent for run in EGS2.glob("*/*/run.sh") if run.parent.name != "asr1"
)


@pytest.mark.parametrize("folder", RECIPES, ids=lambda p: "/".join(p.parts[-2:]))
def test_run_sh_is_one_system_and_its_training_is_one_of_tuning(folder):
    done = subprocess.run(
        ["./run.sh", "--help"], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert re.match(r"usage: \./(smoe|ctc|u2pp)\.sh ", done.stdout)
    train = folder / "conf/train.yaml"
    assert train.is_symlink() and train.resolve().parent.name == "tuning"
    for name in ("cmd.sh", "path.sh", "run_job"):
        assert (folder / name).resolve() == TEMPLATE / "smoe1" / name
    assert (folder / "run_all.sh").is_file()


def test_the_page_of_the_drivers_has_their_stages():
    page = (TEMPLATE / "README.md").read_text().split("## Stages")[1].split("\n\n")[1]
    rows = [[c.strip() for c in line.split("|")[1:-1]] for line in page.splitlines()]
    header, _, *rows = rows
    for driver in DRIVERS:
        column = header.index(f"`{Path(driver).name}`")
        listed = [f"{row[0]} {row[column]}" for row in rows if row[column]]
        text = (TEMPLATE / driver).read_text()
        stages = re.search(r"^stages='(.*)'$", text, re.MULTILINE)[1]
        assert stages.split(", ") == listed


def test_corpora_may_be_named_in_the_environment(tmp_path):
    folder = tmp_path / "ctc1"
    shutil.copytree(EGS2 / "aishell/ctc1/local", folder / "local")
    for name in ("path.sh", "db.sh"):
        shutil.copy(TEMPLATE / "smoe1" / name, folder)
    (folder / "note").write_text(NOTE)
    (folder / "note").chmod(0o755)
    subprocess.run(
        ["local/data.sh", "--aishell2", "/b"],
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "PYTHON": "./note", "AISHELL": "/a a"},
        check=True,
    )
    assert calls(folder)[0].endswith("--out data --aishell /a a --aishell2 /b")
