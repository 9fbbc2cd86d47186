"""Which recording belongs to which label: same stem, and same folder where need be."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache, partial
from pathlib import Path

from espnet_smoe.data.corpora.base import TRAIN, VALIDATION

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
    """Files of one kind, found by stem.

    Args:
        root: Folder of the corpus; what stands above it says nothing.
    """

    def __init__(self, root: Path) -> None:
        self.root = str(root)
        self.by_stem: dict[str, list[str]] = {}
        # folder/stem, for the stems that several files or labels share
        self.by_folder: dict[str, list[str]] = {}
        self.repeated: set[str] = set()

    def __iter__(self) -> Iterator[str]:
        for references in self.by_stem.values():
            yield from references

    def __len__(self) -> int:
        return sum(map(len, self.by_stem.values()))

    def add(self, reference: str) -> None:
        """Take in a file, before :meth:`index`."""
        self.by_stem.setdefault(stem_of(reference), []).append(reference)

    def stems(self) -> Counter[str]:
        """Stem to the number of its files."""
        return Counter({stem: len(files) for stem, files in self.by_stem.items()})

    def index(self, *labels: Counter[str]) -> None:
        """Prepare for :meth:`find`.

        Args:
            labels: Stem to the number of labels of one kind. A stem that comes twice,
                or a bare number, is no name of a recording by itself.
        """
        for stem, references in self.by_stem.items():
            shared = len(references) > 1 or any(count[stem] > 1 for count in labels)
            if shared or stem.isdecimal():
                self.repeated.add(stem)
                for reference in references:
                    *_, above, folder, _ = ["", "", *self._parts(reference)]
                    for key in (f"{folder}/{stem}", f"{above}//{stem}"):
                        self.by_folder.setdefault(key, []).append(reference)

    def find(self, *names: str) -> str:
        """The file that fits a name; empty where there is none.

        Args:
            names: What it may be called, the likeliest first: its label as a
                reference, or a path that the label gives. Stems must be equal and the
                splits must not differ. Where the stem repeats, the folder must be
                equal too, and the longest common run of folders decides.
        """
        for name in names:
            fitting = self._fitting(name)
            if fitting:
                wanted = self._parts(name)
                return max(fitting, key=partial(self._affinity, wanted))
        return ""

    def _fitting(self, name: str) -> list[str]:
        stem = stem_of(name)
        found = self.by_stem.get(stem, [])
        if stem in self.repeated:
            *_, above, folder, _ = ["", "", *self._parts(name)]
            keys = (f"{folder}/{stem}", f"{folder}//{stem}", f"{above}/{stem}")
            found = next((self.by_folder[k] for k in keys if k in self.by_folder), [])
        split = split_of(name, self.root)
        return [
            reference
            for reference in found
            if not split or split_of(reference, self.root) in ("", split)
        ]

    def _affinity(self, wanted: list[str], reference: str) -> int:
        return _common(wanted, self._parts(reference))

    def name_of(self, reference: str) -> str:
        """The shortest end of a file's path that no other file shares, by ``_``."""
        stem = stem_of(reference)
        if stem not in self.repeated:
            return stem
        parts = self._parts(reference)
        *_, folder, _ = ["", *parts]
        others = (o for o in self.by_folder[f"{folder}/{stem}"] if o != reference)
        shared = max((_common(parts, self._parts(o)) for o in others), default=1)
        return "_".join(parts[-1 - shared :])

    def _parts(self, reference: str) -> list[str]:
        """Folders and stem below the root, without what tells audio from label."""
        path = _path(reference.removeprefix(self.root))
        for pattern, instead in SIDES:
            path = pattern.sub(instead, path)
        folders = [part for part in path.split("/")[:-1] if part]
        return [*folders, stem_of(reference)]


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
