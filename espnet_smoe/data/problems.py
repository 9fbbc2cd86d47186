"""What is wrong with data: each problem with its file, utterance, cause and fix."""

import os
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, field
from pathlib import Path
from types import TracebackType

MOST_PRINTED, MOST_LOGGED_PRINTED = 50, 20


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong in the data.

    Attributes:
        file: The file that holds it.
        utterance: The utterance's id.
        cause: What is wrong.
        fix: What the user can do about it.
    """

    file: str
    utterance: str
    cause: str
    fix: str

    def __str__(self) -> str:
        return f"{self.file}: utterance {self.utterance}: {self.cause}. {self.fix}."

    @property
    def row(self) -> str:
        """A line of ``problems.tsv``."""
        return "\t".join(astuple(self))


def split_message(error: ValueError) -> tuple[str, str]:
    """Cause and fix of an error whose message is ``cause. Fix.``."""
    cause, _, fix = str(error).rstrip(".").rpartition(". ")
    return cause, fix


class BadData(Exception):
    """Utterances have problems: no table is written."""


class ProblemLines:
    """Problems of a data directory, a line each; the first are kept to be shown.

    Args:
        write: Takes a line of ``problems.tsv``.

    Attributes:
        count: How many there are.
    """

    def __init__(self, write: Callable[[str], None]):
        self.count = 0
        self._write = write
        self._first: list[Problem] = []

    def extend(self, problems: Sequence[Problem]) -> None:
        """Add problems."""
        self.count += len(problems)
        self._first += problems[: MOST_PRINTED - len(self._first)]
        for problem in problems:
            self._write(problem.row)

    def show(self) -> None:
        """Print the first 50 on stderr, and how many more there are."""
        for problem in self._first:
            print(problem, file=sys.stderr)
        if self.count > MOST_PRINTED:
            print(f"... and {self.count - MOST_PRINTED} more", file=sys.stderr)


@dataclass
class ProblemLog:
    """Problems of a whole corpus: one line each in a file, counts by reason.

    Lines go to ``PATH.part``, which takes its name when the log is closed. The first
    20 are shown on stderr as well.

    Attributes:
        path: The file, columns file, utterance, cause, fix, reason.
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

    def __enter__(self) -> "ProblemLog":
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
        fix: str,
        count: int = 1,
    ) -> None:
        """Note what is left out: ``count`` utterances, or ``-`` for a whole file."""
        self.dropped[corpus, reason] += count
        self._write(reason, file, utterance, cause, fix)

    def keep(
        self, corpus: str, reason: str, file: str, utterance: str, cause: str, fix: str
    ) -> None:
        """Note what is odd but taken."""
        self.kept[corpus, reason] += 1
        self._write(reason, file, utterance, cause, fix)

    def _write(self, reason: str, *fields: str) -> None:
        row = [" ".join(str(value).split()) for value in (*fields, reason)]
        self.lines.write("\t".join(row) + "\n")
        if self.shown < MOST_LOGGED_PRINTED:
            file, utterance, cause, fix, _ = row
            what = f"{file}: " + ("" if utterance == "-" else f"{utterance}: ")
            print(f"{what}{cause}. {fix}.", file=sys.stderr)
        elif self.shown == MOST_LOGGED_PRINTED:
            print(f"... more in {self.path}", file=sys.stderr)
        self.shown += 1
