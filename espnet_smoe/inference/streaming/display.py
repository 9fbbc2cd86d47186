"""How the command shows a stream: lines, JSON, or words that grow on a terminal."""

import json
import shutil
from collections.abc import Callable
from typing import TextIO

from rich.cells import cell_len

from espnet_smoe.inference.streaming.events import Event

ERASE = "\r\x1b[2K"  # back to the line's begin, and clear it

Show = Callable[[Event], None]


def display(out: TextIO, as_json: bool = False) -> Show:
    """What prints events.

    Args:
        out: Where to; on a terminal partials are rewritten in place.
        as_json: One JSON object a line, partials and finals.
    """
    if as_json:
        return lambda event: _line(out, json.dumps(event.as_dict(), ensure_ascii=False))
    if out.isatty():
        return lambda event: _in_place(out, event)
    return lambda event: _line(out, event.text) if _is_shown(event) else None


def _is_shown(event: Event) -> bool:
    return event.kind == "final" and bool(event.text)


def _line(out: TextIO, text: str) -> None:
    print(text, file=out, flush=True)


def _in_place(out: TextIO, event: Event) -> None:
    if event.kind == "partial":
        columns = shutil.get_terminal_size().columns - 1
        out.write(ERASE + tail(event.text, columns))
    else:
        out.write(ERASE + (event.text + "\n" if event.text else ""))
    out.flush()


def tail(text: str, columns: int) -> str:
    """The end of a text that fits into a terminal's line.

    Args:
        text: One line; Hanzi and Hangul are two columns wide.
        columns: Of the terminal.

    Example:
        >>> tail("good morning", 8), tail("你好吗", 5)
        ('…morning', '…好吗')
    """
    if cell_len(text) <= columns:
        return text
    while text and cell_len(text) > columns - 1:
        text = text[1:]
    return "…" + text
