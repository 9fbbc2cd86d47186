"""A server of one's own, to measure: started on a free port, and its time counted."""

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from espnet_smoe.serve.command import LISTENING

MANY = 10_000  # sessions that a server started here lets in


class CpuClock:
    """Processor time of a process, as Linux counts it.

    Args:
        pid: Of the process.
    """

    def __init__(self, pid: int):
        self.path = Path(f"/proc/{pid}/stat")

    def __call__(self) -> float:
        """Seconds so far."""
        after_name = self.path.read_text().rpartition(")")[2].split()
        ticks = int(after_name[11]) + int(after_name[12])  # user and system
        return ticks / os.sysconf("SC_CLK_TCK")


@contextmanager
def own_server(
    model: str, options: Sequence[str]
) -> Iterator[tuple[str, CpuClock | None]]:
    """Start a server on a free port and stop it at the end of the block.

    Args:
        model: Folder or zip.
        options: More for ``espnet-smoe serve``.

    Raises:
        ValueError: It did not start.
    """
    command = [sys.executable, "-m", "espnet_smoe.serve.command", "--model", model]
    command += ["--port", "0", "--quiet", "--max-sessions", str(MANY)]
    command += ["--max-requests", str(MANY), *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            line = process.stdout.readline()
            if not line.startswith(LISTENING):
                raise ValueError(
                    f"the server did not start; try it alone: {shlex.join(command)}"
                )
            linux = Path("/proc/self/stat").exists()
            yield line.split()[-1], CpuClock(process.pid) if linux else None
        finally:
            process.terminate()
