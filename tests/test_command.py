"""How commands end: one line for what a user caused, a traceback for our mistakes."""

import errno
import os
import signal
import subprocess
import sys
import zipfile
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest
import yaml

from espnet_smoe import upcycle
from espnet_smoe.command import one_line, run_command
from espnet_smoe.data.data_dir import write_lines
from espnet_smoe.lm.arpa import write_arpa
from espnet_smoe.lm.ngram import NGram
from espnet_smoe.pack import command as pack


def ended(capsys, error: BaseException) -> tuple[int, str]:
    """Status and standard error of a command that raises `error`."""

    def main(argv):
        raise error

    return run_command(main, [], "test"), capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("a.yaml: no such key"), "test: a.yaml: no such key"),
        (
            FileNotFoundError(errno.ENOENT, "No such file or directory", "a.wav"),
            "test: a.wav: No such file or directory",
        ),
        (ImportError("install espnet-smoe[mic]"), "test: install espnet-smoe[mic]"),
        (yaml.YAMLError("line 1\n  found"), "test: not YAML: line 1   found"),
        (zipfile.BadZipFile("no end"), "test: damaged zip file: no end"),
        (MemoryError(), "test: out of memory"),
        (SystemExit("error: stage 3 makes it"), "error: stage 3 makes it"),
    ],
)
def test_what_a_user_causes_is_one_line_and_status_1(capsys, error, said):
    assert ended(capsys, error) == (1, said + "\n")


def test_a_killed_worker_is_said_as_such(capsys):
    status, said = ended(capsys, BrokenProcessPool("terminated abruptly"))
    assert status == 1 and "want of memory" in said and "Traceback" not in said


def test_a_mistake_of_ours_shows_where_it_is_and_asks_for_a_report(capsys):
    status, said = ended(capsys, KeyError("x"))
    assert status == 1 and "Traceback" in said and "please report it" in said


def test_developers_see_where_a_users_error_came_from(capsys, monkeypatch):
    monkeypatch.setenv("ESPNET_SMOE_TRACEBACK", "1")
    status, said = ended(capsys, ValueError("a.yaml: broken"))
    assert status == 1 and "Traceback" in said
    assert said.endswith("test: a.yaml: broken\n")


def test_ctrl_c_is_one_line_and_status_130(capsys):
    assert ended(capsys, KeyboardInterrupt()) == (130, "test: interrupted\n")


def test_what_argparse_decides_stands():
    with pytest.raises(SystemExit) as stop:
        run_command(lambda argv: sys.exit(2), [], "test")
    assert stop.value.code == 2


@pytest.mark.parametrize("character", ["\n", "\r", "\x1b", "\udcff", "\u2028"])
def test_a_line_stays_a_line_whatever_a_name_holds(capsys, character):
    _, said = ended(capsys, ValueError(f"unknown key 'a{character}b'"))
    assert said.count("\n") == 1 and said.strip().isprintable()
    assert "a\\" in said and said.rstrip().endswith("b'")


def test_text_of_any_language_is_not_escaped():
    assert one_line("키 'é' 中文") == "키 'é' 中文"


def test_a_file_that_is_not_utf8_is_named(capsys, tmp_path):
    path = tmp_path / "text"
    path.write_bytes(b"utt1 caf\xe9\n")
    status = run_command(lambda argv: path.read_text(encoding="utf-8") and 0, [], "t")
    said = capsys.readouterr().err
    assert status == 1 and f"{path}: not utf-8 text: byte 0xe9 at 8" in said


def test_a_module_with_a_log_of_its_own_keeps_the_errors_of_others(capsys):
    def main(argv):
        int("four")

    with pytest.raises(ValueError, match="four"):
        run_command(main, [], "espnet2.bin.x", only_ours=True)
    assert capsys.readouterr().err == ""


def python(code: str, **options) -> subprocess.Popen:
    """A process that runs `code` with this package."""
    return subprocess.Popen(
        [sys.executable, "-c", code],
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[1],
        **options,
    )


PRINTS = """
import sys
from espnet_smoe.command import run_command
lines = lambda argv: [print({what}) for _ in range({times})] and 0
sys.exit(run_command(lines, [], "t"))
"""


def test_a_reader_that_goes_away_is_no_error():
    process = python(PRINTS.format(what="'x' * 99", times=9999), stdout=subprocess.PIPE)
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait() == 128 + signal.SIGPIPE


@pytest.mark.parametrize("times", [1, 9999])  # at the end, and on the way
def test_a_full_disk_is_one_line(times):
    with open("/dev/full", "w") as full:
        process = python(PRINTS.format(what="'x' * 99", times=times), stdout=full)
    assert process.communicate()[1] == "t: No space left on device\n"
    assert process.returncode == 1


def test_an_encoding_without_the_character_is_said_with_the_cure():
    narrow = {**os.environ, "PYTHONIOENCODING": "ascii"}
    process = python(
        PRINTS.format(what="'\\uac00'", times=1), stdout=subprocess.PIPE, env=narrow
    )
    said = process.communicate()[1]
    assert process.returncode == 1 and said.count("\n") == 1
    assert "encoding ascii has no character '\\uac00'" in said
    assert "PYTHONIOENCODING=utf-8" in said


def test_a_file_name_that_is_no_text_is_printed_as_its_bytes():
    utf8 = {**os.environ, "PYTHONIOENCODING": "utf-8"}
    process = subprocess.run(
        [sys.executable, "-c", PRINTS.format(what="'caf\\udce9'", times=1)],
        capture_output=True,
        env=utf8,
        cwd=Path(__file__).parents[1],
    )
    assert process.stdout == b"caf\xe9\n" and process.returncode == 0


def test_help_of_every_command_comes_before_what_is_slow_to_load():
    code = """
import contextlib, io, sys
from espnet_smoe.cli import COMMANDS, main
for name in sorted(COMMANDS):
    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):
        main([name, "--help"])
    slow = {"torch", "espnet2", "scipy", "transformers", "matplotlib"}
    assert not slow & set(sys.modules), name
"""
    process = python(code)
    assert (process.communicate()[1], process.returncode) == ("", 0)


@pytest.mark.parametrize("write", ["upcycle", "pack", "lines", "arpa"])
@pytest.mark.parametrize("place", ["pipe", "folder"])
def test_no_file_takes_the_place_of_a_device(tmp_path, write, place):
    out = tmp_path / "out.zip"
    os.mkfifo(out) if place == "pipe" else out.mkdir()
    model = NGram.estimate(["a b"], order=2)
    writers = {
        "upcycle": lambda: upcycle.main(["exp", "--config", "c", "--out", str(out)]),
        "pack": lambda: pack.main(["exp", "--out", str(out)]),
        "lines": lambda: write_lines(out, ["a"]),
        "arpa": lambda: write_arpa(model, out),
    }
    what = {"pipe": "a device or pipe", "folder": "a folder"}[place]
    with pytest.raises(
        (ValueError, SystemExit), match=f"out.zip is {what}; name a file"
    ):
        writers[write]()
    assert not out.is_file() and [*tmp_path.iterdir()] == [out]
