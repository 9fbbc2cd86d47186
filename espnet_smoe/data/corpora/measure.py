"""How long each utterance is and how wide its band, measured in the audio itself.

What was measured is noted at once, so that a stopped run does not measure again.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from heapq import merge
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from espnet_smoe.data.corpora.base import Entry
from espnet_smoe.data.corpora.stored import StoredEntries
from espnet_smoe.data.parallel import map_unknown, note
from espnet_smoe.data.problems import ProblemLog, split_message
from espnet_smoe.data.segment import split_segment
from espnet_smoe.data.sorted_file import Record, read_sorted, sort_records
from espnet_smoe.data.speech.archive import split_member
from espnet_smoe.data.speech.audio import (
    RAW_SUFFIX,
    SAMPLE_RATE,
    check_end,
    read_audio,
    version_of,
)
from espnet_smoe.data.speech.bandwidth import detect_bandwidth
from espnet_smoe.data.speech.waveform import problem_of

NARROW_RATE = 8000  # Hz
CHUNK = 64  # utterances that a process takes at once, neighbors in one file


@dataclass(frozen=True, slots=True)
class Measure:
    """What the audio of an utterance says.

    Attributes:
        rate: Sample rate in Hz of the file.
        seconds: Length.
        bandwidth: ``nb`` or ``wb``.
        cause: What is wrong with it; empty where it is good.
        fix: What to do about that.
    """

    rate: int = 0
    seconds: float = 0.0
    bandwidth: str = ""
    cause: str = ""
    fix: str = ""


def measure(reference: str) -> Measure:
    """Read the audio of one utterance and measure it."""
    try:
        wave, rate = read_audio(reference)
        check_end(reference, len(wave) / rate)
    except ValueError as error:
        cause, fix = split_message(error)
        return Measure(cause=cause, fix=fix)
    if problem := problem_of(wave):
        return Measure(cause=problem, fix="Replace the recording")
    return Measure(rate, len(wave) / rate, detect_bandwidth(wave, rate))


class Job(NamedTuple):
    """An utterance to measure.

    Attributes:
        entry: The utterance.
        key: What its measure is noted under; empty where that was read from there.
    """

    entry: Entry
    key: str


def measure_all(
    entries: Iterable[Entry], memory: Path, nj: int, scratch: Path
) -> Iterator[tuple[Entry, Measure]]:
    """Measure the audio of utterances in parallel.

    Args:
        entries: The utterances.
        memory: File of what was measured before and of what is measured now.
        nj: Processes.
        scratch: Folder for what has to be sorted.

    Yields:
        Each utterance and its measure, those of a file or archive one after the other.
    """
    by_file = StoredEntries(entries, scratch, lambda entry: _order(entry.reference))
    known = read_sorted(sort_records(_recall(memory), scratch))
    with open(memory, "a", encoding="utf-8") as notes:
        notes.write("\n")  # ends the line that a killed run was writing
        jobs = _jobs(by_file, known)
        done = map_unknown(_measure, jobs, nj, CHUNK, by_file.count)
        for job, found in tqdm(done, total=by_file.count, disable=None, desc="measure"):
            if job.key and not found.cause:  # a fault may be mended
                note(notes, job.key, found)
            yield job.entry, found


def _measure(job: Job) -> Measure:
    return measure(job.entry.reference)


def _order(reference: str) -> str:
    """What utterances are sorted by: their recording."""
    return json.dumps([split_segment(reference)[0], reference])


def _recall(memory: Path) -> Iterator[Record]:
    """Lines of what was measured before."""
    if not memory.is_file():
        return
    with open(memory, encoding="utf-8", errors="replace") as notes:
        for line in notes:
            try:
                key, found = json.loads(line)
                Measure(**found)
                yield Record(_order(json.loads(key)[0]), "", line.strip())
            except (ValueError, TypeError):  # of a killed run, or an earlier version
                continue


def _jobs(
    entries: StoredEntries, notes: Iterable[Record]
) -> Iterator[tuple[Job, Measure | None]]:
    """Each utterance, and its measure where that is known and its file as it was."""
    version = lru_cache(maxsize=8)(_version)
    both = merge(
        ((record.key, 0, record.value) for record in notes),
        ((key, 1, entry) for key, entry in entries.items()),
        key=itemgetter(0, 1),
    )
    for _, lines in groupby(both, key=itemgetter(0)):
        known: dict[str, Measure] = {}
        for _, is_entry, one in lines:
            if not is_entry:
                key, found = json.loads(one)
                known[key] = Measure(**found)
                continue
            file = split_member(split_segment(one.reference)[0])[0]
            key = json.dumps([one.reference, version(file)], ensure_ascii=False)
            yield Job(one, "" if key in known else key), known.get(key)


def _version(file: str) -> list[int]:
    try:
        return version_of(file)
    except OSError:
        return []


def check(
    measured: Iterable[tuple[Entry, Measure]], log: ProblemLog
) -> Iterator[Entry]:
    """Leave out what cannot be read; give the rest its length and band.

    All parts of a recording went through one channel: the band of most of its time
    is that of each part, since a part may hold no consonant to judge by.

    Args:
        measured: Those of one recording one after the other.
        log: Receives what is wrong or odd.
    """
    for _, group in groupby(measured, key=lambda pair: pair[0].audio):
        parts = list(group)
        narrow = sum(m.seconds * (1 if m.bandwidth == "nb" else -1) for _, m in parts)
        compared = False
        for entry, found in parts:
            cause, fix = found.cause, found.fix
            raw = entry.audio.lower().endswith(RAW_SUFFIX)
            if not cause and raw and entry.rate not in (0, SAMPLE_RATE):
                cause = f"headerless audio of {entry.rate:.0f} Hz, not {SAMPLE_RATE}"
                fix = "Convert it to WAV with its rate"
            if cause:
                reason = "unreadable audio"
                log.drop(entry.corpus, reason, entry.reference, entry.id, cause, fix)
                continue
            entry.seconds = found.seconds
            entry.bandwidth = "nb" if narrow > 0 else "wb"
            if not compared:
                _compare(entry, found.rate, log)
                compared = True
            yield entry


def _compare(entry: Entry, rate: int, log: ProblemLog) -> None:
    """Note a recording that is not what its header or its label claims."""
    claimed, label = entry.rate or rate, entry.bandwidth
    if label == "nb" and claimed > NARROW_RATE:
        reason = "8 kHz recording labelled 16 kHz"
        claim = "the label says" if entry.rate else "its header says"
        finding = "its header says" if rate <= NARROW_RATE else "its sound ends at"
        cause = f"{claim} {claimed:.0f} Hz, but {finding} "
        cause += f"{rate} Hz" if rate <= NARROW_RATE else "4 kHz"
        fix = "Nothing to do: its bandwidth is set to nb"
    elif label == "wb" and claimed <= NARROW_RATE:
        reason = "wideband recording labelled 8 kHz"
        cause = f"the label says {claimed:.0f} Hz, but its sound goes beyond 4 kHz"
        fix = "Nothing to do: its bandwidth is set to wb"
    else:
        return
    log.keep(entry.corpus, reason, entry.audio, entry.id, cause, fix)
