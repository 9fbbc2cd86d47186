"""Transcripts of a data directory in words, and in modelling units.

The words of all utterances stand in a file, so that none of them stays in memory.
"""

import tempfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from espnet_smoe.data.data_dir import (
    OPTIONAL_TABLES,
    WAV_SCP,
    new_lines,
    read_table,
    write_lines,
    write_table,
)
from espnet_smoe.data.problems import ProblemLog, split_message
from espnet_smoe.data.sorted_rows import read_records, sorted_records
from espnet_smoe.data.task_table import find_targets
from espnet_smoe.data.text.lexicon import no_reading
from espnet_smoe.data.text.mandarin import Segmenter, Syllables
from espnet_smoe.data.text.tokens import UNKNOWN

TEXT_SYLLABLE = "text_syllable"
SKIPPED = "skipped.tsv"
TABLES = (WAV_SCP, *OPTIONAL_TABLES, "utt2num_samples")  # beside the texts
GIVE_READING = (
    "Correct the text, or give the reading: a line 'word unit unit' in --words"
)
LISTEN = "Listen, and write what is said"
TRANSCRIBE = "Transcribe it, or take it out of the data directory"
FULL_INVENTORY = "Use --inventory full"


@dataclass
class TextSet:
    """The transcripts of one data directory, cut into words.

    Attributes:
        directory: Where it is.
        words: A file of lines ``utterance word word``.
        count: How many utterances there are.
    """

    directory: Path
    words: Path
    count: int = 0

    @property
    def name(self) -> str:
        """Name of the folder."""
        return self.directory.resolve().name

    @property
    def text(self) -> str:
        """The file of the transcripts, for messages."""
        return str(self.directory / "text")

    def sentences(self) -> Iterator[tuple[str, list[str]]]:
        """Each utterance and its words."""
        for record in read_records(self.words):
            yield record.key, record.value.split()


def read_set(
    directory: Path, segmenter: Segmenter, scratch: Path, log: ProblemLog
) -> TextSet:
    """Read and segment the transcripts of a data directory.

    Args:
        directory: The data directory.
        segmenter: Cuts a text into words.
        scratch: Folder that receives the words.
        log: Receives doubtful readings, and lines that cannot be read.

    Raises:
        ValueError: There is no file ``text``, or it is empty.
    """
    path = directory / "text"
    if not path.is_file():
        raise ValueError(f"{path} does not exist; stages 3 and 4 make it.")
    scratch = Path(tempfile.mkdtemp(dir=scratch))
    found = TextSet(directory, scratch / "words")
    with new_lines(found.words) as write:
        for line in sorted_records(path, scratch):
            if line.fault:
                cause, fix = split_message(ValueError(line.fault))
                reason = "unreadable line"
                log.drop(found.name, reason, line.place, line.key, cause, fix)
                continue
            doubts: list[str] = []
            write(" ".join((line.key, *segmenter(line.value, doubts))))
            found.count += 1
            if doubts:
                cause = f"may be read otherwise or not at all: {'; '.join(doubts)}"
                what = (found.text, line.key, cause, LISTEN)
                log.keep(found.name, "doubtful reading", *what)
    if not found.count:
        raise ValueError(f"{path} holds no transcript; see stages 3 and 4.")
    return found


def leave_out_bad(train: TextSet, syllables: Syllables, log: ProblemLog) -> None:
    """Take the utterances with words that have no reading out of a data directory.

    Its tables are rewritten; ``skipped.tsv`` in it names these utterances, those of
    earlier runs too.

    Raises:
        ValueError: Nothing would be left.
    """
    bad: dict[str, str] = {}
    for utt, words in train.sentences():
        causes = _causes(words, syllables)
        if causes:
            bad[utt] = "; ".join(causes)
            log.drop(train.name, "left out", train.text, utt, bad[utt], GIVE_READING)
    if len(bad) == train.count:
        raise ValueError(
            f"{train.text}: every utterance has a word without a reading, such as: "
            f"{next(iter(bad.values()))}. The text has to be Mandarin or English."
        )
    if not bad:
        return
    present = [name for name in TABLES if (train.directory / name).is_file()]
    tables = [*present, *find_targets(train.directory)]
    for path in [train.words, *(train.directory / name for name in tables)]:
        lines = (line for line in read_records(path) if not line.fault)
        kept = (f"{line.key} {line.value}" for line in lines if line.key not in bad)
        write_lines(path, kept)
    train.count -= len(bad)
    write_table(train.directory / SKIPPED, skipped(train) | bad)


def skipped(train: TextSet) -> dict[str, str]:
    """Utterances that an earlier run left out, and that are not back since."""
    path = train.directory / SKIPPED
    table = read_table(path, []) if path.is_file() else {}
    for utt, _ in train.sentences() if table else ():
        table.pop(utt, None)
    return table


def _causes(words: list[str], syllables: Syllables) -> list[str]:
    if not words:
        return ["nothing is said in the text"]
    unread = (word for word in words if not syllables.units(word))
    return [no_reading(word) for word in dict.fromkeys(unread)]


def write_units(
    data: TextSet, syllables: Syllables, tokens: Collection[str], log: ProblemLog
) -> int:
    """Write ``text_syllable``.

    Args:
        data: The utterances.
        syllables: How their words are read.
        tokens: The units that the model knows; others become ``<unk>``.
        log: Receives what became ``<unk>``.

    Returns:
        How many utterances hold an ``<unk>``.
    """
    odd = 0
    with new_lines(data.directory / TEXT_SYLLABLE) as write:
        for utt, words in data.sentences():
            units = [unit for w in words for unit in syllables.units(w) or [UNKNOWN]]
            units = units or [UNKNOWN]
            for cause in _causes(words, syllables):
                fix = GIVE_READING if words else TRANSCRIBE
                log.keep(data.name, "no reading", data.text, utt, cause, fix)
            for unit in dict.fromkeys(units):
                if unit not in tokens:
                    cause = f"the syllable '{unit}' is not in the inventory"
                    reason = "not in the inventory"
                    log.keep(data.name, reason, data.text, utt, cause, FULL_INVENTORY)
            units = [unit if unit in tokens else UNKNOWN for unit in units]
            odd += UNKNOWN in units
            write(" ".join((utt, *units)))
    return odd
