"""Tables of a data directory side by side, sorted by utterance, in flat memory.

A table whose lines are sorted already, as Kaldi has them, is read as it is; another one
goes through ``sort``. The order is that of ``LC_ALL=C sort``.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from heapq import merge
from itertools import chain, groupby, pairwise
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

from espnet_smoe.data.data_dir import (
    SEGMENTS,
    WAV_SCP,
    is_utf8,
    path_in,
    reference_of_segment,
)
from espnet_smoe.data.problems import Problem, split_message
from espnet_smoe.data.scratch import scratch_folder
from espnet_smoe.data.sorted_file import Record, read_sorted, sort_records

TWICE = "the id is used twice. Rename one"
UNLISTED = "it is not in wav.scp"
SCRATCH = ".sort"


class Row(NamedTuple):
    """What the tables say of one utterance.

    Attributes:
        id: The utterance.
        values: By table; of a doubled line the first. Without ``wav.scp`` where it
            lists no such utterance.
        problems: That reading has met.
    """

    id: str
    values: dict[str, str]
    problems: list[Problem]


Records = Callable[[], Iterable[Record]]  # reads a table, as often as it is called


def read_records(path: Path) -> Iterator[Record]:
    """Read the lines ``utterance value`` of a table, see `data_dir.read_table`."""
    verbatim = path.name == WAV_SCP
    with open(path, "rb") as lines:
        for number, raw in enumerate(lines, 1):
            words = raw.decode("utf-8-sig", errors="replace").split(None, 1)
            if not words:
                continue
            value = " ".join(words[1].split()) if len(words) > 1 else ""
            good = is_utf8(raw.split(None, 1)[0] if verbatim else raw)
            fault = "" if good else "not UTF-8. Convert it with iconv"
            value = path_in(raw) if verbatim else value
            yield Record(words[0], f"{path}:{number}", value, fault)


@contextmanager
def sorted_rows(
    tables: Mapping[str, Path],
    scratch: Path,
    further: Mapping[str, Records] | None = None,
) -> Iterator[Iterator[Row]]:
    """Join tables by utterance.

    Args:
        tables: Their files by name, of `data_dir.find_tables`; ``wav.scp`` as a file
            ``segments`` beside it cuts it.
        scratch: Folder for what has to be sorted.
        further: More tables; of each utterance the last line counts.

    Yields:
        A row for each utterance of any of the tables, sorted.
    """
    reading: dict[str, Records] = {
        name: partial(read_records, path) for name, path in tables.items()
    }
    with scratch_folder(scratch, SCRATCH) as folder:
        recordings: list[Record] = []
        segments = tables[WAV_SCP].with_name(SEGMENTS)
        if segments.is_file():
            listed = _judged(in_order(reading[WAV_SCP], folder))
            recordings = [record for record in listed if record.fault]
            reading[WAV_SCP] = partial(_cut_all, reading[WAV_SCP], segments, folder)
        streams = {
            name: in_order(read, folder)
            for name, read in {**reading, **(further or {})}.items()
        }
        yield chain(
            (Row(r.key, {}, [_problem(r, r.fault)]) for r in recordings),
            _joined(tables, streams),
        )


def in_order(read: Records, folder: Path) -> Iterable[Record]:
    """The lines of a table by key, those of one key in their order.

    Args:
        read: Reads the table.
        folder: Receives them where they have to be sorted.
    """
    if all(one.key <= other.key for one, other in pairwise(read())):
        return read()
    return read_sorted(sort_records(read(), folder))


def _cut_all(read: Records, segments: Path, folder: Path) -> Iterator[Record]:
    """References of the parts of recordings, by utterance.

    Args:
        read: Reads ``wav.scp``.
        segments: The file.
        folder: For what has to be sorted.
    """
    recordings = in_order(read, folder)
    parts = in_order(partial(_by_recording, segments), folder)
    both = merge(
        ((record.key, 0, record) for record in recordings),
        ((record.key, 1, record) for record in parts),
        key=itemgetter(0, 1),
    )
    for _, lines in groupby(both, key=itemgetter(0)):
        path = None
        for _, is_part, record in lines:
            if is_part:
                yield _cut(record, path)
            elif path is None and not record.fault:
                path = record.value


def _by_recording(segments: Path) -> Iterator[Record]:
    for record in read_records(segments):
        recording = (record.value.split() or [""])[0]
        packed = f"{record.key} {record.value}"
        yield Record(recording, record.place, packed, record.fault)


def sorted_records(path: Path, folder: Path) -> Iterator[Record]:
    """The lines of a table by key; one whose key was there before is at fault.

    Args:
        path: The table.
        folder: Receives it where it has to be sorted.
    """
    return _judged(in_order(partial(read_records, path), folder))


def _judged(records: Iterable[Record]) -> Iterator[Record]:
    for _, lines in groupby(records, key=itemgetter(0)):
        known = False
        for record in lines:
            fault = record.fault or (TWICE if known else "")
            yield record._replace(fault=fault) if fault else record
            known = known or not record.fault


def _cut(record: Record, path: str | None) -> Record:
    utterance, _, value = record.value.partition(" ")
    if record.fault:
        return record._replace(key=utterance, value="")
    try:
        reference = reference_of_segment(value.split(), path)
    except ValueError as error:
        return Record(utterance, record.place, "", str(error))
    return Record(utterance, record.place, reference)


def _joined(
    tables: Mapping[str, Path], streams: Mapping[str, Iterable[Record]]
) -> Iterator[Row]:
    tagged = [_tagged(name, stream) for name, stream in streams.items()]
    for utterance, lines in groupby(merge(*tagged, key=itemgetter(0)), itemgetter(0)):
        values: dict[str, str] = {}
        problems: list[Problem] = []
        for _, name, record in lines:
            if record.fault:
                problems.append(_problem(record, record.fault))
            elif name in values and name in tables:
                problems.append(_problem(record, TWICE))
            else:
                values[name] = record.value
        listed = [name for name in values if name in tables]
        if WAV_SCP not in values and not problems:
            problems = [
                Problem(
                    str(tables[name]),
                    utterance,
                    UNLISTED,
                    f"Add it to wav.scp or remove it from {name}",
                )
                for name in listed
            ]
        if listed or problems:
            yield Row(utterance, values, problems)


def _tagged(name: str, stream: Iterable[Record]) -> Iterator[tuple[str, str, Record]]:
    return ((record.key, name, record) for record in stream)


def _problem(record: Record, fault: str) -> Problem:
    return Problem(record.place, record.key, *split_message(ValueError(fault)))
