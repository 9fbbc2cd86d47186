"""The Python that recipes are tested with is like any other, but for its start."""

import signal
import subprocess

import pytest

from tests.warm_python import environment

SHOW = "import sys, os; import espnet2; print(*sys.argv, os.getcwd(), os.environ['X'])"


def python(*words: str, **more) -> subprocess.CompletedProcess:
    env = environment(X="y")
    pipes = {"capture_output": True, "text": True, "env": env}
    return subprocess.run(["python3", *words], **pipes | more)


def test_words_folder_and_variables_arrive(tmp_path):
    done = python("-c", SHOW, "a", "b c", cwd=tmp_path)
    assert (done.stdout, done.stderr) == (f"-c a b c {tmp_path} y\n", "")
    cold = python("-c", SHOW.replace("import espnet2;", ""), "a", "b c", cwd=tmp_path)
    assert cold.stdout == done.stdout


@pytest.mark.parametrize(
    ("code", "status", "said"),
    [
        ("sys.exit(3)", 3, ""),
        ("sys.exit('no')", 1, "no\n"),
        ("1 / 0", 1, "ZeroDivisionError: division by zero\n"),
        ("os.kill(os.getpid(), 9)", -9, ""),
        ("os.kill(os.getppid(), 0); sys.exit(input() != 'in')", 0, ""),
    ],
)
def test_it_ends_as_it_should(code, status, said):
    done = python("-c", f"import espnet2, os, sys; {code}", input="in")
    assert done.returncode == status
    assert done.stderr.endswith(said)


def test_a_module_runs_as_the_main_one():
    done = python("-m", "espnet_smoe", "--version")
    assert done.stdout.startswith("espnet-smoe 0") and not done.stderr
    done = python("-m", "espnet_smoe.data.task_table", "asr", "--show", "names")
    assert (done.stdout, done.stderr) == ("asr\n", "")


def test_a_signal_ends_it():
    code = "import espnet2, time; print('up', flush=True); time.sleep(60)"
    words = ["python3", "-c", code]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(words, env=environment(), **pipes) as process:
        assert process.stdout.readline() == b"up\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == -signal.SIGTERM
        assert process.stdout.read() == b""  # nobody holds it any more
