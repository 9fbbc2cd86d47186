"""Check the tables of a data directory against each other."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from espnet_smoe.data.data_dir import (
    LANGUAGES,
    NO_TRANSLATION,
    WAV_SCP,
    find_tables,
)
from espnet_smoe.data.problems import Problem
from espnet_smoe.data.sorted_rows import Row
from espnet_smoe.data.task_table import targets_of, task_table
from espnet_smoe.data.text.unicode_text import (
    LOST,
    invisible_characters,
    normalize_unicode,
)

AUTO = "auto"
DEFAULT_TARGETS = tuple(targets_of(task_table()))


@dataclass(frozen=True)
class Utterance:
    """What the tables say of one utterance.

    Attributes:
        id: Its name.
        wav: Path of its audio.
        texts: Its texts by file, ``text`` and those of other tasks such as ``text_st``;
            ``<na>`` where there is none.
        bandwidth: Label such as ``nb``; ``auto`` where the audio has to tell.
        speaker: Its speaker.
        condition: Where the audio went through, such as ``amr_nb``; empty if unknown.
        speed: Factor of speed perturbation.
        language: That is spoken, such as ``es``; empty without ``utt2lang``.
    """

    id: str
    wav: str
    texts: dict[str, str] = field(hash=False)
    bandwidth: str
    speaker: str
    condition: str
    speed: float = 1.0
    language: str = ""


@dataclass(frozen=True)
class Checker:
    """Checks what the tables of a data directory say of each utterance.

    Args:
        directory: Where they come from.
        bandwidth: ``file`` wants a line of ``utt2bandwidth`` for each utterance;
            ``auto`` or a label stands in where a line is missing.
        labels: The bandwidths that the model knows.
        targets: Files of texts that every utterance gets, ``<na>`` where it has none,
            beside those that are there.
        changes: Receives how many texts were not in the one Unicode form, by class.

    Raises:
        ValueError: The directory lacks ``wav.scp`` or ``text``.
    """

    directory: Path
    bandwidth: str = "file"
    labels: Sequence[str] = ("nb", "wb")
    targets: Sequence[str] = DEFAULT_TARGETS
    changes: Counter[str] = field(default_factory=Counter)

    @cached_property
    def present(self) -> frozenset[str]:
        """The tables that are there."""
        return frozenset(find_tables(self.directory))

    @cached_property
    def texts(self) -> list[str]:
        """Files of texts that every utterance gets, ``text`` first."""
        there = sorted(name for name in self.present if name.startswith("text_"))
        return list(dict.fromkeys(["text", *self.targets, *there]))

    def check(self, row: Row) -> tuple[Utterance | None, list[Problem]]:
        """Check one utterance.

        Returns:
            The utterance, texts in the one Unicode form; None where ``wav.scp`` has
            none of that name. And what is wrong with it.
        """
        if WAV_SCP not in row.values:
            return None, row.problems
        checked = _CheckedRow(self, row, list(row.problems))
        utterance = Utterance(
            id=row.id,
            wav=checked.wav(),
            texts={name: checked.text(name) for name in self.texts},
            bandwidth=checked.bandwidth(),
            speaker=row.values.get("utt2spk") or row.id,
            condition=row.values.get("utt2condition", ""),
            speed=checked.speed(),
            language=checked.language(),
        )
        return utterance, checked.problems


@dataclass(frozen=True)
class _CheckedRow:
    checker: Checker
    row: Row
    problems: list[Problem]

    def report(self, file: str, cause: str, fix: str) -> None:
        place = str(self.checker.directory / file)
        self.problems.append(Problem(place, self.row.id, cause, fix))

    def wav(self) -> str:
        if not self.row.values[WAV_SCP]:
            self.report(WAV_SCP, "no path", "Write it after the id")
        return self.row.values[WAV_SCP]

    def text(self, file: str) -> str:
        """The one Unicode form of a text, which has to say something."""
        written = self.row.values.get(file)
        what, fix = "text", "Write its transcript after the id or remove it"
        if file != "text":
            what = "translation"
            fix = f"Write its translation, or {NO_TRANSLATION} where it has none"
            written = NO_TRANSLATION if written is None else written
        if written is None:
            fix = "Add its transcript or remove it from wav.scp"
            self.report(file, "it is in wav.scp but not in text", fix)
            return ""
        text = normalize_unicode(written, self.checker.changes)
        if not written:
            self.report(file, f"the {what} is empty", fix)
        elif not text:
            names = " ".join(invisible_characters(written))
            cause = f"the {what} is empty but for invisible characters ({names})"
            self.report(file, cause, fix)
        elif LOST in text:
            cause = f"the {what} holds U+FFFD, the mark of a lost character"
            self.report(file, cause, "Take it from its source again, in UTF-8")
        return text

    def bandwidth(self) -> str:
        file, labels = "utt2bandwidth", self.checker.labels
        label = self.row.values.get(file, "")
        if label:
            if label not in labels:
                fix = f"Use one of: {' '.join(labels)}"
                self.report(file, f"unknown bandwidth '{label}'", fix)
        elif self.checker.bandwidth != "file":
            return self.checker.bandwidth
        elif file in self.checker.present:
            fix = f"Write one of {' '.join(labels)}, or run with --bandwidth auto"
            self.report(file, "no bandwidth", fix)
        return label

    def language(self) -> str:
        if LANGUAGES not in self.checker.present:
            return ""
        language = self.row.values.get(LANGUAGES, "")
        if len(language.split()) != 1:
            cause = f"'{language}' is no language" if language else "no language"
            self.report(LANGUAGES, cause, "Write a code such as es")
        return language

    def speed(self) -> float:
        value = self.row.values.get("utt2speed", "1.0")
        try:
            speed = float(value)
        except ValueError:
            speed = 0.0
        if not 0.25 <= speed <= 4:
            cause = f"speed factor '{value}' is not a number from 0.25 to 4"
            self.report("utt2speed", cause, "Run stage 2 again")
            return 1.0
        return speed
