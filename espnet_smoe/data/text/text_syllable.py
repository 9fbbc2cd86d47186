"""Transcripts of a data directory in words, and in modelling units."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from espnet_smoe.data.data_dir import (
    OPTIONAL_TABLES,
    WAV_SCP,
    read_table,
    write_table,
)
from espnet_smoe.data.problems import Problem, ProblemLog
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
        sentences: Utterance to its words.
    """

    directory: Path
    sentences: dict[str, list[str]]

    @property
    def name(self) -> str:
        """Name of the folder."""
        return self.directory.resolve().name

    @property
    def text(self) -> str:
        """The file of the transcripts, for messages."""
        return str(self.directory / "text")


def read_set(directory: Path, segmenter: Segmenter, log: ProblemLog) -> TextSet:
    """Read and segment the transcripts of a data directory.

    Raises:
        ValueError: There is no file ``text``, or it is empty.
    """
    path = directory / "text"
    if not path.is_file():
        raise ValueError(f"{path} does not exist; stages 3 and 4 make it.")
    problems: list[Problem] = []
    table = read_table(path, problems)
    if not table:
        raise ValueError(f"{path} holds no transcript; see stages 3 and 4.")
    found = TextSet(directory, {})
    for utt, text in table.items():
        doubts: list[str] = []
        found.sentences[utt] = segmenter(text, doubts)
        if doubts:
            cause = f"may be read otherwise or not at all: {'; '.join(doubts)}"
            log.keep(found.name, "doubtful reading", found.text, utt, cause, LISTEN)
    for p in problems:
        log.drop(found.name, "unreadable line", p.file, p.utterance, p.cause, p.fix)
    return found


def leave_out_bad(train: TextSet, syllables: Syllables, log: ProblemLog) -> None:
    """Take the utterances with words that have no reading out of a data directory.

    Its tables are rewritten; ``skipped.tsv`` in it names these utterances, those of
    earlier runs too.

    Raises:
        ValueError: Nothing would be left.
    """
    bad: dict[str, str] = {}
    for utt, words in train.sentences.items():
        causes = _causes(words, syllables)
        if causes:
            bad[utt] = "; ".join(causes)
            log.drop(train.name, "left out", train.text, utt, bad[utt], GIVE_READING)
    if len(bad) == len(train.sentences):
        raise ValueError(
            f"{train.text}: every utterance has a word without a reading, such as: "
            f"{next(iter(bad.values()))}. The text has to be Mandarin or English."
        )
    if not bad:
        return
    present = [name for name in TABLES if (train.directory / name).is_file()]
    for name in [*present, *find_targets(train.directory)]:
        table = read_table(train.directory / name, [])
        kept = {utt: value for utt, value in table.items() if utt not in bad}
        write_table(train.directory / name, kept)
    train.sentences = {u: words for u, words in train.sentences.items() if u not in bad}
    write_table(train.directory / SKIPPED, skipped(train) | bad)


def skipped(train: TextSet) -> dict[str, str]:
    """Utterances that an earlier run left out, and that are not back since."""
    path = train.directory / SKIPPED
    table = read_table(path, []) if path.is_file() else {}
    return {utt: why for utt, why in table.items() if utt not in train.sentences}


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
    lines, odd = {}, 0
    for utt, words in data.sentences.items():
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
        lines[utt] = " ".join(units)
    write_table(data.directory / TEXT_SYLLABLE, lines)
    return odd
