"""Code blocks of Markdown pages, and whether they are what they claim to be."""

import contextlib
import importlib
import io
import re
import runpy
import shlex
import subprocess
import sys
from argparse import ArgumentParser, _SubParsersAction
from functools import cache
from pathlib import Path
from typing import NamedTuple

import yaml
from markdown_it import MarkdownIt

from espnet_smoe.benchmark.__main__ import COMMANDS as BENCHMARKS
from espnet_smoe.check_config import build_model
from espnet_smoe.cli import COMMANDS
from espnet_smoe.data.corpora.registry import corpora, parser_of
from espnet_smoe.inference.recognizers.smoe import SMoEDecodeOptions
from espnet_smoe.inference.recognizers.speech_moe import CTCDecodeOptions
from espnet_smoe.inference.recognizers.u2pp import U2PPDecodeOptions

ROOT = Path(__file__).resolve().parents[1]
WHOLE = ROOT / "egs2/mini_koen/smoe1/conf/train.yaml"
NOT_RUNNABLE = {"text", "nginx", "bibtex"}
DECODING = {
    "smoe": SMoEDecodeOptions,
    "u2pp": U2PPDecodeOptions,
    "speech_moe": CTCDecodeOptions,
}
FOREIGN = {  # programs that are not ours, in commands around ours
    *("cd", "git", "sudo", "tar", "arecord", "openssl", "source", ".", "for", "done"),
    *("cut", "export", "pytest", "rm", "sort"),
}
OF_SLURM = {"--cpus-per-task", "--gres", "--nodes", "--ntasks-per-node"}
ASSIGNMENT, OPTION = re.compile(r"\w+="), re.compile(r"--[a-z]\w+")
PLACEHOLDER = re.compile(r"<(\w+)>")  # exp/<asr_tag>


class Block(NamedTuple):
    """A code block: its place, its language, what stands behind that, its text."""

    place: str
    language: str
    title: str
    text: str


def blocks_of(page: Path) -> list[Block]:
    """The code blocks of a page; where nothing names a language they are commands."""
    found = []
    for token in MarkdownIt().parse(page.read_text(encoding="utf-8")):
        if token.type in ("fence", "code_block"):
            language, _, title = token.info.strip().partition(" ")
            if not language or language == "sh":
                language = "console" if token.content.startswith("$ ") else "bash"
            place = f"{page.relative_to(ROOT)}:{token.map[0] + 1}"
            found.append(Block(place, language, title, token.content))
    return found


def check_yaml(block: Block, folder: Path) -> None:
    """Hold a YAML file, or a part of one, against what reads it."""
    content = yaml.safe_load(block.text)
    kind = re.search(r"decode.yaml of (\w+)", block.title)
    if kind:
        DECODING[kind[1]].of(content, block.place)
        return
    path = folder / "train.yaml"
    if "encoder" not in content:  # a part, to be put into a file
        content = yaml.safe_load(WHOLE.read_text(encoding="utf-8")) | content
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    build_model(path)


def commands_of(script: str) -> list[list[str]]:
    """The commands of a shell script, words without quotes."""
    commands: list[list[str]] = []
    for line in script.replace("\\\n", " ").splitlines():
        words = shlex.shlex(line, posix=True, punctuation_chars=True)
        words.whitespace_split = True
        command: list[str] = []
        for word in [*words, ";"]:
            if word in ("&&", "||", "|", ";", "&", "(", ")"):
                commands += [command] if command else []
                command = []
            else:
                command.append(word)
    return commands


def check_script(block: Block) -> None:
    """Is it a shell script, and do its commands and their options exist?"""
    script = block.text
    if block.language == "console":
        lines = re.findall(r"^\$ ((?:.*\\\n)*.*)", script, re.M)
        script = "\n".join(lines)
    script = PLACEHOLDER.sub(r"\1", script)
    done = subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True)
    assert not done.stderr, f"{block.place}: {done.stderr}"
    page = ROOT / block.place.partition(":")[0]
    for command in commands_of(script):
        while command and ASSIGNMENT.match(command[0]):
            command = command[1:]
        if command:
            try:
                check_command(command, page.parent)
            except (SystemExit, AssertionError, KeyError, OSError) as error:
                raise AssertionError(f"{block.place}: {command}: {error}") from error


def check_command(words: list[str], folder: Path) -> None:
    """Raise where a command of ours, or an option of it, does not exist."""
    program, *rest = words
    program = "python3" if program == "python" else program
    rest = [word for word in rest if word not in ("...", "…")]
    if rest[:2] == ["-m", "espnet_smoe"] and program == "python3":
        program, rest = "espnet-smoe", rest[2:]
    if program == "espnet-smoe" and rest[:1] == ["-m"]:
        # only the options: ESPnet's parsers open the files that they are given
        known = importlib.import_module(rest[1]).get_parser()._option_string_actions
        assert {w for w in rest[2:] if w.startswith("--")} <= set(known)
    elif program == "espnet-smoe" and rest[:1] == ["--debug"]:
        check_command([program, *rest[1:]], folder)
    elif program == "espnet-smoe":
        module, _ = COMMANDS[rest[0]]
        if rest[0] == "benchmark" and rest[1] in BENCHMARKS:
            module, rest = f"espnet_smoe.benchmark.{BENCHMARKS[rest[1]]}", rest[1:]
        parse(importlib.import_module(module).get_parser(), rest[1:])
    elif program == "python3" and rest[0] == "-m":
        check_module(rest[1], rest[2:])
    elif program == "python3":
        assert any((place / rest[0]).is_file() for place in (ROOT, folder)), "no file"
    elif program == "make":
        targets = [w for w in rest if not ASSIGNMENT.match(w)]
        known = re.findall(r"^(\w[\w-]*):", (ROOT / "Makefile").read_text(), re.M)
        assert set(targets) <= set(known), "no such target"
    elif program == "pip":
        check_extras(" ".join(rest))
    elif program.endswith(".sh"):
        unknown = {w for w in rest if OPTION.fullmatch(w)} - driver_options()
        assert not unknown, f"no driver has {unknown}"
    else:
        assert program in FOREIGN, "which program is this?"


def check_module(name: str, words: list[str]) -> None:
    """The words after ``python3 -m NAME``."""
    module = importlib.import_module(name)
    if hasattr(module, "__path__"):
        module = importlib.import_module(f"{name}.__main__")
    if name == "espnet_smoe.data.corpora":  # each corpus has a command line of its own
        if words and not words[0].endswith(".py"):
            parse(parser_of(corpora()[words[0]], words[0]), words[1:])
        return
    place = sys.modules[module.main.__module__]  # where it comes from
    if hasattr(place, "get_parser"):
        parse(place.get_parser(), words)
    else:
        assert len(words) == 1, "a command without a parser takes one file"


def parse(parser: ArgumentParser, words: list[str]) -> None:
    """Parse; what argparse says of a wrong command line is the error."""
    with contextlib.redirect_stderr(io.StringIO()) as said:
        with contextlib.redirect_stdout(io.StringIO()):
            try:
                parser.parse_args(words)
            except SystemExit as end:
                assert not end.code, said.getvalue().splitlines()[-1]


def check_extras(words: str) -> None:
    """The extras in ``pip install '.[a,b]'`` exist."""
    [asked] = re.findall(r"\[([\w,]+)\]", words) or [""]
    lines = (ROOT / "setup.py").read_text(encoding="utf-8")
    known = set(re.findall(r'^    "(\w+)": \[', lines, re.M)) | {"all", "dev", "test"}
    assert set(filter(None, asked.split(","))) <= known, "no such extra"


@cache
def driver_options() -> set[str]:
    """What drivers, and the recipes' scripts, say of their options."""
    found = {"--help"}
    for path in [*ROOT.glob("egs2/TEMPLATE/*/*.sh"), *ROOT.glob("egs2/*/*/run_all.sh")]:
        if path.name not in ("cmd.sh", "path.sh"):
            asked = ["bash", path.name, "--help"]
            done = subprocess.run(
                asked, cwd=path.parent, text=True, capture_output=True
            )
            found |= set(OPTION.findall(done.stdout))
    assert {"--stage", "--seeds"} <= found
    return found


def options_in_text(page: Path) -> set[str]:
    """Options that a page names in code within its text, such as ``--stage``."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.S)
    code = " ".join(re.findall(r"`([^`\n]+)`", text))
    return set(re.findall(r"(?<!\S)--[a-z][\w-]+", code))


@cache
def known_options() -> set[str]:
    """Options of every command of ours, of the drivers, and of ESPnet's two."""
    references = runpy.run_path(str(ROOT / "docs/generate/references.py"))
    parsers = [references["_parser"](m) for m in references["runnable_modules"]()]
    for name in ("asr_train", "asr_inference"):
        parsers.append(importlib.import_module(f"espnet2.bin.{name}").get_parser())
    found = driver_options() | {"--debug", "--version"} | OF_SLURM
    while parsers:
        parser = parsers.pop()
        found |= set(parser._option_string_actions)
        for action in parser._actions:
            if isinstance(action, _SubParsersAction):
                parsers += action.choices.values()
    return found


def python_of(page: Path) -> str:
    """The Python blocks of a page, one after the other."""
    return "\n".join(b.text for b in blocks_of(page) if b.language == "python")


def drawings() -> dict[str, str]:
    """The site's pictures as `docs/generate/pictures.py` draws them."""
    module = runpy.run_path(str(ROOT / "docs/generate/pictures.py"))
    return {name: draw().svg() for name, draw in module["PICTURES"].items()}
