"""Texts of a language model: one sentence a line, words separated by spaces."""

import gzip
import zlib
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from espnet_smoe.data.text.unicode_text import normalize_unicode

UNKNOWN = "<unk>"
MARKS = ("<s>", "</s>")
GZIP = b"\x1f\x8b"  # how a gzip file begins
SPECIAL = (UNKNOWN, *MARKS)  # ids 0, 1, 2


def read_lines(path: Path | str) -> Iterator[bytes]:
    """Lines of a file, or of the file within where it is gzip, whatever its name.

    Raises:
        ValueError: The file does not exist, or is no whole gzip file.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path} does not exist. Give the path of a file.")
    with open(path, "rb") as file:
        packed = file.read(len(GZIP)) == GZIP
    opener: Callable = gzip.open if packed or path.suffix == ".gz" else open
    with opener(path, "rb") as lines:
        try:
            yield from lines
        except (EOFError, OSError, zlib.error) as error:
            raise ValueError(
                f"{path}: not a whole gzip file ({error}). Copy or write it again."
            ) from error


def read_sentences(path: Path | str) -> Iterator[str]:
    """Sentences of a file in UTF-8, plain or ``.gz``, in the one Unicode form.

    Lines that are blank are left out.

    Raises:
        ValueError: The file is missing, not UTF-8 or without a word, or a sentence
            holds a sentence mark.
    """
    empty = True
    for number, raw in enumerate(read_lines(path), 1):
        try:
            sentence = raw.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(
                f"{path}:{number}: not UTF-8. Convert the file with iconv."
            ) from error
        sentence = normalize_unicode(sentence)
        words = sentence.split()
        if words:
            _check(words, f"{path}:{number}")
            empty = False
            yield sentence
    if empty:
        raise ValueError(f"{path}: no words in it. Give a text, a sentence a line.")


def read_words(path: Path | str) -> list[str]:
    """Words of a list, one a line.

    Raises:
        ValueError: As :func:`read_sentences`, or a line holds several words.
    """
    words = []
    for number, raw in enumerate(read_lines(path), 1):
        line = normalize_unicode(raw.decode("utf-8-sig", errors="replace")).split()
        if len(line) > 1:
            raise ValueError(
                f"{path}:{number}: {len(line)} words in a line. Write one word a line."
            )
        words.extend(line)
    if not words:
        raise ValueError(f"{path}: no words in it. Write one word a line.")
    return words


def encode(sentences: Iterable[str], to_id: Callable[[str], int]) -> np.ndarray:
    """Word ids of all sentences, each with a start (1) and an end (2) about it.

    Raises:
        ValueError: There is no word at all, or a sentence holds a sentence mark.
    """
    ids = array("q")
    for number, sentence in enumerate(sentences, 1):
        words = sentence.split()
        if not words:
            continue
        _check(words, f"sentence {number}")
        ids.append(1)
        ids.extend(map(to_id, words))
        ids.append(2)
    if not ids:
        raise ValueError("the text has no words. Give at least one sentence.")
    return np.frombuffer(ids, dtype=np.int64)


def _check(words: Sequence[str], place: str) -> None:
    for mark in MARKS:
        if mark in words:
            raise ValueError(
                f"{place}: the word {mark} is kept for the ends of sentences, which "
                "the model adds itself. Take it out of the text."
            )
