"""Entries of a corpus on the disk, sorted, so that they need no memory."""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields
from operator import attrgetter
from pathlib import Path
from weakref import finalize

from espnet_smoe.data.corpora.base import Entry
from espnet_smoe.data.sorted_file import Record, read_sorted, sort_records

FIELDS = [field.name for field in fields(Entry)]


class StoredEntries:
    """Entries by a key, those of one key in the order in which they came.

    Args:
        entries: Read once.
        folder: Receives them.
        key: What they are sorted by, without white space but blanks.

    Attributes:
        count: How many they are.
        targets: The texts of further tasks that some of them have.
    """

    def __init__(
        self,
        entries: Iterable[Entry],
        folder: Path,
        key: Callable[[Entry], str] = attrgetter("id"),
    ):
        self.count = 0
        self.targets: set[str] = set()
        self._key = key
        self._path = sort_records(map(self._pack, entries), folder)
        finalize(self, self._path.unlink, missing_ok=True)  # as large as the corpus

    def __iter__(self) -> Iterator[Entry]:
        return (entry for _, entry in self.items())

    def items(self) -> Iterator[tuple[str, Entry]]:
        """Each with its key before it."""
        for record in read_sorted(self._path):
            yield record.key, Entry(*json.loads(record.value))

    def _pack(self, entry: Entry) -> Record:
        self.count += 1
        self.targets.update(entry.texts)
        values = [getattr(entry, name) for name in FIELDS]
        return Record(self._key(entry), "", json.dumps(values, default=float))
