"""What a driver starts ends with it; two drivers never write into one folder."""

import os
import shutil
import signal
import subprocess
import threading
from contextlib import suppress
from pathlib import Path

import pytest

TEMPLATE = Path(__file__).parents[2] / "egs2" / "TEMPLATE"
# A job and a child of it, as a training and its data loader: both hold the pipe `alive`
# open, so that its reader sees the end when the last of them has ended.
JOB = """#!/usr/bin/env bash
[[ "$*" != *task_table* ]] || exit 0
exec 9>alive
sleep 1000 &
echo started >&9
wait
"""
STATISTICS = "exp/stats_train_bbpe300"
FILES = (
    *("data/token_list/bbpe300/tokens.txt", "data/token_list/bbpe300/bpe.json"),
    *("conf/train.yaml", "dump/raw/train/wav.scp", "dump/raw/dev/wav.scp"),
    *(f"{STATISTICS}/train/feats_stats.npz", f"{STATISTICS}/valid/speech_shape"),
)


@pytest.fixture
def recipe(tmp_path):
    """A recipe after stage 10, whose trainings last until they are ended."""
    folder = tmp_path / "egs2" / "corpus" / "smoe1"
    folder.mkdir(parents=True)
    for name in ("smoe.sh", "run_job", "path.sh", "cmd.sh"):
        (folder / name).symlink_to(TEMPLATE / "smoe1" / name)
    for name in FILES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("a x\n")
    (folder / "job").write_text(JOB)
    (folder / "job").chmod(0o755)
    os.mkfifo(folder / "alive")
    return folder


COMMAND = ["./smoe.sh", "--stage", "11", "--nbpe", "300", "--python", "./job"]


def start(folder, *command):
    """Start a command, and wait until its job runs; returns it and its pipe."""
    run = subprocess.Popen(
        command or COMMAND,
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )

    def give_up():  # let the reader go on where the command ends without a job
        run.wait()
        with suppress(OSError):  # nobody reads any more
            os.close(os.open(folder / "alive", os.O_WRONLY | os.O_NONBLOCK))

    threading.Thread(target=give_up, daemon=True).start()
    alive = open(folder / "alive")  # which waits for the job to open it
    assert alive.readline() == "started\n", told(run)
    return run, alive


def told(run):
    return run.communicate(timeout=60)[1]


@pytest.mark.parametrize(
    ("name", "status"),
    [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)],
)
def test_a_signal_to_the_driver_ends_every_process(recipe, name, status):
    run, alive = start(recipe)
    run.send_signal(name)
    assert alive.read() == ""  # both have ended
    said = told(run).strip().splitlines()
    assert run.returncode == status
    assert "with all that it had started; the same command goes on" in said[-1]
    assert not any("Traceback" in line for line in said)


def test_semaphores_that_an_ended_job_held_are_no_news(recipe):
    job = """#!/usr/bin/env python3
import multiprocessing, signal, sys
if "espnet_smoe.data.task_table" in sys.argv:
    sys.exit()
gate = multiprocessing.get_context("spawn").Semaphore()
alive = open("alive", "w")
print("started", file=alive, flush=True)
signal.pause()
"""
    (recipe / "job").write_text(job)
    run, alive = start(recipe)
    run.send_signal(signal.SIGTERM)
    assert alive.read() == ""
    assert "resource_tracker" not in told(run)
    assert "leaked" not in (recipe / "exp/train_bbpe300/train.log").read_text()


def test_a_signal_to_make_demo_ends_every_process(recipe):
    root = recipe.parents[2]
    demo = root / "egs2/mini_koen/smoe1"
    demo.parent.mkdir()
    recipe.rename(demo)
    for name in ("TEMPLATE", "mini_koen/smoe1/run.sh"):
        (root / "egs2" / name).symlink_to(TEMPLATE.parent / name)
    shutil.copy(TEMPLATE.parents[1] / "Makefile", root)
    (root / ".ci").mkdir()
    (root / ".ci/venv").write_text("#!/bin/sh\n")
    (root / ".ci/venv").chmod(0o755)
    options = "--stage 11 --nbpe 300 --nbwb_share 0 --python ./job"
    command = ["make", "-C", str(root), "demo", f"ARGS={options}"]
    run, alive = start(demo, *command)
    run.terminate()
    assert alive.read() == ""
    told(run)
    assert run.returncode != 0


def test_a_killed_driver_takes_its_jobs_along(recipe):
    run, alive = start(recipe)
    parents = f"/proc/{run.pid}/task/{run.pid}/children"
    os.kill(int(Path(parents).read_text()), signal.SIGKILL)
    assert alive.read() == ""
    told(run)


@pytest.mark.parametrize("name", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_to_run_job_ends_all_of_its_jobs(recipe, name):
    words = ["./run_job", "local", "JOB=1:1", "log/x.JOB.log", "./job"]
    run, alive = start(recipe, *words)
    run.send_signal(name)
    assert alive.read() == ""
    assert told(run) == "" and run.returncode == 143


def test_jobs_that_wait_for_a_place_do_not_start_after_a_signal(recipe):
    words = ["--max_jobs", "1", "JOB=1:3", "log/x.JOB.log", "./job"]
    run, alive = start(recipe, "./run_job", "local", *words)
    run.terminate()
    assert alive.read() == ""
    told(run)
    logs = [(recipe / f"log/x.{n}.log") for n in (2, 3)]
    assert all("status 143" in log.read_text() for log in logs if log.exists())


def test_a_second_run_in_the_same_folder_names_the_first(recipe):
    run, alive = start(recipe)
    second = subprocess.run(COMMAND, cwd=recipe, capture_output=True, text=True)
    assert second.returncode == 1
    holder = f"in use by host {os.uname().nodename}, process {run.pid}, since "
    assert f"exp/train_bbpe300 is {holder}" in second.stderr
    run.terminate()
    assert alive.read() == ""
    told(run)


def test_another_experiment_runs_beside_it_and_a_lock_dies_with_its_run(recipe):
    run, alive = start(recipe)
    (recipe / "job").write_text("#!/bin/sh\nexit 0\n")
    other = [*COMMAND, "--stop_stage", "11", "--asr_tag", "other"]
    subprocess.run(other, cwd=recipe, check=True, capture_output=True)
    run.terminate()
    assert alive.read() == ""
    told(run)
    again = [*COMMAND, "--stop_stage", "11"]
    subprocess.run(again, cwd=recipe, check=True, capture_output=True)


def test_nobody_answers_what_a_job_asks(recipe):
    words = ["local", "x.log", "python3", "-c", "print(repr(input('sure? ')))"]
    run = subprocess.run(
        ["./run_job", *words], cwd=recipe, input="yes\n", capture_output=True, text=True
    )
    assert run.returncode == 1 and "EOFError" in run.stderr


def test_a_log_that_cannot_be_written_is_one_line(recipe):
    words = ["local", "conf/train.yaml/x.log", "true"]
    run = subprocess.run(
        ["./run_job", *words], cwd=recipe, capture_output=True, text=True
    )
    assert run.returncode == 1
    assert run.stderr == "run_job: conf/train.yaml: File exists\n"
