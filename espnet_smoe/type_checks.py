"""ESPnet's checks of argument types, made when a function is first called.

Of what our commands import of ESPnet, some 200 functions are decorated with typeguard's
``typechecked``, which parses and compiles a function's whole module for each of them: a
third of the time that the import takes. Of them a program calls a few dozen.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import typeguard

_at_once = typeguard.typechecked


def check_types_when_called() -> None:
    """Let what is imported of ESPnet from now on check its types just as well, later.

    Functions of other packages, classes and decorators with options stay as they were.
    """
    typeguard.typechecked = _typechecked


def _typechecked(target: Any = None, **options: Any) -> Any:
    if options or not inspect.isfunction(target):
        return _at_once(target, **options)
    if not target.__module__.startswith(("espnet2.", "espnet3.")):
        return _at_once(target)
    return _when_called(target)


def _when_called(function: Callable[..., Any]) -> Callable[..., Any]:
    checked = functools.cache(lambda: _at_once(function))

    @functools.wraps(function)
    def call_checked(*args: Any, **kwargs: Any) -> Any:
        return checked()(*args, **kwargs)

    return call_checked
