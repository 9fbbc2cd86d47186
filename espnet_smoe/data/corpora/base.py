"""What every corpus gives: entries, and faults that are counted by reason."""

from __future__ import annotations

import os
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from espnet_smoe.data.speech.audio import segment

MOST_FAULTS_SHOWN = 20
TRAIN, VALIDATION = "train", "validation"


@dataclass(slots=True)
class Entry:
    """One utterance as its corpus describes it.

    Attributes:
        id: Its name in the data directory, unique among all corpora.
        key: Its name in its own corpus, which a table of translations may use.
        corpus: Folder name of its corpus.
        split: ``train``, ``validation``, or a test set of its own (``eval_clean``).
        audio: Reference of its recording, see :mod:`espnet_smoe.data.speech.audio`.
        text: Transcript, with the marks of the corpus until it is normalised.
        start: Begin within the recording in seconds.
        end: End within the recording in seconds; None where it is all of it.
        speaker: Its speaker, unique among all corpora; empty where unknown.
        gender: ``m``, ``f``, or empty where unknown.
        translation: English, where the corpus has it; it becomes ``text_st``.
        texts: Texts of further tasks by file, such as ``text_ja``.
        rate: Sample rate in Hz that the label claims; 0 where it claims none.
        spoken_first: Dual forms are ``(spoken)/(written)``.
        label: File that the transcript comes from.
        seconds: Length, once it is measured.
        bandwidth: ``nb`` or ``wb``, once it is measured.
    """

    id: str
    key: str
    corpus: str
    split: str
    audio: str
    text: str
    start: float = 0.0
    end: float | None = None
    speaker: str = ""
    gender: str = ""
    translation: str = ""
    texts: dict[str, str] = field(default_factory=dict)
    rate: float = 0.0
    spoken_first: bool = False
    label: str = ""
    seconds: float = 0.0
    bandwidth: str = ""

    @property
    def reference(self) -> str:
        """What stands in ``wav.scp``."""
        if self.end is None:
            return self.audio
        return segment(self.audio, self.start, self.end)


@dataclass
class Ledger:
    """Everything that was found wrong: one line each in a file, counts by reason.

    Lines go to ``PATH.part``, which takes its name when the ledger is closed. The
    first 20 are shown on stderr as well.

    Attributes:
        path: The file, columns file, utterance, cause, cure, reason.
        dropped: (corpus, reason) to the number of things that were left out for it.
        kept: The same for utterances that were taken all the same.
        changed: (corpus, class of characters) to the number of texts that were not in
            the one Unicode form; they have no lines of their own.
    """

    path: Path
    dropped: Counter[tuple[str, str]] = field(default_factory=Counter)
    kept: Counter[tuple[str, str]] = field(default_factory=Counter)
    changed: Counter[tuple[str, str]] = field(default_factory=Counter)
    shown: int = 0

    def __enter__(self) -> Ledger:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.partial = self.path.with_name(self.path.name + ".part")
        # names of files need not be UTF-8
        self.lines = open(
            self.partial, "w", encoding="utf-8", errors="backslashreplace"
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.lines.close()
        os.replace(self.partial, self.path)  # after an error it says what led to it

    def drop(
        self,
        corpus: str,
        reason: str,
        file: str,
        utterance: str,
        cause: str,
        cure: str,
        count: int = 1,
    ) -> None:
        """Note what is left out: ``count`` utterances, or ``-`` for a whole file."""
        self.dropped[corpus, reason] += count
        self._write(reason, file, utterance, cause, cure)

    def keep(
        self, corpus: str, reason: str, file: str, utterance: str, cause: str, cure: str
    ) -> None:
        """Note what is odd but taken."""
        self.kept[corpus, reason] += 1
        self._write(reason, file, utterance, cause, cure)

    def _write(self, reason: str, *fields: str) -> None:
        row = [" ".join(str(value).split()) for value in (*fields, reason)]
        self.lines.write("\t".join(row) + "\n")
        if self.shown < MOST_FAULTS_SHOWN:
            file, utterance, cause, cure, _ = row
            what = f"{file}: " + ("" if utterance == "-" else f"{utterance}: ")
            print(f"{what}{cause}. {cure}.", file=sys.stderr)
        elif self.shown == MOST_FAULTS_SHOWN:
            print(f"... more in {self.path}", file=sys.stderr)
        self.shown += 1


def gender_of(word: object) -> str:
    """``m`` or ``f`` of what corpora write; empty where it says neither.

    Example:
        >>> [gender_of(word) for word in ("남성", "여", "Female", "M", None, "?")]
        ['m', 'f', 'f', 'm', '', '']
    """
    first = str(word or "").strip().lower()[:1]
    return {"m": "m", "남": "m", "f": "f", "여": "f", "w": "f"}.get(first, "")
