"""Language models in ARPA files, plain or ``.gz``."""

import codecs
import gzip
import os
import re
from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import numpy as np

from espnet_smoe.command import check_out
from espnet_smoe.data.text.unicode_text import normalize_unicode
from espnet_smoe.lm.ngram import NGram
from espnet_smoe.lm.text import MARKS, SPECIAL, UNKNOWN, read_lines
from espnet_smoe.lm.trie import ABSENT, NEVER, Level, Trie

BLOCK = 1 << 16  # n-grams written at once
SPELLED = {mark.encode(): mark.encode() for mark in SPECIAL}  # <UNK> is <unk>
ROUNDING = 1e-4  # log10: a probability of 1 may be written a little above


def write_arpa(ngram: NGram, path: Path | str) -> None:
    """Write a model; a reader never sees half a file.

    Args:
        ngram: The model.
        path: File to write, compressed where the name ends in ``.gz``.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> model = NGram.estimate(["a b c", "a b", "a c"], order=3)
        >>> with TemporaryDirectory() as folder:
        ...     write_arpa(model, f"{folder}/lm.arpa.gz")
        ...     read_arpa(f"{folder}/lm.arpa.gz").counts
        [6, 6, 6]
    """
    path = Path(path)
    check_out(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".part")
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(partial, "wt", encoding="utf-8", newline="\n") as out:
        out.write("\\data\\\n")
        for order, count in enumerate(ngram.counts, 1):
            out.write(f"ngram {order}={count}\n")
        for order in range(1, ngram.order + 1):
            out.write(f"\n\\{order}-grams:\n")
            for block in _blocks(ngram, order):
                out.write(block)
        out.write("\n\\end\\\n")
    os.replace(partial, path)


def _blocks(ngram: NGram, order: int) -> Iterator[str]:
    """Lines of one order's n-grams."""
    level = ngram.trie.levels[order - 1]
    highest = order == ngram.order
    for start in range(0, len(level.key), BLOCK):
        places = np.arange(start, min(start + BLOCK, len(level.key)))
        ngrams = ngram.trie.ngrams(order, places).tolist()
        log_probs = level.log_prob[places].tolist()
        backoffs = level.backoff[places].tolist()
        lines = []
        for ids, log_prob, backoff in zip(ngrams, log_probs, backoffs):
            words = " ".join([ngram.words[i] for i in ids])
            weight = f"\t{backoff:.8g}" if backoff and not highest else ""
            lines.append(f"{log_prob:.8g}\t{words}{weight}\n")
        yield "".join(lines)


def read_arpa(path: Path | str) -> NGram:
    """Read a model that any toolkit wrote.

    ``<unk>``, ``<s>`` and ``</s>`` may be in capitals; words come in the one Unicode
    form. A file without ``<unk>`` gives it no probability.

    Args:
        path: File, in UTF-8 with or without its mark; ``.gz`` is read as it is.

    Raises:
        ValueError: The file is missing, empty, truncated or contradicts itself; says
            in which line, and what to do.
    """
    return _Reader(Path(path)).read()


@dataclass
class _Section:
    """The n-grams of one order as they stand in the file."""

    ids: array = field(default_factory=lambda: array("q"))  # n-gram after n-gram
    log_prob: array = field(default_factory=lambda: array("d"))
    backoff: array = field(default_factory=lambda: array("d"))
    line: array = field(default_factory=lambda: array("q"))

    def level(self, keys: np.ndarray, rank: np.ndarray) -> Level:
        """The n-grams in the order of ``rank``, which makes their keys rise."""
        log_prob = np.frombuffer(self.log_prob)[rank]
        backoff = np.maximum(np.frombuffer(self.backoff)[rank], NEVER)
        return Level(keys, np.clip(log_prob, NEVER, 0.0), backoff)


class _Reader:
    """Reads one file from top to bottom."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.number = 0
        self.lines = read_lines(path)
        self.index: dict[bytes, int] = {}

    def read(self) -> NGram:
        counts = self._counts()
        words, level = self._words(self._section(1, counts))
        levels = [level]
        for order in range(2, len(counts) + 1):
            section = self._section(order, counts)
            levels.append(self._level(order, section, Trie(levels, len(words))))
        return NGram(words, Trie.of(levels, len(words)))

    def _fail(self, cause: str, cure: str, line: int | None = None) -> NoReturn:
        raise ValueError(f"{self.path}:{line or self.number}: {cause}. {cure}.")

    def _next(self, awaited: str = "\\end\\") -> bytes:
        """The next line that is not blank."""
        for line in self.lines:
            self.number += 1
            if self.number == 1:
                line = self._without_mark(line)
            if stripped := line.strip():
                return stripped
        if self.number == 0:
            self._fail("the file is empty", "Give a file in ARPA format")
        self._fail(
            f"the file ends before {awaited}", "Give a whole file in ARPA format"
        )

    def _without_mark(self, line: bytes) -> bytes:
        """The first line without the mark of its encoding."""
        if line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            self._fail("UTF-16", "Convert the file to UTF-8 with iconv")
        return line.removeprefix(codecs.BOM_UTF8)

    def _counts(self) -> list[int]:
        """Numbers of n-grams that \\data\\ promises."""
        while (line := self._next("\\data\\")).lower() != b"\\data\\":
            if line.startswith(b"\\"):
                self._fail(
                    f"{_shown(line)} before \\data\\", "Give a file in ARPA format"
                )
        counts: list[int] = []
        while (line := self._next()).lower() != b"\\1-grams:":
            match = re.fullmatch(rb"ngram\s+(\d+)\s*=\s*(\d+)", line.lower())
            if not match or int(match[1]) != len(counts) + 1:
                self._fail(
                    f"expected 'ngram {len(counts) + 1}=...' or '\\1-grams:', got "
                    f"{_shown(line)}",
                    "Write the file again",
                )
            counts.append(int(match[2]))
        if not counts or counts[0] == 0:
            self._fail("\\data\\ promises no words", "Estimate the model from a text")
        return counts

    def _section(self, order: int, counts: list[int]) -> _Section:
        """Read the n-grams of an order and the head of the next."""
        section = _Section()
        while not (line := self._next()).startswith(b"\\"):
            fields = line.split()
            if len(fields) not in (order + 1, order + 2):
                self._fail(
                    f"a {order}-gram has a log probability, {order} words and perhaps "
                    f"a back-off weight, but here is {_shown(line)}",
                    "Correct the line",
                )
            section.log_prob.append(self._number(fields[0], ROUNDING))
            weight = fields[-1] if len(fields) == order + 2 else b"0"
            section.backoff.append(self._number(weight, np.inf))
            section.line.append(self.number)
            section.ids.extend(self._ids(fields[1 : order + 1], new=order == 1))
        found, promised = len(section.line), counts[order - 1]
        if found != promised:
            self._fail(
                f"\\data\\ promises {promised} {order}-grams, but {found} are there",
                "Copy the file again, or correct the number",
            )
        head = "\\end\\" if order == len(counts) else f"\\{order + 1}-grams:"
        if line.lower() != head.encode():
            self._fail(f"expected {head}, got {_shown(line)}", "Write the file again")
        return section

    def _number(self, text: bytes, limit: float) -> float:
        try:
            number = float(text)
        except ValueError:
            number = np.nan
        if not number < limit:  # as NaN is not
            what = "a log10 probability" if limit == ROUNDING else "a back-off weight"
            self._fail(f"{_shown(text)} is not {what}", "Correct the line")
        return number

    def _ids(self, words: list[bytes], new: bool) -> list[int]:
        words = [SPELLED.get(w.lower(), w) if w[:1] == b"<" else w for w in words]
        if new:
            if words[0] in self.index:
                also = " (in any case)" if words[0] in SPELLED else ""
                self._fail(f"{_shown(words[0])}{also} stands twice", "Take one out")
            self.index[words[0]] = len(self.index)
        try:
            return [self.index[word] for word in words]
        except KeyError as error:
            self._fail(
                f"{_shown(error.args[0])} is not among the 1-grams",
                "Add it there, or take the line out",
            )

    def _words(self, section: _Section) -> tuple[list[str], Level]:
        """All words, the special ones first, and their level."""
        words = []
        for word, line in zip(self.index, section.line):
            try:
                words.append(word.decode("utf-8"))
            except UnicodeDecodeError:
                self._fail("not UTF-8", "Convert the file with iconv", line)
        for mark in MARKS:
            if mark not in words:
                self._fail(
                    f"no {mark} among the 1-grams",
                    "Estimate the model with starts and ends of sentences",
                )
        if UNKNOWN not in words:
            words.append(UNKNOWN)
            section.log_prob.append(NEVER)
            section.backoff.append(0.0)
        words = _in_one_form(words)
        places = {word: place for place, word in enumerate(words)}
        words = list(dict.fromkeys([*SPECIAL, *words]))
        rank = np.array([places[word] for word in words])
        numbers = dict(zip(rank.tolist(), range(len(words))))
        self.index = {word: numbers[place] for word, place in self.index.items()}
        self.index[UNKNOWN.encode()] = 0
        return words, section.level(np.arange(len(words)), rank)

    def _level(self, order: int, section: _Section, above: Trie) -> Level:
        """N-grams under their contexts."""
        ids = np.frombuffer(section.ids, dtype=np.int64).reshape(-1, order)
        context = above.find(ids[:, :-1])
        for i in np.flatnonzero(context == ABSENT)[:1]:
            self._fail(
                f"the context of this {order}-gram is no {order - 1}-gram",
                "Add the context, or take the line out",
                section.line[i],
            )
        keys = context * above.size + ids[:, -1]
        rank = np.argsort(keys, kind="stable")
        for i in np.flatnonzero(np.diff(keys[rank]) == 0)[:1]:
            self._fail(
                f"this {order}-gram stands twice",
                "Take one out",
                section.line[rank[i + 1]],
            )
        return section.level(keys[rank], rank)


def _in_one_form(words: list[str]) -> list[str]:
    """Words in the one Unicode form, but for those that it would make the same."""
    forms = [normalize_unicode(word) for word in words]
    counts = Counter(forms)
    return [
        form if form and " " not in form and counts[form] == 1 else word
        for word, form in zip(words, forms)
    ]


def _shown(text: bytes) -> str:
    return repr(text.decode("utf-8", errors="replace")[:80])
