"""A `python3` for recipes under test that begins with torch and ESPnet loaded.

A recipe starts dozens of Pythons, each of which loads the same packages for seconds.
Where `environment` puts its folder before PATH, `python3 -m` of this package and of
ESPnet asks a server, which has loaded them, to fork; whatever else it runs is what
always runs. What a process has of its own (words, folder, variables, open files,
process group, status, end by a signal) is as without.
"""

import atexit
import ctypes
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LIMIT = 2**20  # bytes of words and variables
CLIENT = """#!{python} -IS
import json, os, signal, socket, sys

words = sys.argv[1:]
warm = words[:1] == ["-m"] and words[1].split(".")[0] in ("espnet2", "espnet_smoe")
if not (warm or words[:1] == ["-c"] and "espnet2" in words[1]):
    os.execv("{python}", ["{python}", *words])
server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
server.connect("{place}")
told = {{"words": words, "folder": os.getcwd(), "group": os.getpgrp()}}
told = json.dumps(told | {{"variables": dict(os.environ)}}).encode()
socket.send_fds(server, [told], [0, 1, 2])
pid = int(server.recv(32))
for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    if signal.getsignal(name) is not signal.SIG_IGN:
        signal.signal(name, lambda number, _: os.kill(pid, number))
status = int(server.recv(32))
if status < 0:
    if -status != signal.SIGKILL:
        signal.signal(-status, signal.SIG_DFL)
    os.kill(os.getpid(), -status)
os._exit(status)
"""


def environment(**more: str) -> dict[str, str]:
    """Variables for a recipe of this checkout, with one thread a process.

    Args:
        **more: Others.
    """
    path = os.pathsep.join(
        [_folder(), str(Path(sys.executable).parent), os.environ["PATH"]]
    )
    ours = {"PATH": path, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return os.environ | ours | more


@cache
def _folder() -> str:
    """Folder of `python3`; its server ends with this process."""
    holder = tempfile.TemporaryDirectory(prefix="warm_python")
    folder = Path(holder.name)
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.warm_python", str(folder / "socket")],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    )
    assert server.stdout is not None
    assert server.stdout.readline() == b"ready\n"
    for name in ("python", "python3"):
        client = CLIENT.format(python=sys.executable, place=folder / "socket")
        (folder / name).write_text(client)
        (folder / name).chmod(0o755)

    def end() -> None:
        server.kill()
        server.wait()
        holder.cleanup()

    atexit.register(end)
    return str(folder)


def serve(place: str) -> None:
    """Load the packages, then fork for whoever asks."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    import espnet2.bin.asr_train  # noqa: F401
    import espnet2.tasks.mt  # noqa: F401
    import espnet2.tasks.s2t  # noqa: F401
    import espnet2.tasks.st  # noqa: F401

    import espnet_smoe.inference.speech_to_text  # noqa: F401
    from espnet_smoe import registry

    registry._classes()
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listening.bind(place)
    listening.listen(64)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the keepers
    print("ready", flush=True)
    while True:
        client, _ = listening.accept()
        if os.fork() == 0:
            listening.close()
            _keep(client)
        client.close()


def _keep(client: socket.socket) -> None:
    """Start one process; tell its status, or end it when nobody wants it any more."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    told, files, _, _ = socket.recv_fds(client, LIMIT, 3)
    child = os.fork()
    if child == 0:
        client.close()
        _run(json.loads(told), files)
    client.send(str(child).encode())
    ended = os.pidfd_open(child)
    ready, _, _ = select.select([ended, client], [], [])
    if ended not in ready:  # the client was killed
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    try:
        client.send(str(os.waitstatus_to_exitcode(status)).encode())
    except OSError:
        pass
    os._exit(0)


def _run(told: dict, files: list[int]) -> None:
    """Become the process that was asked for; does not return."""
    status = 1
    try:
        try:
            os.setpgid(0, told["group"])
        except OSError:  # a group of another session
            pass
        for number, file in enumerate(files):
            os.dup2(file, number)
            os.close(file)
        sys.stdin = open(0, encoding="utf-8", closefd=False)
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)
        sys.stderr = open(
            *(2, "w", 1, "utf-8"), errors="backslashreplace", closefd=False
        )
        os.chdir(told["folder"])
        os.environ.clear()
        os.environ.update(told["variables"])
        places = os.environ.get("PYTHONPATH", "").split(os.pathsep)
        sys.path[:0] = [told["folder"], *filter(None, places)]
        status = _ended(told["words"])
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def _ended(words: list[str]) -> int:
    """Run ``-m MODULE ...`` or ``-c CODE ...`` as Python does; the status."""
    status = 0
    try:
        if words[0] == "-m":
            sys.argv = words[1:]
            sys.modules.pop(words[1], None)  # it is to run, not to be found
            runpy._run_module_as_main(words[1])
        else:
            sys.argv = ["-c", *words[2:]]
            exec(compile(words[1], "<string>", "exec"), {"__name__": "__main__"})
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    except BaseException:
        traceback.print_exc()
        status = 1
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    return status


if __name__ == "__main__":
    serve(sys.argv[1])
