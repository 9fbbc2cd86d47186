"""`.ci/venv`, as `make demo` and `make test` call it on machines of all kinds."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).parents[2]
FILES = (".ci/venv", "setup.py", "pyproject.toml", "espnet_smoe/version.py")
TOOLS = "bash cat cksum dirname awk flock grep tee tail mkdir ln env rm".split()


class Machine:
    """A clone in a directory of its own, and a PATH of chosen commands."""

    def __init__(self, root: Path):
        self.clone, self.bin = root / "a clone", root / "bin"
        self.bin.mkdir()
        for name in FILES:
            (self.clone / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPO / name, self.clone / name)
        for tool in TOOLS:
            if (path := shutil.which(tool)) is not None:
                (self.bin / tool).symlink_to(path)
        self.env = {"PATH": str(self.bin), "HOME": str(root)}
        self.command("df", "printf 'header\\ndisk 9 9 104857600 9%% /\\n'")  # 100 GiB

    def command(self, name: str, script: str) -> Path:
        path = self.bin / name
        path.unlink(missing_ok=True)
        path.write_text(f"#!/usr/bin/env bash\n{script}\n")
        path.chmod(0o755)
        return path

    def real_python(self) -> None:
        self.command("python3", f'exec "{sys.executable}" "$@"')

    def run(self) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [".ci/venv"], cwd=self.clone, env=self.env, capture_output=True, text=True
        )

    def error(self) -> str:
        done = self.run()
        assert done.returncode != 0
        lines = done.stderr.splitlines()
        assert len(lines) == 1 and lines[0].startswith("error: "), done.stderr
        return lines[0]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_without_a_suitable_python_the_error_names_what_was_found(machine: Machine):
    machine.command("python3", "echo 3.11.7")
    machine.command("python3.12", "echo 'pyenv: command not found' >&2; exit 127")
    error = machine.error()
    assert "python3 3.11.7" in error and "python3.12 " not in error.split("get one")[0]
    assert "pyenv install" in error and "PYTHON=" in error


def test_a_python_without_the_venv_module_is_cured_by_its_package(machine: Machine):
    machine.command("python3", "[[ $* != *ensurepip* ]] && echo 3.12.3")
    assert "apt install python3.12-venv" in machine.error()


def test_a_python_of_pyenv_is_found_where_none_is_on_path(machine: Machine):
    bin_dir = Path(machine.env["HOME"]) / ".pyenv/versions/3.13.5/bin"
    bin_dir.mkdir(parents=True)
    machine.command("python", "echo 3.13.5").rename(bin_dir / "python")
    machine.command("df", "printf 'h\\nx 0 0 0 0%% /\\n'")
    assert "GiB free" in machine.error()  # past the search, stopped by the disk


def test_too_small_a_disk_is_told_before_anything_is_made(machine: Machine):
    machine.real_python()
    machine.command("df", "printf 'header\\ndisk 9 9 2097152 9%% /\\n'")
    error = machine.error()
    assert "2 GiB free" in error and "needs 10 GiB" in error
    assert not (machine.clone / ".venv").exists()


def test_an_unreachable_index_is_told_and_leaves_no_stamp(machine: Machine):
    machine.real_python()
    machine.env |= {
        "PIP_INDEX_URL": "http://127.0.0.1:9/simple",
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_RETRIES": "1",
    }
    error = machine.error()
    assert "cannot reach its package index" in error and "install.log" in error
    assert not (machine.clone / ".venv/installed").exists()


def test_a_finished_environment_is_reused_and_a_changed_setup_updates_it(
    machine: Machine,
):
    machine.command(  # its venv is a link to itself, all its calls are noted
        "python3",
        """case "$*" in
            *platform*) echo 3.12.9 ;;
            *"-m venv"*) echo venv >>calls && mkdir -p .venv/bin
                ln -sf "$0" .venv/bin/python && echo "$PWD/.venv" >.venv/bin/activate ;;
            *"-m pip"*) echo pip >>calls && [ ! -e fails ] ;;
        esac""",
    )
    calls = machine.clone / "calls"

    assert machine.run().returncode == 0
    again = machine.run()
    assert (again.returncode, again.stdout) == (0, "")
    assert calls.read_text() == "venv\npip\n"

    (machine.clone / "setup.py").write_text("changed")
    assert machine.run().returncode == 0
    assert calls.read_text() == "venv\npip\npip\n"

    (machine.clone / "setup.py").write_text("changed again")
    (machine.clone / "fails").touch()
    assert machine.run().returncode != 0
    (machine.clone / "fails").unlink()
    assert machine.run().returncode == 0  # anew, after an update that was not finished
    assert calls.read_text() == "venv\npip\npip\npip\nvenv\npip\n"


def test_an_interpreter_that_does_not_run_is_named(machine):
    machine.real_python()
    machine.env["PYTHON"] = "/nonexistent"
    assert "PYTHON=/nonexistent does not run" in machine.error()


def test_a_user_without_a_home_is_told_of_python_and_not_of_home(machine):
    del machine.env["HOME"]
    assert "no Python 3.12 or 3.13" in machine.error()
