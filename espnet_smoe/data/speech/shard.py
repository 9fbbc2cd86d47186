"""Shards: recordings of many utterances in one file, for large corpora.

A shard is a tar archive in WebDataset's layout, a 16 kHz mono 16-bit WAV an utterance,
``<utterance>.wav``. A ``wav.scp`` lists ``SHARD.tar:OFFSET``, where the WAV begins, as
it does entries of Kaldi's archives; `espnet_smoe.data.speech.audio` reads both.
"""

import io
import os
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from urllib.parse import quote

import numpy as np
import soundfile

from espnet_smoe.data.speech.audio import wav_of

KIND = "shard"  # the type of such a wav.scp, in ESPnet's words
AGAIN = "make it again with stage 3 (espnet-smoe prepare --shards)"
BLOCK = tarfile.BLOCKSIZE
NAME_BYTES = 100  # of a name in a header; a longer one is cut there
MOST_OPEN = 16  # files of a process


def member_name(utterance: str) -> str:
    """Its name in a shard: WebDataset takes what follows the first dot for an ending.

    Example:
        >>> member_name("sp0.9-a/b")
        'sp0%2E9-a%2Fb.wav'
    """
    return quote(utterance, safe="").replace(".", "%2E") + ".wav"


class ShardWriter:
    """Writes recordings into a shard.

    Args:
        path: Of the shard, as ``wav.scp`` names it.
        archive: Open for writing.
    """

    def __init__(self, path: Path, archive: tarfile.TarFile):
        self._path, self._archive = path, archive

    def add(self, utterance: str, wave: np.ndarray) -> str:
        """Add a recording.

        Args:
            utterance: Its name.
            wave: ``(T,)``, at 16 kHz within +-1.

        Returns:
            The reference of the recording.
        """
        samples = np.clip(np.round(wave * 32768), -32768, 32767).astype(np.int16)
        content = wav_of(samples)
        info = tarfile.TarInfo(member_name(utterance))
        info.size = len(content)
        self._archive.addfile(info, io.BytesIO(content))
        return f"{self._path}:{self._archive.offset - -(-info.size // BLOCK) * BLOCK}"


@contextmanager
def new_shard(path: Path) -> Iterator[ShardWriter]:
    """A shard that appears when it is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".part")
    try:
        with open(partial, "wb") as file:
            with tarfile.open(fileobj=file, mode="w") as archive:
                yield ShardWriter(path, archive)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    os.replace(partial, path)


def split_reference(reference: str) -> tuple[str, int]:
    """Shard and offset of what ``wav.scp`` lists.

    Raises:
        ValueError: It is no reference of a shard.
    """
    path, _, offset = reference.rpartition(":")
    if not (path and offset.isdecimal()):
        raise ValueError(f"'{reference}' is no SHARD.tar:OFFSET; {AGAIN}")
    return path, int(offset)


def read_member(reference: str, utterance: str | None = None) -> np.ndarray:
    """Read a recording out of its shard.

    Args:
        reference: ``SHARD.tar:OFFSET``.
        utterance: Whose it is to be; None for anybody's.

    Returns:
        The wave, float32 in [-1, 1], shape (T,).

    Raises:
        ValueError: The shard is missing, cut off, damaged, or another one.
    """
    path, offset = split_reference(reference)
    shard = _open(path, os.getpid())
    header = os.pread(shard.fileno(), BLOCK, offset - BLOCK) if offset >= BLOCK else b""
    try:
        info = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
    except tarfile.HeaderError as error:
        why = "is cut off" if len(header) < BLOCK else "is another one"
        raise ValueError(f"{path} {why}: no recording at {offset}; {AGAIN}") from error
    if utterance is not None and info.name != member_name(utterance)[:NAME_BYTES]:
        raise ValueError(
            f"{path} is another one: at {offset} it has {info.name}, not {utterance}; "
            f"{AGAIN}"
        )
    content = os.pread(shard.fileno(), info.size, offset)
    if len(content) < info.size:
        raise ValueError(f"{path} is cut off within {info.name}; {AGAIN}")
    try:
        return soundfile.read(io.BytesIO(content), dtype="float32")[0]
    except soundfile.LibsndfileError as error:
        raise ValueError(
            f"{path} is damaged: {info.name} is no WAV ({error.error_string}); {AGAIN}"
        ) from error


@lru_cache(maxsize=MOST_OPEN)
def _open(path: str, _process: int) -> io.FileIO:
    try:
        return open(path, "rb", buffering=0)
    except FileNotFoundError as error:
        raise ValueError(f"{path} does not exist; {AGAIN}") from error


def read_ahead(references: list[str]) -> None:
    """Ask the system to read recordings that lie side by side, in one go each shard."""
    spans: dict[str, list[int]] = {}
    for path, offset in map(split_reference, references):
        spans.setdefault(path, []).append(offset)
    for path, offsets in spans.items():
        first = min(offsets)
        length = max(offsets) - first
        file = _open(path, os.getpid()).fileno()
        os.posix_fadvise(file, first, length, os.POSIX_FADV_WILLNEED)


def check_shards(wav_scp: Path) -> int:
    """Hold the shards of a ``wav.scp`` against what it lists of them.

    Returns:
        How many there are.

    Raises:
        ValueError: One is missing or cut off, or a line lists none; names it.
    """
    last: dict[str, int] = {}
    with open(wav_scp, encoding="utf-8", errors="surrogateescape") as lines:
        for number, line in enumerate(lines, 1):
            try:
                path, offset = split_reference(
                    [*line.split(None, 1), "", ""][1].strip()
                )
            except ValueError as error:
                raise ValueError(f"{wav_scp}:{number}: {error}") from None
            last[path] = max(offset, last.get(path, 0))
    for path, offset in last.items():
        size = os.path.getsize(path) if os.path.isfile(path) else None
        if size is None:
            raise ValueError(f"{path} does not exist, {wav_scp} lists it; {AGAIN}")
        with open(path, "rb") as shard:
            shard.seek(max(0, size - 2 * BLOCK))
            if size < offset or shard.read() != bytes(2 * BLOCK):
                raise ValueError(f"{path} is cut off, {size:,} bytes; {AGAIN}")
    return len(last)
