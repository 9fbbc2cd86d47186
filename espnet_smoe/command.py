"""How every command begins and ends: with its options, and with one line on failure."""

import argparse
import errno
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from espnet_smoe.version import __version__

TRACEBACK = "ESPNET_SMOE_TRACEBACK"  # 1 shows where an error came from
FAILED, INTERRUPTED, BROKEN_PIPE = 1, 128 + signal.SIGINT, 128 + signal.SIGPIPE
# Beside ValueError, OSError and ImportError: what users cause, by the names of the
# classes, so that a command that needs none of these packages loads none.
CAUSED_BY_USERS = {
    "yaml.error.YAMLError": "not YAML",
    "zipfile.BadZipFile": "damaged zip file",
    "_pickle.UnpicklingError": "damaged file",
    "builtins.EOFError": "a file ends too early",
    "builtins.MemoryError": "out of memory",
    "torch.OutOfMemoryError": "out of memory of the GPU; take smaller batches",
    "concurrent.futures.process.BrokenProcessPool": "a process was killed, perhaps "
    "for want of memory; take fewer (--nj)",
    "soundfile.LibsndfileError": "audio that cannot be read",
}
PACKAGE = Path(__file__).parent
MODEL_HELP = "zip file or folder of a model, or its name on the hub (lab/of-model)"

Main = Callable[[list[str] | None], int | None]


def new_parser(prog: str, description: str) -> argparse.ArgumentParser:
    """A parser whose description keeps its lines, as those of a docstring."""
    return argparse.ArgumentParser(
        prog=prog,
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def positive(text: str) -> int:
    """An integer of at least 1, as the ``type`` of an option."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of at least 1")
    return int(text)


def run_command(
    main: Main,
    argv: list[str] | None = None,
    name: str | None = None,
    only_ours: bool = False,
) -> int:
    """Run a command; what its user caused is one line and no traceback.

    An error of any other kind is a mistake of ours and shows where it is, and so does
    every error where the environment variable ESPNET_SMOE_TRACEBACK is 1.

    Args:
        main: The command; takes its arguments.
        argv: Its arguments; those of the process when None.
        name: For messages; the module that Python runs when None.
        only_ours: Let pass what was raised outside this package: for what has a log
            of its own.

    Returns:
        The exit status: 0; 1 after an error; 130 after Ctrl-C; 141 where nobody reads
        the output any more. argparse exits with 2.
    """
    name = name or _running_module()
    if hasattr(sys.stdout, "reconfigure"):
        # a file name that is no text comes out as the bytes it is
        sys.stdout.reconfigure(errors="surrogateescape")
    try:
        status = main(argv) or 0
        sys.stdout.flush()  # a full disk shows here, and not when Python has ended
        return status
    except BaseException as error:
        if isinstance(error, SystemExit) and not isinstance(error.code, str):
            raise
        status = _ended(error, name, only_ours)
        if status is None:
            raise
        return status


def check_out(path: Path) -> None:
    """Refuse to put a new file in the place of what is none.

    Args:
        path: What a command is told to write; a file appears there when it is whole.

    Raises:
        ValueError: There is a folder, device or pipe.
    """
    if path.exists() and not path.is_file():
        what = "a folder" if path.is_dir() else "a device or pipe"
        raise ValueError(f"{path} is {what}; name a file to write")


def check_not_read(out: Path, *files: str | Path) -> None:
    """Refuse to write over what the same command reads.

    Args:
        out: What a command is told to write.
        files: What it reads.

    Raises:
        ValueError: It is one of them.
    """
    for file in files:
        if out.is_file() and os.path.exists(file) and os.path.samefile(out, file):
            raise ValueError(f"{out} is what is read; name another file to write")


def check_new_folder(path: Path) -> None:
    """Refuse to put a new folder in the place of anything but an empty one.

    Raises:
        ValueError: There is a file, or a folder that holds one.
    """
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise ValueError(f"{path} is there already; name a new folder with --out")


def one_line(text: str) -> str:
    """`text` with what is no character of a line written as Python writes it.

    Example:
        >>> one_line("no such key: 'a" + chr(10) + "b'")
        "no such key: 'a\\\\nb'"
    """
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def reason(error: BaseException) -> str:
    """What to tell the user about an error, in one line."""
    if isinstance(error, UnicodeEncodeError):
        lacking = error.object[error.start]
        return (
            f"the output's encoding {error.encoding} has no character {lacking!a}; set "
            "PYTHONIOENCODING=utf-8, or name a file with --out where there is one"
        )
    if isinstance(error, UnicodeDecodeError):
        place = _file_that_was_read(error)
        return (
            f"{place}not {error.encoding} text: byte {error.object[error.start]:#04x} "
            f"at {error.start}; convert it with iconv"
        )
    if isinstance(error, OSError) and error.strerror:
        files = [str(f) for f in (error.filename, error.filename2) if f is not None]
        return one_line(": ".join([*files, error.strerror]))
    message = " ".join(str(error).split("\n"))
    for kind in type(error).__mro__:
        known = CAUSED_BY_USERS.get(f"{kind.__module__}.{kind.__qualname__}")
        if known:
            return one_line(f"{known}: {message}" if message else known)
    return one_line(str(error)) or type(error).__name__


def quiet_worker() -> None:
    """For processes of a pool: Ctrl-C ends them without a traceback of their own."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def raised_by_us(error: BaseException) -> bool:
    """Whether a file of this package raised it."""
    frames = traceback.extract_tb(error.__traceback__)
    return bool(frames) and Path(frames[-1].filename).is_relative_to(PACKAGE)


def _ended(error: BaseException, name: str, only_ours: bool) -> int | None:
    """Say what `error` is about; the exit status, or None where it is not ours."""
    if isinstance(error, BrokenPipeError):
        _leave_stdout()
        return BROKEN_PIPE
    if isinstance(error, KeyboardInterrupt):
        _say(f"{name}: interrupted")
        return INTERRUPTED
    if isinstance(error, SystemExit):  # with a message, as sys.exit prints it
        _say(one_line(str(error)))
        return FAILED
    if isinstance(error, GeneratorExit):
        return None
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EIO):
        _leave_stdout()
    ours = _caused_by_user(error)
    if only_ours and not (raised_by_us(error) or isinstance(error, OSError)):
        return None
    if not ours or os.environ.get(TRACEBACK) == "1":
        traceback.print_exception(error)
    if not ours:
        _say(
            f"{name}: this is a mistake in espnet_smoe {__version__}; please report it "
            "with the lines above"
        )
        return FAILED
    _say(f"{name}: {reason(error)}")
    return FAILED


def _caused_by_user(error: BaseException) -> bool:
    if isinstance(error, (ValueError, OSError, ImportError)):
        return True
    names = [f"{k.__module__}.{k.__qualname__}" for k in type(error).__mro__]
    return any(name in CAUSED_BY_USERS for name in names)


def _file_that_was_read(error: UnicodeDecodeError) -> str:
    """'FILE: ' where `Path.read_text` failed; Python's error does not name it."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        path = frame.f_locals.get("self")
        if isinstance(path, Path):
            return f"{one_line(str(path))}: "
    return ""


def _leave_stdout() -> None:
    """Write no more: Python would try it again when it ends, and complain."""
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
    except (OSError, ValueError, AttributeError):
        pass  # a standard output that is no file has nothing to leave


def _say(line: str) -> None:
    try:
        print(line, file=sys.stderr, flush=True)
    except OSError:
        pass  # nobody listens


def _running_module() -> str:
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    if spec is None:
        return Path(sys.argv[0]).name
    return spec.name.removesuffix(".__main__")
