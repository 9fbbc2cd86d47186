"""FLEURS (google/fleurs): Korean speech, English of the same sentence, a test set.

``ko_kr/test.tsv`` with ``ko_kr/audio/test/*.wav``, and ``en_us/*.tsv``; tables have no
header: id, file name, raw transcription, transcription, characters, samples, gender.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from espnet_smoe.data.corpora.base import Entry, Ledger, gender_of

NAME = "fleurs"
TEST = "test_fleurs"
KOREAN, ENGLISH = "ko_kr", "en_us"


class Row(NamedTuple):
    """One line of a table of FLEURS."""

    sentence: str
    file: str
    text: str
    gender: str


def entries(root: Path, ledger: Ledger) -> Iterator[Entry]:
    """Utterances of the Korean test table.

    Args:
        root: Folder that holds ``ko_kr`` and ``en_us``.
        ledger: Receives what is wrong.

    Raises:
        ValueError: A folder or table is missing.
    """
    table = root / KOREAN / "test.tsv"
    english = _english(root, ledger)
    if not table.is_file():
        raise ValueError(
            f"--fleurs: {table} does not exist. Give the folder that holds {KOREAN} "
            f"and {ENGLISH}, as the data folder of google/fleurs does."
        )
    audio = {
        path.name: path for path in sorted((table.parent / "audio").rglob("*.wav"))
    }
    if not audio:
        raise ValueError(
            f"--fleurs: no .wav under {table.parent / 'audio'}. Unpack "
            "audio/test.tar.gz there."
        )
    for row in _rows(table, ledger):
        if row.file not in audio:
            cause, cure = f"no recording {row.file}", "Unpack audio/test.tar.gz again"
            ledger.drop(NAME, "label without audio", str(table), row.file, cause, cure)
            continue
        stem = Path(row.file).stem
        yield Entry(
            id=f"{NAME}-{stem}",
            key=stem,
            corpus=NAME,
            split=TEST,
            audio=str(audio[row.file]),
            text=row.text,
            gender=gender_of(row.gender),
            translation=english.get(row.sentence, ""),
            label=str(table),
        )


def _english(root: Path, ledger: Ledger) -> dict[str, str]:
    tables = sorted((root / ENGLISH).glob("*.tsv"))
    if not tables:
        raise ValueError(
            f"--fleurs: no .tsv under {root / ENGLISH}. Download en_us too: it holds "
            "the English of each sentence."
        )
    return {row.sentence: row.text for t in tables for row in _rows(t, ledger)}


def _rows(table: Path, ledger: Ledger) -> Iterator[Row]:
    with open(table, encoding="utf-8-sig", newline="") as lines:
        reader = csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
        for number, cells in enumerate(reader, 1):
            if len(cells) < 7:
                place, cause = f"{table}:{number}", f"{len(cells)} columns, not 7"
                cure = "Download the table again"
                ledger.drop(NAME, "unreadable label", place, "-", cause, cure)
                continue
            yield Row(cells[0], cells[1], cells[2], cells[6])
