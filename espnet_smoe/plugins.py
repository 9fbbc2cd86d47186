"""What is somebody else's: gates, encoders and so on that YAML files may name.

Their module registers them when it is imported (`espnet_smoe.moe.register_gate`,
`register_class`). It is imported before anything is built where it is named in the
environment variable ``ESPNET_SMOE_PLUGINS`` (modules, with commas between them), or
where an installed package has it as an entry point of the group
``espnet_smoe.plugins``. Functions `prepare_<corpus>` in it are corpora.
"""

import importlib
import os
import sys
import warnings
from collections.abc import Callable
from importlib.metadata import entry_points
from types import ModuleType
from typing import Any, TypeVar

VARIABLE = "ESPNET_SMOE_PLUGINS"
GROUP = "espnet_smoe.plugins"
KINDS = ("encoder", "decoder", "model", "preencoder", "postencoder", "frontend")
KINDS += ("specaug", "normalize", "preprocessor")  # choices of ESPnet's tasks

REGISTERED: dict[str, dict[str, type]] = {}  # kind -> name -> class

Class = TypeVar("Class", bound=type)


def register_class(kind: str, name: str) -> Callable[[Class], Class]:
    """Give a class the name that a YAML file calls it by: ``encoder: <name>``.

    Args:
        kind: What it is, one of `KINDS`.
        name: Not taken by another class.

    Returns:
        A decorator.

    Raises:
        ValueError: There is no such kind, or the name is taken.
    """
    if kind not in KINDS:
        raise ValueError(f"register_class: '{kind}' is not one of {', '.join(KINDS)}")

    def add(cls: Class) -> Class:
        present = REGISTERED.setdefault(kind, {}).setdefault(name, cls)
        if present is not cls:
            raise ValueError(
                f"{kind} '{name}' is already {present.__module__}."
                f"{present.__qualname__}; give yours another name"
            )
        return cls

    return add


def load_plugins() -> list[ModuleType]:
    """Import the modules that register classes; what was imported stays as it is.

    Returns:
        The modules.

    Raises:
        ValueError: One cannot be imported; says where it was named and why.
    """
    named = [m.strip() for m in os.environ.get(VARIABLE, "").split(",")]
    modules = [(f"{VARIABLE}: {module}", module) for module in named if module]
    installed = entry_points(group=GROUP)
    modules += [(f"entry point {e.name} of {GROUP}", e.module) for e in installed]
    found = []
    for place, module in modules:
        try:
            found.append(importlib.import_module(module))
        except ImportError as error:
            raise ValueError(
                f"{place} cannot be imported ({error}); install it or put its folder "
                "into PYTHONPATH"
            ) from error
    return found


def import_extra(name: str, extra: str, what: str) -> Any:
    """Import a package that an extra of this one brings, when it is needed.

    Args:
        name: The package, as Python calls it.
        extra: What to install.
        what: Needs it; for the message.

    Raises:
        ImportError: It is not installed.
    """
    if module := sys.modules.get(name):
        return module
    try:
        with warnings.catch_warnings():
            # jieba asks the outdated pkg_resources for its files
            warnings.simplefilter("ignore")
            return importlib.import_module(name)
    except ImportError as error:
        raise type(error)(
            f"{what} needs {(error.name or name).replace('_', '-')}: "
            f"pip install 'espnet_smoe[{extra}]'"
        ) from error
