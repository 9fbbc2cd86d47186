"""The parts of egs2/mini_an4/asr1 that are ours; asr.sh itself is ESPnet's."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile

RECIPE = Path(__file__).parents[2] / "egs2/mini_an4/asr1"


@pytest.fixture
def run(tmp_path: Path):
    """Run a program of the recipe in a directory of its own."""
    bin_dir = Path(sys.executable).parent
    env = os.environ | {"PATH": f"{bin_dir}:{os.environ['PATH']}"}

    def run_in_tmp_path(*command: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, cwd=tmp_path, env=env, capture_output=True, text=True
        )

    return run_in_tmp_path


def test_data_prep_lists_the_wheels_recordings_without_sph2pipe(run, tmp_path: Path):
    done = run(sys.executable, RECIPE / "local/data_prep.py")
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "data/train/text").read_text().splitlines()
    assert text[0] == "fash-an251-b YES" and len(text) == 5
    scp = (tmp_path / "data/test/wav.scp").read_text().splitlines()
    assert [line.split()[0] for line in scp] == ["fcaw-cen8-b", "mmxg-cen8-b"]
    audio, rate = soundfile.read(tmp_path / scp[0].split()[1])
    assert rate == 16000 and 2 < len(audio) / rate < 4


def test_an_archive_of_something_else_is_refused_by_name(run, tmp_path: Path):
    (tmp_path / "hello.txt").write_text("hello")
    run("tar", "czf", "other.tar.gz", "hello.txt")
    done = run(RECIPE / "local/fetch_espnet.sh", "other.tar.gz")
    assert done.returncode == 1
    assert "other.tar.gz holds no espnet-" in done.stderr
    assert not (tmp_path / "asr.sh").is_symlink()


def test_a_missing_archive_is_named(run):
    done = run(RECIPE / "local/fetch_espnet.sh", "nowhere.tar.gz")
    assert done.returncode == 1
    assert done.stderr == "error: --espnet-archive nowhere.tar.gz: no such file\n"


def test_u2pp_learns_the_same_recordings(tmp_path):
    for part in ("asr1", "u2pp1"):
        shutil.copytree(RECIPE.parent / part / "local", tmp_path / part / "local")
    environment = {**os.environ, "PYTHON": sys.executable}
    folder = tmp_path / "u2pp1"
    subprocess.run(["local/data.sh"], cwd=folder, env=environment, check=True)
    for name, count in (("train", 5), ("test", 2)):
        lines = (folder / "data" / name / "wav.scp").read_text().splitlines()
        assert len(lines) == count
        assert all((folder / line.split()[1]).is_file() for line in lines)


def test_u2pp_has_the_systems_of_mini_cmn():
    folder = RECIPE.parent / "u2pp1"
    templates = folder.parents[1] / "TEMPLATE/u2pp1"
    assert (folder / "conf").resolve() == folder.parents[1] / "mini_cmn/u2pp1/conf"
    for script in ("run_all.sh", "u2pp.sh"):
        assert (folder / script).resolve() == templates / script
