"""Check the tables of a data directory against each other."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from espnet_smoe.data.data_dir import LANGUAGES, NO_TRANSLATION
from espnet_smoe.data.problems import Problem
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


def check_tables(
    directory: Path | str,
    tables: dict[str, dict[str, str]],
    problems: list[Problem],
    bandwidth: str = "file",
    labels: Sequence[str] = ("nb", "wb"),
    changes: Counter[str] | None = None,
    targets: Sequence[str] = DEFAULT_TARGETS,
) -> list[Utterance]:
    """Join the tables of a data directory by utterance.

    Args:
        directory: Where they come from, for messages.
        tables: The tables by file name, of
            :func:`~espnet_smoe.data.data_dir.read_tables`.
        problems: Receives what is wrong.
        bandwidth: ``file`` wants a line of ``utt2bandwidth`` for each utterance;
            ``auto`` or a label stands in where a line is missing.
        labels: The bandwidths that the model knows.
        changes: Receives how many texts were not in the one Unicode form, by class.
        targets: Files of texts that every utterance gets, ``<na>`` where it has none,
            beside those that are there.

    Returns:
        Every utterance of ``wav.scp``, in its order, texts in the one Unicode form.
        Those with problems are among them.
    """
    checker = _Checker(Path(directory), tables, problems)
    changes = Counter() if changes is None else changes
    checker.report_unlisted()
    present = [name for name in tables if name.startswith("text_")]
    others = dict.fromkeys(name for name in [*targets, *present] if name != "text")
    utterances = []
    for utt, wav in tables["wav.scp"].items():
        texts = {"text": checker.text(utt, changes)}
        texts |= {name: checker.other_text(name, utt, changes) for name in others}
        if not wav:
            checker.report("wav.scp", utt, "no path", "Write it after the id")
        utterances.append(
            Utterance(
                id=utt,
                wav=wav,
                texts=texts,
                bandwidth=checker.bandwidth(utt, bandwidth, labels),
                speaker=tables.get("utt2spk", {}).get(utt) or utt,
                condition=tables.get("utt2condition", {}).get(utt, ""),
                speed=checker.speed(utt),
                language=checker.language(utt),
            )
        )
    return utterances


class _Checker:
    def __init__(
        self,
        directory: Path,
        tables: dict[str, dict[str, str]],
        problems: list[Problem],
    ) -> None:
        self.directory = directory
        self.tables = tables
        self.problems = problems

    def report(self, file: str, utterance: str, cause: str, fix: str) -> None:
        place = str(self.directory / file)
        self.problems.append(Problem(place, utterance, cause, fix))

    def report_unlisted(self) -> None:
        """Report the lines of other tables whose utterance has no audio."""
        # those whose line there, or in segments, is at fault have been reported
        known = self.tables["wav.scp"].keys() | {p.utterance for p in self.problems}
        for name, table in self.tables.items():
            for utt in table:
                if utt not in known:
                    fix = f"Add it to wav.scp or remove it from {name}"
                    self.report(name, utt, "it is not in wav.scp", fix)

    def text(self, utt: str, changes: Counter[str]) -> str:
        written = self.tables["text"].get(utt)
        if written is None:
            fix = "Add its transcript or remove it from wav.scp"
            self.report("text", utt, "it is in wav.scp but not in text", fix)
            return ""
        fix = "Write its transcript after the id or remove it"
        return self._normalized("text", utt, written, fix, changes)

    def other_text(self, file: str, utt: str, changes: Counter[str]) -> str:
        written = self.tables.get(file, {}).get(utt, NO_TRANSLATION)
        fix = f"Write its translation, or {NO_TRANSLATION} where it has none"
        return self._normalized(file, utt, written, fix, changes)

    def _normalized(
        self, file: str, utt: str, written: str, fix: str, changes: Counter[str]
    ) -> str:
        """The one Unicode form of a text, which has to say something."""
        text = normalize_unicode(written, changes)
        what = "text" if file == "text" else "translation"
        if not written:
            self.report(file, utt, f"the {what} is empty", fix)
        elif not text:
            names = " ".join(invisible_characters(written))
            cause = f"the {what} is empty but for invisible characters ({names})"
            self.report(file, utt, cause, fix)
        elif LOST in text:
            cause = f"the {what} holds U+FFFD, the mark of a lost character"
            self.report(file, utt, cause, "Take it from its source again, in UTF-8")
        return text

    def bandwidth(self, utt: str, default: str, labels: Sequence[str]) -> str:
        label = self.tables.get("utt2bandwidth", {}).get(utt, "")
        if label:
            if label not in labels:
                cause = f"unknown bandwidth '{label}'"
                fix = f"Use one of: {' '.join(labels)}"
                self.report("utt2bandwidth", utt, cause, fix)
        elif default != "file":
            return default
        elif "utt2bandwidth" in self.tables:
            fix = f"Write one of {' '.join(labels)}, or run with --bandwidth auto"
            self.report("utt2bandwidth", utt, "no bandwidth", fix)
        return label

    def language(self, utt: str) -> str:
        if LANGUAGES not in self.tables:
            return ""
        language = self.tables[LANGUAGES].get(utt, "")
        if len(language.split()) != 1:
            cause = f"'{language}' is no language" if language else "no language"
            self.report(LANGUAGES, utt, cause, "Write a code such as es")
        return language

    def speed(self, utt: str) -> float:
        value = self.tables.get("utt2speed", {}).get(utt, "1.0")
        try:
            speed = float(value)
        except ValueError:
            speed = 0.0
        if not 0.25 <= speed <= 4:
            cause = f"speed factor '{value}' is not a number from 0.25 to 4"
            self.report("utt2speed", utt, cause, "Run stage 2 again")
            return 1.0
        return speed
