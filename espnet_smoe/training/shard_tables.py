"""The tables of a training set in shards, read a stretch at a time.

All of them have the same utterances, sorted, as stages 3 to 10 leave them. So only the
length of each utterance and where each shard begins have to be in memory, and one that
is listed twice is found without them.
"""

import hashlib
import os
from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import islice, zip_longest
from math import prod
from pathlib import Path
from typing import NamedTuple

import numpy as np

from espnet_smoe.data.speech.shard import split_reference

AGAIN = "run stages 4 to 10 again (--stage 4 --stop_stage 10)"


class Row(NamedTuple):
    """An utterance of a training set.

    Attributes:
        id: Its name.
        values: What the tables say of it, in their order.
    """

    id: str
    values: tuple[str, ...]


class ShardTables:
    """The tables, and where each shard begins in them.

    Args:
        tables: Of the data directory, ``wav.scp`` with references of shards first.
        shapes: Tables of shapes, such as ``speech_shape``, of the same utterances.

    Attributes:
        lengths: (N,) of each utterance what it adds to the size of a minibatch: the
            elements of all its shapes.
        shards: (shards + 1,) number of the first utterance of each, and N. Where two
            sets are mixed, others of a shard stand behind the first of the next one.
        fingerprint: Of the names and lengths of all utterances and of their shards.

    Raises:
        ValueError: The tables do not agree or are not sorted, an utterance comes twice,
            or there is none.
    """

    def __init__(self, tables: Sequence[str | Path], shapes: Sequence[str | Path]):
        self._tables = [Path(path) for path in tables]
        lengths, starts, places = array("q"), [], []
        digest = hashlib.sha256()
        with ExitStack() as stack:
            paths = [*self._tables, *map(Path, shapes)]
            files = [stack.enter_context(open(path, "rb")) for path in paths]
            offsets = [0] * len(tables)
            seen, last, before = set(), None, b""
            for number, lines in enumerate(zip_longest(*files), 1):
                name = _common_name(paths, number, lines)
                if name <= before:
                    raise ValueError(
                        f"{paths[0]}:{number}: '{_text(name)}' comes behind "
                        f"'{_text(before)}': not sorted, or listed twice; {AGAIN}"
                    )
                before = name
                shard, _ = split_reference(_value(lines[0]))
                if shard not in seen:
                    starts.append(number - 1)
                    places.append(tuple(offsets))
                    seen.add(shard)
                if shard != last:
                    digest.update(os.path.basename(os.fsencode(shard)) + b"\n")
                    last = shard
                offsets = [at + len(line) for at, line in zip(offsets, lines)]
                sizes = zip(paths[len(tables) :], lines[len(tables) :])
                lengths.append(sum(_elements(path, number, x) for path, x in sizes))
                digest.update(name + b"\n")
        if not lengths:
            raise ValueError(f"{paths[0]} is empty; {AGAIN}")
        self.lengths = np.frombuffer(lengths, np.int64)
        self.shards = np.array([*starts, len(lengths)])
        self._places = places
        digest.update(self.lengths.tobytes())
        self.fingerprint = digest.hexdigest()

    def read(self, first: int, last: int) -> Iterator[Row]:
        """The utterances from number `first` to `last`, which does not count.

        Raises:
            ValueError: The tables have changed since, and do not agree now.
        """
        shard = bisect_right(self.shards, first) - 1
        with ExitStack() as stack:
            files = [stack.enter_context(open(path, "rb")) for path in self._tables]
            for file, place in zip(files, self._places[shard]):
                file.seek(place)
            skipped = first - int(self.shards[shard])
            rows = islice(zip_longest(*files), skipped, skipped + last - first)
            number = first
            for number, lines in enumerate(rows, first + 1):
                name = _common_name(self._tables, number, lines)
                yield Row(_text(name), tuple(map(_value, lines)))
        if number < last:
            raise ValueError(f"{self._tables[0]} is shorter than it was; {AGAIN}")


def _common_name(
    paths: Sequence[Path], number: int, lines: Sequence[bytes | None]
) -> bytes:
    """The utterance that lines of all tables, of this number, are about."""
    if None in lines:
        longer = paths[[line is None for line in lines].index(False)]
        raise ValueError(f"{longer} has more lines than the others; {AGAIN}")
    names = [line.split(None, 1)[0] if line.strip() else b"" for line in lines]
    for path, name in zip(paths, names):
        if name != names[0]:
            raise ValueError(
                f"{path}:{number} is of '{_text(name)}', where {paths[0]} has "
                f"'{_text(names[0])}': shards need all tables in one order; {AGAIN}"
            )
    return names[0]


def _elements(path: Path, number: int, line: bytes) -> int:
    """How many numbers an array of this shape holds: ``utt 120,80``."""
    try:
        return prod(map(int, _value(line).split(",")))
    except ValueError:
        what = f"{path}:{number}: '{_value(line)}' is no shape such as 16000"
        raise ValueError(f"{what}; {AGAIN}") from None


def _value(line: bytes) -> str:
    fields = line.split(None, 1)
    return _text(fields[1].strip()) if len(fields) > 1 else ""


def _text(content: bytes) -> str:
    return content.decode("utf-8", "surrogateescape")
