"""Rows of a JSON file of any size, one at a time: a list, or one under ``data``."""

import json
import re
from collections.abc import Iterator
from typing import Any, TextIO

BLOCK = 2**16  # characters
SPACE = re.compile(r"[ \t\n\r]*")


class NoRows(ValueError):
    """What a file holds is no list of rows."""


class Damaged(ValueError):
    """A file is no JSON, or cut off."""


def read_rows(file: TextIO) -> Iterator[dict[str, Any]]:
    """Read the rows of a list of objects, or of the list ``data`` of an object.

    Raises:
        NoRows: There is no such list.
        Damaged: It is no JSON, or cut off; says where.
    """
    text = _Text(file)
    lists = _lists_of_object(text) if text.next() == "{" else _list_alone(text)
    found = False
    for rows in lists:
        found = True
        for row in rows:
            if not isinstance(row, dict):
                raise NoRows
            yield row
    if text.next():
        raise text.error("Extra data")
    if not found:
        raise NoRows


def _list_alone(text: "_Text") -> Iterator[Iterator[Any]]:
    if text.next() == "[":
        yield _items(text)
    else:
        text.value()


def _lists_of_object(text: "_Text") -> Iterator[Iterator[Any]]:
    for key in _parts(text, "{", "}"):
        if not isinstance(key, str):
            raise text.error("Expecting a name in double quotes")
        text.take(":")
        if key == "data" and text.next() == "[":
            yield _items(text)
        else:
            text.value()


def _items(text: "_Text") -> Iterator[Any]:
    return _parts(text, "[", "]")


def _parts(text: "_Text", begin: str, end: str) -> Iterator[Any]:
    """Values between commas; what stands behind one is for who has taken it."""
    text.take(begin)
    while text.next() != end:
        yield text.value()
        if text.next() == end:
            break
        text.take(",")
        if text.next() == end:
            raise text.error("Expecting value")
    text.take(end)


class _Text:
    """The characters of a file, of which as many are in memory as a value has."""

    def __init__(self, file: TextIO):
        self._file = file
        self._text, self._at = "", 0
        self._before = 0  # characters of the file that are in memory no more

    def next(self) -> str:
        """The next character that is no space; empty at the end."""
        self._at = SPACE.match(self._text, self._at).end()
        while self._at == len(self._text) and self._more(BLOCK):
            self._at = SPACE.match(self._text, self._at).end()
        return self._text[self._at : self._at + 1]

    def take(self, wanted: str) -> None:
        """Go on behind a character."""
        if self.next() != wanted:
            raise self.error(f"Expecting '{wanted}'")
        self._at += 1

    def value(self) -> Any:
        """The next value."""
        self.next()
        size = BLOCK
        while True:
            try:
                value, end = DECODER.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                if not self._more(size):
                    raise self.error(error.msg, error.pos) from error
            else:
                # a number may go on
                if end < len(self._text) or not self._more(size):
                    self._at = end
                    return value
            size *= 2  # a long value is not begun again for each block

    def error(self, what: str, at: int | None = None) -> Damaged:
        """That something else stands here, or at a place of `_text`."""
        at = self._before + (self._at if at is None else at)
        return Damaged(f"{what}: char {at}")

    def _more(self, size: int) -> bool:
        read = self._file.read(size)
        self._before += self._at
        self._text, self._at = self._text[self._at :] + read, 0
        return bool(read)


DECODER = json.JSONDecoder()
