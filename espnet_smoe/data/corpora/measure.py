"""How long each utterance is and how wide its band, heard in the audio itself.

What was measured is noted at once, so that a stopped run does not measure again.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

from tqdm import tqdm

from espnet_smoe.command import quiet_worker
from espnet_smoe.data.corpora.base import Entry, Ledger
from espnet_smoe.data.prepare import fault_of
from espnet_smoe.data.speech.archive import split_member
from espnet_smoe.data.speech.audio import (
    RAW_SUFFIX,
    SAMPLE_RATE,
    check_end,
    read_audio,
    split_segment,
    version_of,
)
from espnet_smoe.data.speech.bandwidth import detect_bandwidth

NARROW_RATE = 8000  # Hz
CHUNK = 64  # utterances that a process takes at once, neighbours in one file


@dataclass(frozen=True, slots=True)
class Measure:
    """What the audio of an utterance says.

    Attributes:
        rate: Sample rate in Hz of the file.
        seconds: Length.
        bandwidth: ``nb`` or ``wb``.
        cause: What is wrong with it; empty where it is good.
        cure: What to do about that.
    """

    rate: int = 0
    seconds: float = 0.0
    bandwidth: str = ""
    cause: str = ""
    cure: str = ""


def measure(reference: str) -> Measure:
    """Read the audio of one utterance and measure it."""
    try:
        wave, rate = read_audio(reference)
        check_end(reference, len(wave) / rate)
    except ValueError as error:
        cause, _, cure = str(error).rstrip(".").rpartition(". ")
        return Measure(cause=cause, cure=cure)
    fault = fault_of(wave)
    if fault:
        return Measure(cause=fault, cure="Replace the recording")
    return Measure(rate, len(wave) / rate, detect_bandwidth(wave, rate))


def measure_all(entries: list[Entry], memory: Path, nj: int) -> list[Measure]:
    """Measure the audio of utterances in parallel.

    Args:
        entries: The utterances.
        memory: File of what was measured before and of what is measured now.
        nj: Processes.
    """
    versions: dict[str, list[int]] = {}
    keys = [_key(entry.reference, versions) for entry in entries]
    known = _recall(memory)
    # Neighbours in a file one after the other: an archive is opened once.
    new = [i for i, key in enumerate(keys) if key not in known]
    new.sort(key=lambda i: (entries[i].audio, entries[i].start))
    memory.parent.mkdir(parents=True, exist_ok=True)
    with open(memory, "a", encoding="utf-8") as notes:
        notes.write("\n")  # ends the line that a killed run was writing
        results = _run([entries[i].reference for i in new], nj)
        progress = tqdm(results, total=len(new), disable=None, desc="measure")
        for i, result in zip(new, progress):
            known[keys[i]] = result
            if not result.cause:
                notes.write(json.dumps([keys[i], asdict(result)]) + "\n")
                notes.flush()
    return [known[key] for key in keys]


def _key(reference: str, versions: dict[str, list[int]]) -> str:
    """What a measure depends on: the reference and the version of its file."""
    file = split_member(split_segment(reference)[0])[0]
    if file not in versions:
        try:
            versions[file] = version_of(file)
        except OSError:
            versions[file] = []
    return json.dumps([reference, versions[file]], ensure_ascii=False)


def _recall(memory: Path) -> dict[str, Measure]:
    known = {}
    if memory.is_file():
        with open(memory, encoding="utf-8", errors="replace") as notes:
            for line in notes:
                try:
                    key, fields = json.loads(line)
                    known[key] = Measure(**fields)
                except (ValueError, TypeError):  # the line a killed run was writing
                    continue
    return known


def _run(references: list[str], nj: int) -> Iterator[Measure]:
    if nj == 1 or len(references) < 2:
        yield from map(measure, references)
        return
    context = get_context("forkserver")  # a fork of threads (tqdm's) may hang
    chunk = max(1, min(CHUNK, len(references) // nj))
    with ProcessPoolExecutor(nj, mp_context=context, initializer=quiet_worker) as pool:
        yield from pool.map(measure, references, chunksize=chunk)


def check(entries: list[Entry], measures: list[Measure], ledger: Ledger) -> list[Entry]:
    """Leave out what cannot be read; give the rest its length and band.

    All parts of a recording went through one channel: the band of most of its time
    is that of each part, since a part may hold no consonant to judge by.
    """
    narrow: defaultdict[str, float] = defaultdict(float)
    for entry, found in zip(entries, measures):
        narrow[entry.audio] += found.seconds * (1 if found.bandwidth == "nb" else -1)
    good, told = [], set()
    for entry, found in zip(entries, measures):
        cause, cure = found.cause, found.cure
        raw = entry.audio.lower().endswith(RAW_SUFFIX)
        if not cause and raw and entry.rate not in (0, SAMPLE_RATE):
            cause = f"headerless audio of {entry.rate:.0f} Hz, not {SAMPLE_RATE}"
            cure = "Convert it to WAV with its rate"
        if cause:
            reason = "unreadable audio"
            ledger.drop(entry.corpus, reason, entry.reference, entry.id, cause, cure)
            continue
        entry.seconds = found.seconds
        entry.bandwidth = "nb" if narrow[entry.audio] > 0 else "wb"
        if entry.audio not in told:
            _compare(entry, found.rate, ledger)
            told.add(entry.audio)
        good.append(entry)
    return good


def _compare(entry: Entry, rate: int, ledger: Ledger) -> None:
    """Note a recording that is not what its header or its label claims."""
    claimed, label = entry.rate or rate, entry.bandwidth
    if label == "nb" and claimed > NARROW_RATE:
        reason = "8 kHz recording labelled 16 kHz"
        said = "the label says" if entry.rate else "its header says"
        heard = "its header says" if rate <= NARROW_RATE else "its sound ends at"
        cause = f"{said} {claimed:.0f} Hz, but {heard} "
        cause += f"{rate} Hz" if rate <= NARROW_RATE else "4 kHz"
        cure = "Nothing to do: its bandwidth is set to nb"
    elif label == "wb" and claimed <= NARROW_RATE:
        reason = "wideband recording labelled 8 kHz"
        cause = f"the label says {claimed:.0f} Hz, but its sound goes beyond 4 kHz"
        cure = "Nothing to do: its bandwidth is set to wb"
    else:
        return
    ledger.keep(entry.corpus, reason, entry.audio, entry.id, cause, cure)
