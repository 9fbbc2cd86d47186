"""Which recording belongs to which label: same stem, and same folder where need be."""

import json
import re
import unicodedata
from collections.abc import Iterable, Iterator
from functools import cached_property, lru_cache
from heapq import merge
from itertools import groupby, repeat
from pathlib import Path

from espnet_smoe.data.corpora.base import TRAIN, VALIDATION
from espnet_smoe.data.sorted_file import (
    Listed,
    Lookup,
    Record,
    read_sorted,
    sort_records,
)

File = tuple[int, str]  # its number in the order of listing, and its reference

# The names by which folders and archives tell the split.
SPLITS = (
    (re.compile(r"(?:\d+\.)?(?:training|train|훈련|학습)", re.I), TRAIN),
    (re.compile(r"(?:\d+\.)?(?:validation|valid|검증)", re.I), VALIDATION),
    (re.compile(r"(?:\[(?:원천|라벨)\])?T[SL]\d*[_.-].*", re.I), TRAIN),
    (re.compile(r"(?:\[(?:원천|라벨)\])?V[SL]\d*[_.-].*", re.I), VALIDATION),
    (re.compile(r".*_train_.*\.zip", re.I), TRAIN),
    (re.compile(r".*_valid_.*\.zip", re.I), VALIDATION),
)
# What differs between the path of a recording and that of its label.
SIDES = (
    (re.compile(r"(?:\d+\.)?(?:원천|라벨링)데이터|\[(?:원천|라벨)\]"), ""),
    (re.compile(r"(?<![A-Za-z])([TV])[SL](?=\d*[_.-])"), r"\1"),
    (re.compile(r"_(?:wav|audio|label|json)(?=[_./])", re.I), ""),
    (re.compile(r"(?<=/)(?:audios?|wavs?|flac|pcm|labels?|json|txt|text)/", re.I), ""),
    (re.compile(r"\.zip(?=/)", re.I), ""),
)
ZIP_END = re.compile(r"(?<=\.zip)!", re.I)


class Files:
    """Files of one kind, found by stem; their names stay on the disk.

    Args:
        root: Folder of the corpus; what stands above it says nothing.
        scratch: Folder for their names.
    """

    def __init__(self, root: Path, scratch: Path) -> None:
        self.root = str(root)
        self._scratch = scratch
        self._listed = Listed(scratch)
        self._taken = bytearray()

    def __len__(self) -> int:
        return len(self._listed)

    def add(self, reference: str) -> None:
        """Take in a file, before :meth:`index`."""
        self._listed.append(reference)

    @cached_property
    def by_stem(self) -> Lookup:
        """See `numbered_by_stem`."""
        return numbered_by_stem(self._listed, self._scratch)

    def index(self, *labels: Lookup) -> None:
        """Prepare for :meth:`find`.

        Args:
            labels: Labels of one kind by stem. A stem that comes twice, or a bare
                number, is no name of a recording by itself.
        """
        self._taken = bytearray(len(self))
        self._places = Lookup(self._placed(labels), self._scratch)

    def _placed(self, labels: tuple[Lookup, ...]) -> Iterator[tuple[str, File | None]]:
        """Files by stem; where that is shared, None, and they by folder and stem."""
        own = len(labels)
        tables = [
            zip(table.records(), repeat(at))
            for at, table in enumerate((*labels, self.by_stem))
        ]
        both = merge(*tables, key=lambda line: (line[0].key, line[1]))
        for key, lines in groupby(both, key=lambda line: line[0].key):
            stem, last, waiting, told = json.loads(key), None, [], False
            shared = stem.isdecimal()
            for record, at in lines:  # those of labels come first
                shared, last = shared or at == last, at
                if at == own:
                    waiting.append(json.loads(record.value))
                if shared and waiting and not told:
                    told = True
                    yield stem, None
                while shared and waiting:
                    yield from self._in_folders(stem, waiting.pop(0))
            for file in waiting:
                yield stem, file

    def _in_folders(self, stem: str, file: File) -> Iterator[tuple[str, File]]:
        """A file by the folder that it is in, and by the one above that."""
        *_, above, folder, _ = ["", "", *self._parts(file[1])]
        yield f"{folder}/{stem}", file
        yield f"{above}//{stem}", file

    def find(self, *names: str) -> str:
        """The file that fits a name; empty where there is none.

        Args:
            names: What it may be called, the likeliest first: its label as a
                reference, or a path that the label gives. Stems must be equal and the
                splits must not differ. Where the stem repeats, the folder must be
                equal too, and the longest common run of folders decides.
        """
        return self._find(names)[1]

    def take(self, *names: str) -> str:
        """Find a file that is used now, see :meth:`untaken`."""
        number, reference = self._find(names)
        if reference:
            self._taken[number] = True
        return reference

    def untaken(self) -> Iterator[str]:
        """The files that were not taken, those of one stem one after the other."""
        for record in read_sorted(sort_records(self._rest(), self._scratch)):
            yield json.loads(record.value)

    def _rest(self) -> Iterator[Record]:
        for _, files in self.by_stem.groups():
            first = None
            for number, reference in files:
                first = number if first is None else first
                if not self._taken[number]:
                    order = f"{first:012} {number:012}"
                    yield Record(order, "", json.dumps(reference))

    def _find(self, names: Iterable[str]) -> File:
        for name in names:
            fitting = self._fitting(name)
            if fitting:
                wanted = self._parts(name)
                return max(
                    fitting, key=lambda file: _common(wanted, self._parts(file[1]))
                )
        return -1, ""

    def _fitting(self, name: str) -> list[File]:
        stem = stem_of(name)
        found = [*self._places.find(stem)]
        if found == [None]:
            *_, above, folder, _ = ["", "", *self._parts(name)]
            keys = (f"{folder}/{stem}", f"{folder}//{stem}", f"{above}/{stem}")
            each = ([*self._places.find(key)] for key in keys)
            found = next(filter(None, each), [])
        split = split_of(name, self.root)
        return [
            file
            for file in found
            if not split or split_of(file[1], self.root) in ("", split)
        ]

    def name_of(self, reference: str) -> str:
        """The shortest end of a file's path that no other file shares, by ``_``."""
        stem = stem_of(reference)
        if next(self._places.find(stem)) is not None:
            return stem
        parts = self._parts(reference)
        *_, folder, _ = ["", *parts]
        same = (file for _, file in self._places.find(f"{folder}/{stem}"))
        others = (other for other in same if other != reference)
        shared = max((_common(parts, self._parts(o)) for o in others), default=1)
        return "_".join(parts[-1 - shared :])

    def _parts(self, reference: str) -> list[str]:
        """Folders and stem below the root, without what tells audio from label."""
        path = _path(reference.removeprefix(self.root))
        for pattern, instead in SIDES:
            path = pattern.sub(instead, path)
        folders = [part for part in path.split("/")[:-1] if part]
        return [*folders, stem_of(reference)]


def numbered_by_stem(references: Iterable[str], scratch: Path) -> Lookup:
    """Files by stem, each with its number in their order.

    Args:
        references: The files.
        scratch: Folder that receives them.
    """
    numbered = enumerate(references)
    return Lookup(((stem_of(file), [at, file]) for at, file in numbered), scratch)


def split_of(reference: str, root: str = "") -> str:
    """``train`` or ``validation`` by the folders of a reference; empty if none says.

    Args:
        reference: A file, plain or in an archive.
        root: The folder of its corpus; what stands above it says nothing.

    Example:
        >>> split_of("c/01.데이터/2.Validation/[라벨]VL_1.zip!a.json", "c")
        'validation'
    """
    folders = _path(reference.removeprefix(root)).split("/")[:-1]
    return next(filter(None, map(_split_of_folder, folders)), "")


@lru_cache(maxsize=1024)
def _split_of_folder(folder: str) -> str:
    found = (split for pattern, split in SPLITS if pattern.fullmatch(folder))
    return next(found, "")


def stem_of(reference: str) -> str:
    """File name without suffix, in NFC: some systems unpack Hangul decomposed.

    Example:
        >>> stem_of("TS_1.zip!S1/a.b.wav")
        'a.b'
    """
    name = _path(reference).rpartition("/")[2]
    return name.rpartition(".")[0] or name


def _path(reference: str) -> str:
    path = ZIP_END.sub("/", reference).replace("\\", "/")
    return unicodedata.normalize("NFC", path)


def _common(one: list[str], other: list[str]) -> int:
    """How many parts two paths share at their end."""
    count = 0
    for a, b in zip(reversed(one), reversed(other)):
        if a != b:
            break
        count += 1
    return count
