"""What the constructors of models refuse, in one line, whoever wrote them."""

import argparse
import functools
import linecache
import traceback
from collections.abc import Callable
from typing import Any

from espnet_smoe.command import one_line, raised_by_us


def refusals_in_one_line(build_model: Callable) -> Callable:
    """Let a function that builds from options end with one line and its cause."""

    @functools.wraps(build_model)
    def build_or_refuse(*args: Any, **kwargs: Any) -> Any:
        try:
            return build_model(*args, **kwargs)
        except (ImportError, OSError, MemoryError):
            raise
        except Exception as error:  # asserts, types, shapes: each part has its own
            if isinstance(error, ValueError) and raised_by_us(error):
                raise
            raise ValueError(f"the model cannot be built: {refusal(error)}") from error

    build_or_refuse.one_line = True
    return build_or_refuse


def refusal(error: BaseException) -> str:
    """What an error says; for an assertion without words, what it asserts."""
    if isinstance(error, AttributeError) and isinstance(error.obj, argparse.Namespace):
        return f"the configuration has no '{error.name}'"
    message = one_line(" ".join(str(error).split()))
    if message and not isinstance(error, (KeyError, AssertionError)):
        return message
    frame = traceback.extract_tb(error.__traceback__)[-1]
    line = linecache.getline(frame.filename, frame.lineno).strip()
    return one_line(f"{type(error).__name__} {message} at: {line}")
