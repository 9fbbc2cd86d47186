"""Data directories: one line an utterance, one file a fact.

A table is a text file of lines ``utterance value``. Reading collects every fault
as a :class:`Problem` instead of stopping at the first, so that a user sees the
whole list once.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

NO_TRANSLATION = "<na>"
REQUIRED_TABLES = ("wav.scp", "text")
OPTIONAL_TABLES = (
    "text_st",
    "utt2bandwidth",
    "utt2spk",
    "utt2condition",
    "utt2speed",
)


@dataclass(frozen=True)
class Problem:
    """One fault in the data: where it is, what it is, how to mend it.

    Attributes:
        file: The file that holds the fault.
        utterance: The utterance's id.
        cause: What is wrong.
        cure: What the user can do about it.
    """

    file: str
    utterance: str
    cause: str
    cure: str

    def __str__(self) -> str:
        return f"{self.file}: utterance {self.utterance}: {self.cause}. {self.cure}."


def read_table(path: Path | str, problems: list[Problem]) -> dict[str, str]:
    """Read the lines ``utterance value`` of a file.

    Runs of white space in a value become one space, since they carry nothing and
    ESPnet's readers drop some of them anyway.

    Args:
        path: The file, in UTF-8.
        problems: Receives doubled ids and lines that are not UTF-8.

    Returns:
        Utterance to value; the value of a line that holds only an id is empty.
        Of a doubled id the first line is kept.
    """
    table: dict[str, str] = {}
    with open(path, "rb") as lines:
        for number, raw in enumerate(lines, 1):
            words = raw.decode("utf-8-sig", errors="replace").split()
            if not words:
                continue
            utterance, value = words[0], " ".join(words[1:])
            place = f"{path}:{number}"
            if not _is_utf8(raw):
                problems.append(
                    Problem(place, utterance, "not UTF-8", "Convert it with iconv")
                )
            elif utterance in table:
                problems.append(
                    Problem(place, utterance, "the id is used twice", "Rename one")
                )
            else:
                table[utterance] = value
    return table


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def read_tables(directory: Path | str) -> tuple[dict[str, dict[str, str]], list]:
    """Read every table of a data directory.

    Returns:
        The tables by file name (optional files that are absent are left out), and
        the problems met.

    Raises:
        ValueError: The directory, ``wav.scp`` or ``text`` does not exist.
    """
    directory = Path(directory)
    problems: list[Problem] = []
    tables = {}
    for name in REQUIRED_TABLES + OPTIONAL_TABLES:
        path = directory / name
        if path.is_file():
            tables[name] = read_table(path, problems)
        elif name in REQUIRED_TABLES:
            raise ValueError(
                f"{path} does not exist. A data directory holds "
                f"{' and '.join(REQUIRED_TABLES)}, one line an utterance; "
                "the recipe's stage 1 (local/data.sh) makes it."
            )
    return tables, problems


def write_table(path: Path | str, table: Mapping[str, object]) -> None:
    """Write lines ``utterance value``; a reader never sees half a file."""
    write_lines(path, (f"{utt} {value}" for utt, value in table.items()))


def write_lines(path: Path | str, lines: Iterable[str]) -> None:
    """Write lines through a neighbouring file that is renamed when complete."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".part")
    with open(partial, "w", encoding="utf-8") as out:
        out.writelines(f"{line}\n" for line in lines)
    os.replace(partial, path)
