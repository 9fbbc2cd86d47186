"""What a command writes for itself goes with it, however it ends."""

import os
import signal

from espnet_smoe.data.scratch import scratch_folder


def test_what_a_killed_run_left_goes_with_the_next(tmp_path):
    process = os.fork()
    if not process:
        with scratch_folder(tmp_path, ".words") as folder:
            (folder / "words").write_text("a")
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(process, 0)
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
