"""References made of the code, so that they cannot say anything else.

Options of YAML files are arguments of constructors and fields of dataclasses, with
their type hints, ranges and docstrings; commands are argparse's parsers.
"""

import argparse
import importlib
import inspect
import pkgutil
import re
import subprocess
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import griffe
import yaml
from espnet2.tasks.asr import ASRTask

import espnet_smoe
from espnet_smoe import inference
from espnet_smoe.cli import COMMANDS
from espnet_smoe.config.options import hints_of, option_names
from espnet_smoe.config.typed import describe_hint
from espnet_smoe.data.corpora import registry
from espnet_smoe.data.corpora.registry import parser_of
from espnet_smoe.data.speech.random_channel import RandomChannel
from espnet_smoe.data.task_table import TaskRow
from espnet_smoe.inference import recognizers
from espnet_smoe.inference.search.options import DecodeOptions
from espnet_smoe.inference.search.registry import SEARCHES
from espnet_smoe.inference.streaming.options import StreamOptions
from espnet_smoe.layers.memory_network import MemoryNetworkOptions
from espnet_smoe.moe import GATES

ROOT = Path(__file__).resolve().parents[2]
NOT_IN_YAML = describe_hint(object)  # a class, a function
FILLED_IN = {"search_options"}  # by the code
NO_DEFAULT = inspect.Parameter.empty


def classes(kind: str) -> str:
    """A table for each class of ours among ESPnet's choices of a kind."""
    espnet_smoe.register()
    choices = next(c for c in ASRTask.class_choices_list if c.name == kind)
    tables = []
    for name, cls in sorted(choices.classes.items()):
        if cls.__module__.partition(".")[0] == "espnet_smoe":
            tables += [f"### `{kind}: {name}`", _options(cls, f"{kind}_conf")]
    return "\n\n".join(tables)


def encoders() -> str:
    """Options of the encoders."""
    return classes("encoder")


def decoders() -> str:
    """Options of the decoders."""
    return classes("decoder")


def models() -> str:
    """Options of the models."""
    return classes("model")


def preencoders() -> str:
    """Options of the pre-encoders."""
    return classes("preencoder")


def preprocessors() -> str:
    """Options of the preprocessors."""
    return classes("preprocessor")


def mixtures() -> str:
    """Options of a section `moe`, gate by gate."""
    tables = []
    for name, gate in GATES.items():
        tables += [f"### `gate: {name}`", _options(gate.Options)]
    return "\n\n".join(tables)


def embedding() -> str:
    """Options of a section `embedding`."""
    return _options(MemoryNetworkOptions)


def tasks() -> str:
    """Options of a task."""
    return _options(TaskRow)


def channel() -> str:
    """Options of a section `channel`."""
    return _options(RandomChannel)


def decoding() -> str:
    """What a decoding configuration may hold, by the kind of the model."""
    for info in pkgutil.iter_modules(recognizers.__path__, f"{recognizers.__name__}."):
        importlib.import_module(info.name)
    tables = []
    for options in DecodeOptions.__subclasses__():
        known = [s for s in SEARCHES.values() if options.model in (s.models or ())]
        names = ", ".join(f"`{search.name}`" for search in known)
        tables += [f"## `model: {options.model}`", f"Searches: {names}."]
        tables += [_options(options)]
        for search in known:
            if search.options:
                tables += [f"### `search: {search.name}`", _options(search.options)]
    return "\n\n".join(tables)


def stream() -> str:
    """Options of streams."""
    return _options(StreamOptions)


def recognition() -> str:
    """What `espnet_smoe.inference` offers, each once, from where it is defined."""
    found = [getattr(inference, name) for name in sorted(inference.__all__)]
    places = [f"{thing.__module__}.{thing.__qualname__}" for thing in found]
    return "\n\n".join(f"::: {place}" for place in dict.fromkeys(places))


def commands() -> str:
    """Every command of `espnet-smoe`."""
    parsers = (_parser(module) for module, _ in COMMANDS.values())
    return "\n\n".join(_command(parser, 2) for parser in parsers)


def stage_commands() -> str:
    """The modules that are run with ``python3 -m``."""
    known = {module for module, _ in COMMANDS.values()}
    modules = [m for m in runnable_modules() if m not in known]
    return "\n\n".join(_command(_parser(module), 2) for module in modules)


def corpora() -> str:
    """The corpora that are prepared by name."""
    parsers = (parser_of(f, name) for name, f in sorted(registry.corpora().items()))
    return "\n\n".join(_command(parser, 2) for parser in parsers)


def drivers() -> str:
    """What the drivers say of their options."""
    blocks = []
    for path in sorted(ROOT.glob("egs2/TEMPLATE/*/*.sh")):
        if "# options begin" in path.read_text(encoding="utf-8"):
            name = path.relative_to(ROOT)
            text = subprocess.run(
                ["bash", str(name), "--help"],
                cwd=ROOT,
                capture_output=True,
                text=True,
                check=True,
            ).stdout
            blocks.append(f"## `{path.name}`\n\n```text\n{text.rstrip()}\n```")
    return "\n\n".join(blocks)


@cache
def runnable_modules() -> list[str]:
    """Modules of the package that have a command line of their own."""
    found = []
    for info in pkgutil.walk_packages(espnet_smoe.__path__, "espnet_smoe."):
        if info.ispkg:
            continue
        source = Path(info.module_finder.path, f"{info.name.rpartition('.')[2]}.py")
        text = source.read_text(encoding="utf-8")
        if "\ndef get_parser(" in text:
            found.append(info.name)
    return found


def _parser(module: str) -> argparse.ArgumentParser:
    """The parser of a command."""
    loaded = importlib.import_module(module)
    parser = loaded.get_parser()
    if not parser.prog.startswith(("espnet-smoe", "python")):
        parser.prog = f"python3 -m {module.removesuffix('.__main__')}"
    return parser


def _options(init: Callable, where: str = "") -> str:
    """A table of what a constructor, or a dataclass, takes from YAML."""
    docs, defaults = _documented(init), _defaults(init)
    hints = hints_of(init)
    rows = ["| option | default | is | |", "|---|---|---|---|"]
    undocumented = []
    for name in option_names(init, where):
        hint, default = hints[name], defaults.get(name, NO_DEFAULT)
        kind = describe_hint(hint) if hint is not Any else ""
        if kind == NOT_IN_YAML or name in FILLED_IN:
            continue
        if name not in docs:
            undocumented.append(f"`{name}`")
            continue
        kind = kind.replace("a section of 'key: value' lines", "a section")
        shown = "required" if default is NO_DEFAULT else f"`{_yaml(default)}`"
        cells = (f"`{name}`", shown, kind, docs[name])
        rows.append(f"| {' | '.join(_cell(c) for c in cells)} |")
    if undocumented:
        rows += ["", f"And ESPnet's own: {', '.join(undocumented)}."]
    return "\n".join(rows)


def _yaml(value: Any) -> str:
    """As YAML writes it, on one line."""
    value = list(value) if isinstance(value, (tuple, set)) else value
    text = yaml.safe_dump(value, default_flow_style=True, width=1000)
    return text.removesuffix("\n").removesuffix("\n...")


def _cell(text: str) -> str:
    return " ".join(text.replace("|", r"\|").split())


def _constructors(init: Callable) -> Iterator[type]:
    """The class and those that it inherits options from."""
    return (kind for kind in init.__mro__ if kind is not object)


def _documented(init: Callable) -> dict[str, str]:
    """Option -> what the docstrings say of it."""
    found: dict[str, str] = {}
    for kind in _constructors(init):
        for holder in (kind, kind.__init__):
            text = inspect.cleandoc(holder.__doc__ or "")
            for part in griffe.Docstring(text).parse("google", warnings=False):
                if part.kind.value in ("parameters", "attributes"):
                    described = {p.name: p.description for p in part.value}
                    found = described | found
    return {
        name: re.sub(r"\bNone\b", "null", text.replace("``", "`"))
        for name, text in found.items()
    }


def _defaults(init: Callable) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for kind in _constructors(init):
        parameters = inspect.signature(kind.__init__).parameters.values()
        found = {p.name: p.default for p in parameters} | found
    return found


def _command(parser: argparse.ArgumentParser, level: int) -> str:
    """A command, its options, and its subcommands."""
    parts = [f"{'#' * level} `{parser.prog}`", _prose(parser.description or "")]
    inner: list[argparse.ArgumentParser] = []
    for group in parser._action_groups:
        rows = []
        for action in group._group_actions:
            if isinstance(action, argparse._SubParsersAction):
                inner += action.choices.values()
            elif not isinstance(action, argparse._HelpAction):
                rows.append(f"| {_written(action)} | {_help(parser, action)} |")
        if rows:
            title = group.title or ""
            title = "" if title in ("options", "positional arguments") else title
            if title or not parts[-1].startswith("| argument |"):
                parts.append(f"| {title or 'argument'} | |\n|---|---|")
            parts[-1] = "\n".join([parts[-1], *rows])
    parts += [_command(p, level + 1) for p in inner]
    parts.append(_prose(parser.epilog or ""))
    return "\n\n".join(part for part in parts if part)


def _written(action: argparse.Action) -> str:
    """How an argument is written."""
    value = action.metavar or action.dest.upper()
    value = " ".join(value) if isinstance(value, tuple) else value
    if action.choices is not None:
        value = "{" + ",".join(map(str, action.choices)) + "}"
    if not action.option_strings:
        return f"`{value if action.choices else action.metavar or action.dest}`"
    takes = "" if action.nargs == 0 else f" {value}"
    return f"`{', '.join(action.option_strings)}{takes}`".replace("|", r"\|")


def _help(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    formatter = parser._get_formatter()
    text = formatter._expand_help(action) if action.help else ""
    text = f"{text} (required)" if action.required and action.option_strings else text
    return _cell(_escaped(text))


def _prose(text: str) -> str:
    """A description; what is indented stays as it is."""
    parts = re.split(r"((?:\n {2,}.*)+)", inspect.cleandoc(text).replace("``", "`"))
    blocks = []
    for part in parts:
        if re.match(r"\n {2,}", part):
            blocks.append(f"```text\n{inspect.cleandoc(part)}\n```")
        elif part.strip():
            blocks.append(_escaped(part.strip()))
    return "\n\n".join(blocks)


def _escaped(text: str) -> str:
    """Without what Markdown would take for markup, outside of code."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(
        part if part.startswith("`") else re.sub(r"([<>*_\[\]])", r"\\\1", part)
        for part in parts
    )
