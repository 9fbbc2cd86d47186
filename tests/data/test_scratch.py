"""What a command writes for itself goes with it, however it ends."""

import subprocess
import sys
from signal import SIGKILL

from espnet_smoe.data.scratch import scratch_folder

KILLED = """
import os, pathlib, sys
from espnet_smoe.data.scratch import scratch_folder
with scratch_folder(pathlib.Path(sys.argv[1]), ".words") as folder:
    (folder / "words").touch()
    os.kill(os.getpid(), 9)
"""


def test_what_a_killed_run_left_goes_with_the_next(tmp_path):
    killed = subprocess.run([sys.executable, "-c", KILLED, tmp_path], check=False)
    assert killed.returncode == -SIGKILL
    assert len(list(tmp_path.iterdir())) == 1
    with scratch_folder(tmp_path, ".words") as folder:
        assert list(tmp_path.iterdir()) == [folder]
    assert not list(tmp_path.iterdir())


def test_what_another_run_is_using_stays(tmp_path):
    with scratch_folder(tmp_path, ".sort") as first:
        (first / "table").touch()
        with scratch_folder(tmp_path, ".sort") as second:
            assert {first, second} == set(tmp_path.iterdir())
            assert (first / "table").exists()
