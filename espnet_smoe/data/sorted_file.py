"""Lines on the disk instead of in memory: in the order in which they come, or by key.

The order of keys is that of ``LC_ALL=C sort``.
"""

import json
import os
import subprocess
import tempfile
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from contextlib import suppress
from io import StringIO
from itertools import chain, groupby, takewhile
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

SORT_BUFFER = "64M"  # memory of ``sort``; the rest is on the disk
IN_MEMORY = 2**20  # bytes of lines, before they go to ``sort`` or a file
BLOCK = 2**13  # bytes of a file, of which the first key is kept


class Record(NamedTuple):
    """A line of a table.

    Attributes:
        key: What it is sorted by: the utterance.
        place: Its file and line, for messages.
        value: What stands behind the utterance.
        fault: What is wrong with the line, and the cure; empty where nothing is.
    """

    key: str
    place: str
    value: str
    fault: str = ""


def sort_records(records: Iterable[Record], folder: Path) -> Path:
    """Sort lines by key, those of one key in their order, on the disk.

    Args:
        records: Read once.
        folder: Receives them.

    Returns:
        The file, for `read_sorted`.

    Raises:
        OSError: ``sort`` has failed.
    """
    made, name = tempfile.mkstemp(dir=folder)
    lines = map(_line, records)
    few, size = [], 0
    with open(made, "wb") as file:
        for line in lines:
            few.append(line)
            size += len(line)
            if size > IN_MEMORY:
                _sort(chain(few, lines), name, folder)
                break
        else:  # starting ``sort`` takes longer
            file.writelines(sorted(few, key=_key))
    return Path(name)


def _sort(lines: Iterable[bytes], path: str, folder: Path) -> None:
    command = ["sort", "--stable", "--field-separator=\t", "--key=1,1"]
    command += [f"--buffer-size={SORT_BUFFER}", f"--temporary-directory={folder}"]
    sort = subprocess.Popen(
        [*command, f"--output={path}"],
        stdin=subprocess.PIPE,
        env={**os.environ, "LC_ALL": "C"},
    )
    assert sort.stdin is not None
    with sort:
        for line in lines:
            try:
                sort.stdin.write(line)
            except BrokenPipeError:  # it says itself why it ended
                break
        with suppress(BrokenPipeError):
            sort.stdin.close()
    if sort.returncode:
        raise OSError(None, "cannot be sorted; is the disk full?", str(folder))


def _line(record: Record) -> bytes:
    key, place, value, fault = record
    line = "\t".join((key, place, fault, value))
    return line.encode("utf-8", "surrogateescape") + b"\n"


def _key(line: bytes) -> bytes:
    return line[: line.index(b"\t")]


def _record(line: bytes) -> Record:
    fields = line[:-1].decode("utf-8", "surrogateescape").split("\t", 3)
    key, place, fault, value = fields
    return Record(key, place, value, fault)


def read_sorted(path: Path) -> Iterator[Record]:
    """Read what `sort_records` has written."""
    with open(path, "rb") as lines:
        yield from map(_record, lines)


class Lookup:
    """Values by key on the disk, found without reading all of them.

    Args:
        pairs: Any string and a value of JSON; those of one key keep their order.
        folder: Receives them.

    Example:
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     table = Lookup([("b", 1), ("a", 2), ("b", 3)], Path(folder))
        ...     list(table.find("b")), list(table.find("c"))
        ([1, 3], [])
    """

    def __init__(self, pairs: Iterable[tuple[str, Any]], folder: Path):
        records = (Record(json.dumps(key), "", json.dumps(v)) for key, v in pairs)
        self._path = sort_records(records, folder)
        self._first: list[bytes] = []  # key of each block
        self._begin = array("Q", [0])
        place = 0
        with open(self._path, "rb") as lines:
            for line in lines:
                if not self._first:
                    self._first.append(_key(line))
                elif place >= self._begin[-1] + BLOCK:
                    self._first.append(_key(line))
                    self._begin.append(place)
                place += len(line)
        self._begin.append(place)

    def find(self, key: str) -> Iterator[Any]:
        """The values of a key."""
        wanted = json.dumps(key).encode()
        # the block before the first that begins with it may end with it
        block = max(bisect_left(self._first, wanted) - 1, 0)
        begin, end = self._begin[block : block + 2]
        wanted += b"\t"
        with open(self._path, "rb") as lines:
            lines.seek(begin)
            at = (b"\n" + lines.read(end - begin)).find(b"\n" + wanted)
            lines.seek(end if at < 0 else begin + at)
            for line in takewhile(lambda line: line.startswith(wanted), lines):
                yield json.loads(_record(line).value)

    def groups(self) -> Iterator[tuple[str, Iterator[Any]]]:
        """Each key and its values."""
        for key, lines in groupby(self.records(), key=itemgetter(0)):
            yield json.loads(key), (json.loads(line.value) for line in lines)

    def records(self) -> Iterator[Record]:
        """All lines, sorted; key and value are JSON."""
        return read_sorted(self._path)


class Listed:
    """Values of JSON on the disk, in the order in which they come.

    Args:
        folder: Receives them.
    """

    def __init__(self, folder: Path):
        made, self._path = tempfile.mkstemp(dir=folder)
        os.close(made)
        self._count = 0
        self._waiting = StringIO()

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Any]:
        self._write()
        with open(self._path, encoding="ascii") as lines:
            yield from map(json.loads, lines)

    def append(self, value: Any) -> None:
        """Add a value."""
        self._count += 1
        self._waiting.write(f"{json.dumps(value)}\n")
        if self._waiting.tell() > IN_MEMORY:
            self._write()

    def _write(self) -> None:
        with open(self._path, "a", encoding="ascii") as file:
            file.write(self._waiting.getvalue())
        self._waiting = StringIO()
