"""Corpora by name, each a function ``prepare_<name>(corpus_dir, output_dir, ...)``.

It writes data directories into ``output_dir`` and returns what there is to say about
them. Found are the functions of this folder's modules, of plugins
(`espnet_smoe.plugins`), and of a file such as ``local/my_corpus.py``, which needs no
registration. The command line is made of the function's signature and of the ``Args``
of its docstring.
"""

import argparse
import dataclasses
import importlib
import importlib.util
import inspect
import pkgutil
import re
import sys
import types
import typing
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Literal

from espnet_smoe.command import new_parser
from espnet_smoe.config.typed import OneOf, nearest
from espnet_smoe.plugins import load_plugins

PREFIX = "prepare_"
Prepare = Callable[..., str]


def corpora() -> dict[str, Prepare]:
    """Name -> function, of this package and of plugins."""
    package = importlib.import_module("espnet_smoe.data.corpora")
    found: dict[str, Prepare] = {}
    for info in pkgutil.iter_modules(package.__path__):
        if not info.name.startswith("_"):
            name = f"{package.__name__}.{info.name}"
            found |= _functions(importlib.import_module(name))
    for module in load_plugins():
        found |= _functions(module)
    return found


def find(name: str) -> Prepare:
    """The function of a corpus.

    Args:
        name: Of a corpus that is known, or a Python file that holds one function.

    Raises:
        ValueError: There is no such corpus, or the file holds none or several.
    """
    if not name.endswith(".py"):
        known = corpora()
        if name not in known:
            raise ValueError(
                f"no corpus is called '{name}'{nearest(name, known)}: known are "
                f"{', '.join(sorted(known))}; one of your own is named by its file, "
                "such as local/my_corpus.py"
            )
        return known[name]
    found = list(_functions(_load(Path(name))).values())
    if len(found) != 1:
        raise ValueError(
            f"{name} holds {len(found)} functions {PREFIX}<corpus>(corpus_dir, "
            "output_dir, ...). Write one"
        )
    return found[0]


def _load(path: Path) -> ModuleType:
    if not path.is_file():
        raise ValueError(f"{path} does not exist")
    spec = importlib.util.spec_from_file_location(f"_corpus_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses and inspect look for it
    spec.loader.exec_module(module)
    return module


def _functions(module: ModuleType) -> dict[str, Prepare]:
    return {
        name.removeprefix(PREFIX): value
        for name, value in vars(module).items()
        if name.startswith(PREFIX)
        and inspect.isfunction(value)
        and value.__module__ == module.__name__
    }


def parser_of(prepare: Prepare, name: str) -> argparse.ArgumentParser:
    """The command line of a corpus.

    Args:
        prepare: Its function; what follows its two folders are options.
        name: What it is called.
    """
    module = inspect.getmodule(prepare)
    parser = new_parser(
        f"python -m espnet_smoe.data.corpora {name}",
        inspect.getdoc(module) or inspect.getdoc(prepare),
    )
    parser.epilog = getattr(module, "EPILOG", None)
    parser.add_argument("corpus_dir", type=Path, help="folder of the corpus")
    parser.add_argument(
        "output_dir",
        type=Path,
        nargs="?",
        default=Path("data"),
        help="where the data directories go (default: data)",
    )
    for name, hint, default in _parameters(prepare):
        if dataclasses.is_dataclass(hint):
            group = parser.add_argument_group(name, inspect.getdoc(hint))
            for field in dataclasses.fields(hint):
                own = typing.get_type_hints(hint, include_extras=True)[field.name]
                group.add_argument(
                    f"--{_dashed(field.name)}", **_kind(own), **_default(field.default)
                )
        else:
            text = _documented(inspect.getdoc(prepare) or "").get(name, "")
            parser.add_argument(
                f"--{_dashed(name)}", **_kind(hint), **_default(default, text)
            )
    return parser


def call(prepare: Prepare, args: argparse.Namespace) -> str:
    """Call the function of a corpus with what its `parser_of` has read."""
    given = vars(args)
    for name, hint, _ in _parameters(prepare):
        if dataclasses.is_dataclass(hint):
            names = [field.name for field in dataclasses.fields(hint)]
            given[name] = hint(**{name: given.pop(name) for name in names})
    return prepare(given.pop("corpus_dir"), given.pop("output_dir"), **given)


def _parameters(prepare: Prepare) -> list[tuple[str, Any, Any]]:
    """Name, hint and default of each option."""
    hints = typing.get_type_hints(prepare, include_extras=True)
    options = list(inspect.signature(prepare).parameters.values())[2:]
    return [(p.name, hints.get(p.name, str), p.default) for p in options]


def _dashed(name: str) -> str:
    return name.replace("_", "-")


def _default(default: Any, text: str = "") -> dict[str, Any]:
    if default not in (None, (), inspect.Parameter.empty):
        text = f"{text} (default: {default})".strip()
    text = text.replace("%", "%%")
    if default is inspect.Parameter.empty:
        return {"required": True, "help": text}
    return {"default": default, "help": text}


def _kind(hint: Any) -> dict[str, Any]:
    """How argparse reads what a hint says."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        names = [list(limit.known) for limit in args if isinstance(limit, OneOf)]
        return _kind(args[0]) | ({"choices": names[0]} if names else {})
    if origin is Literal:
        return {"type": type(args[0]), "choices": list(args)}
    if origin in (typing.Union, types.UnionType):
        return _kind(next(arg for arg in args if arg is not type(None)))
    if origin is not None and issubclass(origin, Sequence):
        return _kind(args[0]) | {"nargs": "+"}
    if hint is bool:
        return {"action": argparse.BooleanOptionalAction}
    return {"type": hint}


def _documented(doc: str) -> dict[str, str]:
    """What a Google-style docstring says of each argument."""
    section = re.search(r"^Args:\n((?:[ ]+.*\n?|\n)*)", doc, re.MULTILINE)
    lines = section[1] if section else ""
    found = re.findall(r"^ {4}(\w+): ((?:.*)(?:\n {8,}.*)*)", lines, re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in found}
