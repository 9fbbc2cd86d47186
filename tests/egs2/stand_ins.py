"""Recipes whose run.sh and python3 only note their arguments."""

import os
import subprocess
from pathlib import Path

TEMPLATE = Path(__file__).parents[2] / "egs2" / "TEMPLATE"
# notes its words, fails where it is to, leaves what the next step reads
STAND_IN = """#!/usr/bin/env bash
echo {name} "$@" >>"{folder}/calls"
tag= out=
while [ $# -gt 0 ]; do
    [ "$1" != --asr_tag ] || tag=$2
    [ "$1" != --results ] || out=$2
    shift
done
[ "$tag" != "$FAIL" ] || [ -z "$tag" ] || exit 3
[ -n "$out" ] || exit 0
for folder in {decoded}; do
    mkdir -p exp/$tag/$folder
    touch exp/$tag/$folder/scores.json
done
touch "$out"
{more}
"""


def make_recipe(
    tmp_path: Path, task: str, configs: dict[str, str], decoded: str, more: str = ""
) -> Path:
    """A recipe folder with run_all.sh of a task.

    Args:
        tmp_path: Where it goes.
        task: Such as ``ctc1``.
        configs: Name below ``conf/`` -> its text.
        decoded: Folders of an experiment that get scores, where --results is given.
        more: What else it does.
    """
    folder = tmp_path / "egs2" / "corpus" / task
    (folder / "conf").mkdir(parents=True)
    for name in (f"{task}/run_all.sh", "smoe1/path.sh", "smoe1/run_job"):
        (folder / Path(name).name).symlink_to(TEMPLATE / name)
    (folder / "cmd.sh").symlink_to(TEMPLATE / "smoe1/cmd.sh")
    for name, text in configs.items():
        (folder / "conf" / name).write_text(text)
    for name in ("run.sh", "python3"):
        body = STAND_IN.format(name=name, folder=folder, decoded=decoded, more=more)
        (folder / name).write_text(body)
        (folder / name).chmod(0o755)
    return folder


def run(folder: Path, script: str, *options: str, check: bool = True, fail: str = ""):
    """Run a script; what came of it, and the calls so far."""
    env = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "FAIL": fail}
    done = subprocess.run(
        [script, *options],
        cwd=folder,
        env=env,
        check=check,
        capture_output=True,
        text=True,
    )
    calls = folder / "calls"
    return done, calls.read_text().splitlines() if calls.exists() else []


def value(call: str, option: str) -> str:
    """The word behind an option of a call."""
    words = call.split()
    return words[words.index(f"--{option}") + 1]
