"""run_job: jobs here or of slurm, and their logs."""

import os
import re
import subprocess
import sys

import pytest

from tests.egs2.test_smoe_sh import TEMPLATE, executable

RUN_JOB = TEMPLATE / "run_job"


def run_job(folder, *words, **kwargs):
    command = [str(RUN_JOB), *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, **kwargs)


def test_local_jobs_write_numbered_logs(tmp_path):
    result = run_job(tmp_path, "local", "JOB=1:3", "log/x.JOB.log", "echo", "part JOB")
    assert result.returncode == 0
    for job in "123":
        assert f"part {job}\n" in (tmp_path / f"log/x.{job}.log").read_text()


def test_local_job_without_an_array_keeps_the_word_job(tmp_path):
    assert run_job(tmp_path, "local", "x.log", "echo", "JOB").returncode == 0
    assert "\nJOB\n" in (tmp_path / "x.log").read_text()


def test_failing_job_is_named_with_the_tail_of_its_log(tmp_path):
    script = "seq 100; echo reason JOB >&2; [ JOB != 2 ]"
    result = run_job(tmp_path, "local", "JOB=1:3", "x.JOB.log", "bash", "-c", script)
    assert result.returncode == 1
    assert "job 2 failed (status 1); log: x.2.log" in result.stderr
    assert "reason 2" in result.stderr
    assert "reason 1" not in result.stderr
    assert "  | 3\n" not in result.stderr  # only the tail


def test_what_failed_is_told_and_not_what_torchrun_adds(tmp_path):
    command = ["env", "OMP_NUM_THREADS=1", sys.executable]
    command += ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    command += ["--no_python", "bash", "-c", "echo the reason >&2; exit 1"]
    result = run_job(tmp_path, "local", "x.log", *command)
    assert result.returncode == 1
    assert "distributed/elastic" in (tmp_path / "x.log").read_text()
    told = result.stderr.splitlines()
    assert told[2:] == ["  | the reason"]  # after the command


def test_command_that_does_not_exist_fails(tmp_path):
    result = run_job(tmp_path, "local", "x.log", "no-such-command")
    assert result.returncode == 1
    assert "cannot start" in result.stderr


def test_old_logs_are_kept(tmp_path):
    for word in ("first", "second", "third"):
        run_job(tmp_path, "local", "train.log", "echo", word)
    assert "third" in (tmp_path / "train.log").read_text()
    assert "second" in (tmp_path / "train.1.log").read_text()
    assert "first" in (tmp_path / "train.2.log").read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["local", "x.log"], "no command"),
        (["local", "JOB=1:2", "x.log", "true"], "put JOB in it"),
        (["local", "JOB=2:1", "x.JOB.log", "true"], "holds no job"),
        (["local", "--num_nodes", "2", "x.log", "true"], "one node"),
        (["slurm", "x.log", "true"], "slurm.conf does not exist"),
    ],
)
def test_wrong_use_of_run_job_is_explained(tmp_path, words, said):
    result = run_job(tmp_path, *words)
    assert result.returncode != 0
    assert said in result.stderr


SLURM = """# Default configuration, as ESPnet ships it
command sbatch --export=PATH
option name=* --job-name $0
option mem=* --mem-per-cpu $0
option mem=0
option num_threads=* --cpus-per-task $0
default gpu=0
option gpu=0 -p small # no GPU
option gpu=* -p large --gres=gpu:$0 -c $0
"""


@pytest.fixture
def slurm(tmp_path):
    """An sbatch that runs the script at once, a time for each job of the array."""
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf/slurm.conf").write_text(SLURM)
    (tmp_path / "bin").mkdir()
    body = (
        'echo "$@" >>sbatch_calls\n'
        "script=${!#}; range=0-0\n"
        "for word; do case $word in --array=*) range=${word#*=} ;; esac; done\n"
        'for task in $(seq "${range%-*}" "${range#*-}"); do\n'
        '    SLURM_ARRAY_TASK_ID=$task bash "$script" || true\n'
        "done\n"
    )
    executable(tmp_path / "bin/sbatch", body)
    env = os.environ | {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
    return lambda *words: run_job(tmp_path, "slurm", *words, env=env)


def test_slurm_submits_an_array_and_reports_the_failing_job(tmp_path, slurm):
    script = "echo 'it is JOB'; [ JOB != 2 ]"
    result = slurm("JOB=1:3", "log/x.JOB.log", "bash", "-c", script)
    assert result.returncode == 1
    assert "job 2 failed" in result.stderr
    assert "it is 3\n" in (tmp_path / "log/x.3.log").read_text()
    submitted = (tmp_path / "sbatch_calls").read_text()
    assert submitted.startswith("--export=PATH -p small --wait ")
    assert "--export=ALL" in submitted  # the later one counts
    assert "--array=1-3" in submitted


def test_output_without_a_last_newline_is_no_failure(tmp_path, slurm):
    assert slurm("x.log", "printf", "no newline").returncode == 0
    assert run_job(tmp_path, "local", "y.log", "printf", "no newline").returncode == 0
    for name in "xy":
        text = (tmp_path / f"{name}.log").read_text()
        assert text.endswith("no newline\n# ended with status 0\n")


def test_slurm_gets_gpus_and_nodes(tmp_path, slurm):
    result = slurm("--gpu", "4", "--num_nodes", "2", "x.log", "echo", "two words")
    assert result.returncode == 0, result.stderr
    assert "two words\n" in (tmp_path / "x.log").read_text()
    submitted = (tmp_path / "sbatch_calls").read_text()
    assert "--nodes=2" in submitted
    assert "--gres=gpu:4" in submitted


@pytest.mark.parametrize(
    ("options", "submitted"),
    [
        (["--mem", "8G"], "-p small --mem-per-cpu 8G --wait"),
        (["--mem", "0", "--gpu", "2"], "-p large --gres=gpu:2 -c 2 --wait"),
        (["--num-threads", "3", "--max-jobs-run", "1"], "--cpus-per-task 3 --wait"),
        (["--name", "mine"], "--job-name mine --wait"),
    ],
)
def test_options_become_what_kaldis_configuration_says(
    tmp_path, slurm, options, submitted
):
    assert slurm(*options, "x.log", "true").returncode == 0
    assert submitted in (tmp_path / "sbatch_calls").read_text()
    assert run_job(tmp_path, "local", *options, "x.log", "true").returncode == 0


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("option mem=* --mem $0", "no line 'option gpu=*', nor for 0"),
        ("opton gpu=* -p x", "slurm.conf:2 'opton gpu=* -p x' is no command, default"),
    ],
)
def test_a_wrong_line_of_the_configuration_is_named(tmp_path, slurm, line, said):
    (tmp_path / "conf/slurm.conf").write_text(f"command sbatch\n{line}\n")
    done = slurm("x.log", "true")
    assert done.returncode == 1 and said in done.stderr
    (tmp_path / "conf/slurm.conf").write_text("option gpu=* -p x\n")
    assert "no line 'command sbatch'" in slurm("x.log", "true").stderr


def test_the_former_form_of_the_configuration_is_taken(tmp_path, slurm):
    text = "# for sbatch\ncpu: --partition=small\ngpu: --gres=gpu:{gpu}\n"
    (tmp_path / "conf/slurm.conf").write_text(text)
    done = slurm("--gpu", "4", "x.log", "true")
    assert done.returncode == 0 and "has its former form" in done.stderr
    assert "--gres=gpu:4 --wait" in (tmp_path / "sbatch_calls").read_text()


def test_a_slurm_job_that_is_given_up_is_cancelled(tmp_path, slurm):
    bin_ = tmp_path / "bin"
    executable(bin_ / "sbatch", 'echo "$@" >sbatch_calls; kill -TERM $PPID; sleep 60\n')
    executable(bin_ / "scancel", 'echo "$@" >scancel_calls\n')
    assert slurm("x.log", "true").returncode == 143
    (name,) = re.findall(
        r"--job-name=(x\.log-\d+) ", (tmp_path / "sbatch_calls").read_text()
    )
    assert (tmp_path / "scancel_calls").read_text() == f"--me --name={name}\n"
