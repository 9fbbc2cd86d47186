"""Translations from tables of parallel sentences: xlsx, csv, tsv, json.

A corpus of speech without English may share its sentences with a corpus of parallel
text: each row there holds a Korean sentence, its English, and often an id.
"""

import codecs
import csv
import unicodedata
import zlib
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import BinaryIO
from weakref import finalize
from xml.etree.ElementTree import ParseError
from zipfile import BadZipFile

from espnet_smoe.data.sorted_file import Listed, Lookup
from espnet_smoe.data.text.json_rows import Damaged, NoRows, read_rows
from espnet_smoe.data.text.unicode_text import normalize_unicode
from espnet_smoe.plugins import import_extra

# (source, target) as AIHub's corpora name them; the first pair that a table has.
COLUMN_PAIRS = (
    ("원문", "최종번역문"),
    ("원문", "번역문"),
    ("한국어", "영어"),
    ("ko", "en"),
)
ID_COLUMNS = ("sid", "id", "sn")  # in any case
ENCODINGS = ("utf-8-sig", "cp949")
BLOCK = 1 << 20  # bytes


class Translations:
    """Translations by the id and by the sentence that they belong to, on the disk.

    Args:
        scratch: Folder that receives them; by default one of the system, which goes
            with the object.

    Attributes:
        skipped: Rows that lack the source or the target.
        conflicts: Rows whose source had another translation already; the first stays.
        shared_ids: Ids that stand at different sentences: nothing is found by them.

    Example:
        >>> table = Translations()
        >>> table.add("어디 가니?", "Where are you going?", "S-1")
        >>> table.find("어디  가니"), table.find("모르는 말", "S-1")
        ('Where are you going?', 'Where are you going?')
    """

    def __init__(self, scratch: Path | None = None):
        if scratch is None:
            scratch = Path(mkdtemp())
            finalize(self, rmtree, scratch)
        self._scratch = scratch
        self._rows = Listed(scratch)  # sentence key, target, identifier
        self._indexed = 0  # rows, when they were last sorted
        self._by_id = self._by_source = Lookup((), scratch)
        self.skipped = self._conflicts = self._shared_ids = 0

    @classmethod
    def read(
        cls,
        paths: Iterable[Path | str],
        columns: Mapping[str, str] | None = None,
        scratch: Path | None = None,
    ) -> "Translations":
        """Read tables of parallel sentences.

        Args:
            paths: Files ``.xlsx``, ``.csv``, ``.tsv`` or ``.json`` (a list of rows,
                or a dict with such a list under ``data``).
            columns: Names of the columns, ``{"source": ..., "target": ...}`` and, if
                there is one, ``"id"``. By default the names of AIHub's corpora.
            scratch: See the class.

        Raises:
            ValueError: A file does not exist, cannot be read or lacks the columns.
            ImportError: A file is ``.xlsx`` and openpyxl is not installed.
        """
        _check_names(columns)
        translations = cls(scratch)
        for path in map(Path, paths):
            for row in _read_rows(path, columns):
                translations.add(*row)
        return translations

    @property
    def conflicts(self) -> int:
        """See the class."""
        self._index()
        return self._conflicts

    @property
    def shared_ids(self) -> int:
        """See the class."""
        self._index()
        return self._shared_ids

    def add(self, source: str, target: str, identifier: str = "") -> None:
        """Take in one row; of two translations of a sentence the first stays."""
        source, target = normalize_unicode(source), normalize_unicode(target)
        if not source or not target:
            self.skipped += 1
            return
        self._rows.append([sentence_key(source), target, identifier])

    def find(self, source: str, identifier: str | None = None) -> str | None:
        """Translation by id, else by exact sentence, else None.

        Args:
            source: The sentence. Unicode form, white space and punctuation at its end
                make no difference.
            identifier: Its id in the parallel corpus, where it is known.
        """
        if not self._rows:
            return None
        self._index()
        found = next(self._by_id.find(identifier), None) if identifier else None
        return found or next(self._by_source.find(sentence_key(source)), None)

    def _index(self) -> None:
        """Sort the rows, if more have come."""
        if self._indexed == len(self._rows):
            return
        self._indexed = len(self._rows)
        self._conflicts = self._shared_ids = 0
        self._by_source = Lookup(self._first_of_source(), self._scratch)
        self._by_id = Lookup(self._only_of_id(), self._scratch)

    def _first_of_source(self) -> Iterator[tuple[str, str]]:
        rows = ((key, target) for key, target, _ in self._rows if key)
        for key, targets in Lookup(rows, self._scratch).groups():
            first = next(targets)
            self._conflicts += sum(target != first for target in targets)
            yield key, first

    def _only_of_id(self) -> Iterator[tuple[str, str]]:
        rows = ((one, [key, target]) for key, target, one in self._rows if one)
        for identifier, sentences in Lookup(rows, self._scratch).groups():
            key, target = next(sentences)
            if all(other == key for other, _ in sentences):
                yield identifier, target
            else:
                self._shared_ids += 1


def sentence_key(text: str) -> str:
    """What two writings of the same sentence have in common."""
    text = normalize_unicode(text)
    while text and unicodedata.category(text[-1])[0] in "PZ":
        text = text[:-1]
    return text


def encoding_of(path: Path | str) -> str:
    """Encoding of a text file: UTF-16 with its mark, UTF-8 or CP949.

    Raises:
        ValueError: The file is in none of them.
    """
    with open(path, "rb") as file:
        if encoding := encoding_in(file):
            return encoding
    raise ValueError(f"{path}: neither UTF-8 nor CP949. Convert it with iconv.")


def encoding_in(file: BinaryIO) -> str:
    """See `encoding_of`; empty where it is in none of them."""
    marked = file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    for encoding in ("utf-16",) if marked else ENCODINGS:
        file.seek(0)
        decoder = codecs.getincrementaldecoder(encoding)()
        try:
            for block in iter(lambda: file.read(BLOCK), b""):
                decoder.decode(block)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            continue
        return encoding
    return ""


# Rows of a file

Row = tuple[str, str, str]  # source, target, identifier or ""
Table = Iterator[Iterable[object]]
DAMAGE = (
    BadZipFile,
    EOFError,
    KeyError,  # a part of the workbook is missing
    ParseError,
    csv.Error,
    Damaged,
    zlib.error,
)


def _check_names(columns: Mapping[str, str] | None) -> None:
    if columns is None:
        return
    if not {"source", "target"} <= set(columns) <= {"source", "target", "id"}:
        raise ValueError(
            f"columns of a parallel text: got {', '.join(columns) or 'nothing'}. "
            "Name 'source' and 'target', and 'id' if the table has one."
        )


def _read_rows(path: Path, columns: Mapping[str, str] | None) -> Iterator[Row]:
    readers = {".xlsx": _sheets, ".csv": _csv, ".tsv": _csv, ".json": _json}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        known = " ".join(readers)
        raise ValueError(f"{path}: unknown kind of table. Save it as one of {known}.")
    if not path.is_file():
        raise ValueError(f"{path} does not exist. Correct the path of the table.")
    try:
        yield from _pick_rows(path, reader(path), columns)
    except DAMAGE as error:
        raise ValueError(
            f"{path}: damaged, or not a {path.suffix} file ({error}). "
            "Download or save it again."
        ) from error


def _pick_rows(
    path: Path, tables: Iterator[Table], columns: Mapping[str, str] | None
) -> Iterator[Row]:
    seen: list[str] = []
    found = False
    for table in tables:
        # Spreadsheets begin and end in empty rows.
        rows = (row for row in map(_cells, table) if any(row))
        header = next(rows, [])
        places = _places(header, columns)
        if places is None:
            seen += filter(None, header)
            continue
        found = True
        for row in rows:
            row += [""] * (len(header) - len(row))
            source, target, identifier = places
            yield (
                row[source],
                row[target],
                "" if identifier is None else row[identifier],
            )
    if not found:
        raise ValueError(
            f"{path}: no column pair {_wanted(columns)}; its columns are "
            f"{', '.join(dict.fromkeys(seen)) or 'none'}. Name the right ones: "
            "columns: {source: ..., target: ..., id: ...} (id is optional)."
        )


def _cells(values: Iterable[object]) -> list[str]:
    return ["" if value is None else normalize_unicode(str(value)) for value in values]


def _places(
    header: list[str], columns: Mapping[str, str] | None
) -> tuple[int, int, int | None] | None:
    """Places of source, target and id in a row; None where the pair is not there."""
    if columns:
        names = {role: normalize_unicode(name) for role, name in columns.items()}
        if not set(names.values()) <= set(header):
            return None
        at = {role: header.index(name) for role, name in names.items()}
        return at["source"], at["target"], at.get("id")
    for source, target in COLUMN_PAIRS:
        if source in header and target in header:
            lower = [name.lower() for name in header]
            ids = [lower.index(name) for name in ID_COLUMNS if name in lower]
            return header.index(source), header.index(target), ids[0] if ids else None
    return None


def _wanted(columns: Mapping[str, str] | None) -> str:
    if columns:
        return " with ".join(columns.values())
    return " or ".join("/".join(pair) for pair in COLUMN_PAIRS)


# Tables of a file, one a sheet: rows, the header first


def _sheets(path: Path) -> Iterator[Table]:
    """Every sheet of a workbook, read as a stream."""
    openpyxl = import_extra("openpyxl", "corpora", str(path))
    book = openpyxl.load_workbook(path, read_only=True, data_only=True)
    try:
        for sheet in book.worksheets:
            sheet.reset_dimensions()  # some programs write a wrong size
            yield sheet.iter_rows(values_only=True)
    finally:
        book.close()


def _csv(path: Path) -> Iterator[Table]:
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    with open(path, encoding=encoding_of(path), newline="") as lines:
        yield csv.reader(lines, delimiter=delimiter)


def _json(path: Path) -> Iterator[Table]:
    encoding = encoding_of(path)
    try:
        with open(path, encoding=encoding, newline="") as file:
            header = list(dict.fromkeys(chain.from_iterable(read_rows(file))))
        with open(path, encoding=encoding, newline="") as file:
            cells = ([row.get(name) for name in header] for row in read_rows(file))
            yield chain([header], cells)
    except NoRows as error:
        raise ValueError(
            f"{path}: neither a list of rows nor a dict with such a list under 'data'. "
            "Convert it to csv."
        ) from error
