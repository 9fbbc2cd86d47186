"""What Kaldi's wav.scp holds beside paths: commands, and entries of archives."""

import io
import os
import re
import shlex
import shutil
import struct
import subprocess
from tempfile import TemporaryFile
from typing import BinaryIO

from espnet_smoe.data.speech.archive import split_member

ENTRY = re.compile(r"(?P<archive>.+):(?P<offset>\d+)", re.DOTALL)


def is_command(reference: str) -> bool:
    """Whether a line of wav.scp is a command that prints audio, and no file.

    Example:
        >>> is_command("sph2pipe -f wav a.sph |"), is_command("a.wav")
        (True, False)
    """
    if not reference.rstrip().endswith("|") or os.path.isfile(reference):
        return False
    # never a name out of an archive: its author must not run commands here
    return not os.path.isfile(split_member(reference)[0])


def files_of_command(command: str) -> list[str]:
    """The files that a command names, in its order."""
    try:
        words = shlex.split(command.rstrip().rstrip("|"))
    except ValueError:  # a quotation mark is missing: the shell will say so
        return []
    return [word for word in words if os.path.isfile(word)]


def run_command(command: str) -> BinaryIO:
    """Run a command of wav.scp in the shell, as Kaldi does.

    Args:
        command: With the ``|`` at its end.

    Returns:
        What it printed.

    Raises:
        ValueError: It failed or printed nothing.
    """
    line = command.rstrip().removesuffix("|").rstrip()
    shell = ["sh", "-c", line]
    if bash := shutil.which("bash"):
        shell = [bash, "-o", "pipefail", "-c", line]  # any part of it may fail
    printed = TemporaryFile()
    done = subprocess.run(
        shell,
        stdin=subprocess.DEVNULL,
        stdout=printed,
        stderr=subprocess.PIPE,
        check=False,
    )
    if done.returncode or not os.fstat(printed.fileno()).st_size:
        stderr = done.stderr.decode(errors="replace").strip().splitlines()
        how = f"exit status {done.returncode}" if done.returncode else "no output"
        last = f": {stderr[-1]}" if stderr else ""
        raise ValueError(
            f"the command '{line} |' failed: {how}{last}. "
            "Try it in a shell, and install what it needs."
        )
    return printed


def split_entry(reference: str) -> tuple[str, int | None]:
    """Take ``ARCHIVE:OFFSET`` apart, if there is such an archive."""
    match = ENTRY.fullmatch(reference)
    if match and not os.path.isfile(reference) and os.path.isfile(match["archive"]):
        return match["archive"], int(match["offset"])
    return reference, None


def open_entry(archive: str, offset: int) -> BinaryIO:
    """The WAV that begins in an archive at an offset in bytes.

    Raises:
        ValueError: There is none.
    """
    with open(archive, "rb") as file:
        file.seek(offset)
        head = file.read(12)
        if head[:4] != b"RIFF" or head[8:] != b"WAVE":
            raise ValueError(
                f"{archive}:{offset} is no WAV. Write the archive with wav-copy, or "
                "list the recordings themselves."
            )
        (length,) = struct.unpack_from("<I", head, 4)
        return io.BytesIO(head + file.read(length - 4))
