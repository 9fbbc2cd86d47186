"""Fingerprints of files: equal where what they hold is the same, wherever it lies."""

import functools
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from espnet_smoe.data.text.tokens import read_token_list

SAMPLED = 32  # recordings of a set whose beginning is read
SAMPLE_BYTES = 65536


def fingerprint_file(path: str | Path) -> str:
    """Fingerprint of a file's content.

    Raises:
        ValueError: It does not exist.
    """
    if not Path(path).is_file():
        raise ValueError(f"{path} does not exist")
    known = os.stat(path)
    return _digest(os.path.realpath(path), known.st_size, known.st_mtime_ns)


@functools.lru_cache(maxsize=1024)
def _digest(path: str, size: int, changed: int) -> str:
    """Of a file as it was then: one checkpoint is beside many decodings."""
    with open(path, "rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()[:16]


def fingerprint_table(path: str | Path) -> str:
    """Fingerprint of a table: its lines and its content.

    Raises:
        ValueError: It does not exist.
    """
    digest = fingerprint_file(path)
    return f"{count_lines(path)} lines, {digest}"


def count_lines(path: str | Path) -> int:
    """How many lines a table has."""
    with open(path, "rb") as lines:
        return sum(1 for _ in lines)


def fingerprint_tokens(tokens: str | Path | Sequence[str]) -> str:
    """Fingerprint of a token list, or of the file that holds it.

    Raises:
        ValueError: The file does not exist.
    """
    if isinstance(tokens, (str, Path)):
        if not Path(tokens).is_file():
            raise ValueError(f"{tokens} does not exist")
        tokens = read_token_list(tokens)
    digest = hashlib.sha256("\n".join(tokens).encode()).hexdigest()
    return f"{len(tokens)} tokens, {digest[:16]}"


def fingerprint_audio(path: str | Path) -> str:
    """Fingerprint of the recordings in a ``wav.scp``, wherever they lie.

    The names of all utterances, their lengths where ``utt2num_samples`` tells them, and
    the beginning of some recordings: a corpus that was moved is the same corpus.

    Raises:
        ValueError: The table does not exist.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path} does not exist")
    content = hashlib.sha256()
    number = count_lines(path)
    step = max(1, number // SAMPLED)
    with open(path, encoding="utf-8", errors="surrogateescape") as lines:
        for i, line in enumerate(lines):
            name, _, recording = line.strip().partition(" ")
            content.update(name.encode("utf-8", "surrogateescape") + b"\n")
            if i % step == 0:
                content.update(_beginning(recording.strip()))
    lengths = path.with_name("utt2num_samples")
    if lengths.is_file():
        content.update(fingerprint_file(lengths).encode())
    return f"{number} lines, {content.hexdigest()[:16]}"


def fingerprint_shards(path: str | Path) -> str:
    """Fingerprint of a ``wav.scp`` of shards: all that it lists, wherever they lie.

    Raises:
        ValueError: The table does not exist.
    """
    if not Path(path).is_file():
        raise ValueError(f"{path} does not exist")
    content, names, number = hashlib.sha256(), set(), 0
    with open(path, "rb") as lines:
        for number, line in enumerate(lines, 1):
            name, _, recording = line.strip().partition(b" ")
            place = os.path.basename(recording)
            content.update(name + b" " + place + b"\n")
            names.add(place.rpartition(b":")[0])
    digest = content.hexdigest()[:16]
    return f"{number} lines in {len(names)} shards, {digest}"


def _beginning(recording: str) -> bytes:
    try:
        with open(recording, "rb") as audio:
            return audio.read(SAMPLE_BYTES)
    except (OSError, ValueError):  # a pipe or an archive: what it is called
        return recording.encode("utf-8", "surrogateescape")
