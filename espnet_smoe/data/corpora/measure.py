"""How long each utterance is and how wide its band, measured in the audio itself.

What was measured is noted at once, so that a stopped run does not measure again.
"""

import json
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from espnet_smoe.data.corpora.base import Entry
from espnet_smoe.data.parallel import map_noted
from espnet_smoe.data.problems import ProblemLog, split_message
from espnet_smoe.data.segment import split_segment
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


def measure_all(entries: list[Entry], memory: Path, nj: int) -> list[Measure]:
    """Measure the audio of utterances in parallel.

    Args:
        entries: The utterances.
        memory: File of what was measured before and of what is measured now.
        nj: Processes.
    """
    versions: dict[str, list[int]] = {}
    return map_noted(
        measure,
        [entry.reference for entry in entries],
        [_key(entry.reference, versions) for entry in entries],
        memory,
        nj,
        kind=Measure,
        is_good=lambda result: not result.cause,
        order=split_segment,  # neighbors in a file: an archive is opened once
        chunk=CHUNK,
        what="measure",
    )


def _key(reference: str, versions: dict[str, list[int]]) -> str:
    """What a measure depends on: the reference and the version of its file."""
    file = split_member(split_segment(reference)[0])[0]
    if file not in versions:
        try:
            versions[file] = version_of(file)
        except OSError:
            versions[file] = []
    return json.dumps([reference, versions[file]], ensure_ascii=False)


def check(
    entries: list[Entry], measures: list[Measure], log: ProblemLog
) -> list[Entry]:
    """Leave out what cannot be read; give the rest its length and band.

    All parts of a recording went through one channel: the band of most of its time
    is that of each part, since a part may hold no consonant to judge by.
    """
    narrow: defaultdict[str, float] = defaultdict(float)
    for entry, found in zip(entries, measures):
        narrow[entry.audio] += found.seconds * (1 if found.bandwidth == "nb" else -1)
    good, reported = [], set()
    for entry, found in zip(entries, measures):
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
        entry.bandwidth = "nb" if narrow[entry.audio] > 0 else "wb"
        if entry.audio not in reported:
            _compare(entry, found.rate, log)
            reported.add(entry.audio)
        good.append(entry)
    return good


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
