"""Python scripts, each in a process of its own that begins with the packages loaded."""

import multiprocessing
import os
import sys
import tempfile
from pathlib import Path

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(
    ["espnet2.tasks.asr", "espnet_smoe.inference.speech_to_text"]
)


def run_script(code: str, folder: Path, *words: str | Path) -> str:
    """Run a script in a folder; an error of it is an assertion's message.

    Args:
        code: The script.
        folder: Where it runs.
        *words: Its arguments.

    Returns:
        What it writes to standard output.
    """
    with tempfile.TemporaryDirectory() as place:
        out, err = Path(place, "out"), Path(place, "err")
        told = (code, str(folder), [str(w) for w in words], str(out), str(err))
        process = SERVER.Process(target=_run, args=told)
        process.start()
        process.join()
        assert process.exitcode == 0, err.read_text(encoding="utf-8")[-3000:]
        return out.read_text(encoding="utf-8")


def _run(code: str, folder: str, words: list[str], out: str, err: str) -> None:
    for number, path in ((1, out), (2, err)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), number)
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = open(2, "w", encoding="utf-8", closefd=False)
    os.chdir(folder)
    sys.argv = ["script", *words]
    exec(compile(code, "script", "exec"), {"__name__": "__main__"})
    sys.stdout.flush()
