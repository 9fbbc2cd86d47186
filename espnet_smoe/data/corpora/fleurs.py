"""FLEURS (google/fleurs): speech of many languages, the same sentences in each.

For each language a folder such as ``ko_kr`` with ``train.tsv``, ``dev.tsv``,
``test.tsv`` and ``audio/test/*.wav``; the tables have no header: id, file name, raw
transcription, transcription, characters, samples, gender.
"""

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from espnet_smoe.data.corpora.base import Entry, gender_of
from espnet_smoe.data.corpora.tree import walk
from espnet_smoe.data.corpora.write import write_corpus
from espnet_smoe.data.problems import ProblemLog
from espnet_smoe.data.scratch import scratch_folder
from espnet_smoe.data.sorted_file import Lookup

NAME = "fleurs"
TEST = "test_fleurs"
KOREAN, ENGLISH = "ko_kr", "en_us"


class Row(NamedTuple):
    """One line of a table of FLEURS."""

    sentence: str
    file: str
    text: str
    gender: str


def prepare_fleurs(
    corpus_dir: Path,
    output_dir: Path,
    *,
    source: str = KOREAN,
    translation: str = ENGLISH,
    targets: Sequence[str] = (),
    nj: int | None = None,
) -> str:
    """google/fleurs: speech of one language, the same sentences in others.

    Args:
        corpus_dir: Folder of the languages' folders.
        output_dir: Where those of train, dev and test go that are there.
        source: The language that is spoken.
        translation: The language of text_st.
        targets: Further languages, such as ja_jp for text_ja.
        nj: Processes that read audio; all cores by default.

    Returns:
        The report.

    Raises:
        ValueError: A folder or table is missing.
    """
    there = (corpus_dir / source).glob("*.tsv")
    splits = {table.stem: table.stem for table in sorted(there)} or {"test": "test"}
    languages = {f"text_{name.partition('_')[0]}": name for name in targets}
    log = ProblemLog(output_dir / "problems.tsv")
    with log, scratch_folder(output_dir, ".listed") as scratch:
        languages = {"text_st": translation} | languages
        listed = entries(corpus_dir, log, scratch, splits, source, languages)
        return write_corpus(listed, output_dir, nj=nj, log=log)


def entries(
    root: Path,
    log: ProblemLog,
    scratch: Path,
    splits: Mapping[str, str] = MappingProxyType({"test": TEST}),
    source: str = KOREAN,
    languages: Mapping[str, str] = MappingProxyType({"text_st": ENGLISH}),
) -> Iterator[Entry]:
    """Utterances of one language with the same sentences in others.

    Args:
        root: Folder that holds ``ko_kr`` and ``en_us``.
        log: Receives what is wrong.
        scratch: Folder for what is listed.
        splits: Stem of a table to the set that it becomes.
        source: Folder of the language that is spoken.
        languages: Target to the folder of its language.

    Raises:
        ValueError: A folder or table is missing.
    """
    sentences = {
        target: Lookup(_sentences(root, name, log), scratch)
        for target, name in languages.items()
    }
    for stem, split in splits.items():
        table = root / source / f"{stem}.tsv"
        audio = _audio(table, scratch)
        for row in _rows(table, log):
            path = _last(audio, row.file)
            if not path:
                reason, cause = "label without audio", f"no recording {row.file}"
                fix = f"Unpack audio/{stem}.tar.gz again"
                log.drop(NAME, reason, str(table), row.file, cause, fix)
                continue
            name = Path(row.file).stem
            texts = {t: _last(found, row.sentence) for t, found in sentences.items()}
            yield Entry(
                id=f"{NAME}-{name}",
                key=name,
                corpus=NAME,
                split=split,
                audio=path,
                text=row.text,
                gender=gender_of(row.gender),
                translation=texts.pop("text_st", ""),
                texts=texts,
                label=str(table),
            )


def _last(table: Lookup, key: str) -> str:
    *_, value = ["", *table.find(key)]
    return value


def _audio(table: Path, scratch: Path) -> Lookup:
    """File name -> recording, of the folder beside a table."""
    if not table.is_file():
        raise ValueError(
            f"{table} does not exist. Give the folder that holds {table.parent.name} "
            "and the other languages, as the data folder of google/fleurs does."
        )
    folder = table.parent / "audio"
    audio = Lookup(
        (
            (name, f"{place}/{name}")
            for place, names in walk(folder, scratch)
            for name in names
            if name.endswith(".wav")
        ),
        scratch,
    )
    if next(audio.records(), None) is None:
        raise ValueError(
            f"no .wav under {folder}. Unpack audio/{table.stem}.tar.gz there."
        )
    return audio


def _sentences(root: Path, language: str, log: ProblemLog) -> Iterator[tuple[str, str]]:
    """Id of a sentence and its text, of all tables of a language."""
    tables = sorted((root / language).glob("*.tsv"))
    if not tables:
        raise ValueError(
            f"no .tsv under {root / language}. Download {language} too: it holds "
            "the texts of each sentence."
        )
    return ((row.sentence, row.text) for t in tables for row in _rows(t, log))


def _rows(table: Path, log: ProblemLog) -> Iterator[Row]:
    with open(table, encoding="utf-8-sig", newline="") as lines:
        reader = csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
        for number, cells in enumerate(reader, 1):
            if len(cells) < 7:
                place, cause = f"{table}:{number}", f"{len(cells)} columns, not 7"
                fix = "Download the table again"
                log.drop(NAME, "unreadable label", place, "-", cause, fix)
                continue
            yield Row(cells[0], cells[1], cells[2], cells[6])
