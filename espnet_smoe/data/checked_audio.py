"""The audio of a data directory, checked and at 16 kHz; what was done is noted.

Notes are lines of JSON in files ``.checked*.jsonl`` of the directory that is written: a
stopped run goes on where it was, and several machines can each do a part.
"""

import json
import os
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import batched
from pathlib import Path
from urllib.parse import quote

import numpy as np

from espnet_smoe.data.check import AUTO, Checker, Utterance
from espnet_smoe.data.data_dir import SEGMENTS, WAV_SCP, find_tables
from espnet_smoe.data.parallel import map_unknown, note
from espnet_smoe.data.problems import Problem, split_message
from espnet_smoe.data.sorted_file import Record
from espnet_smoe.data.sorted_rows import Row, sorted_rows
from espnet_smoe.data.speech.audio import (
    SAMPLE_RATE,
    change_speed,
    fits,
    is_as_stamped,
    resample,
    stamp_of,
    version_of,
    write_wav,
)
from espnet_smoe.data.speech.audio import (
    read_listed as read_audio,
)
from espnet_smoe.data.speech.shard import new_shard
from espnet_smoe.data.speech.waveform import problem_of
from espnet_smoe.processes import lock

LONGEST_NAME = 200  # bytes of a file's name
NOTES = ".checked{}.jsonl"


@dataclass(frozen=True)
class AudioJob:
    """What one worker does with one utterance's audio.

    Attributes:
        utterance: The utterance; None where it has no audio.
        problems: What is wrong with its lines in the tables.
        audio_dir: Folder of files that are written.
        copy: Write one even where the audio fits as it is.
    """

    utterance: Utterance | None
    problems: list[Problem]
    audio_dir: Path
    copy: bool

    def key(self) -> str:
        """What the result depends on: a change of any of it means new work."""
        utt = self.utterance
        assert utt is not None
        try:
            source = version_of(utt.wav)
        except OSError:
            source = []
        detect = utt.bandwidth == AUTO
        return json.dumps([utt.id, utt.wav, source, utt.speed, detect, self.copy])


@dataclass(frozen=True)
class AudioResult:
    """What became of one utterance's audio.

    Attributes:
        wav: Path of the 16 kHz mono 16-bit file.
        samples: Its length at 16 kHz.
        bandwidth: The label estimated from the audio, where it was asked for.
        stamp: Of the file, where it was made here, see
            :func:`~espnet_smoe.data.speech.audio.stamp_of`.
        problem: Cause and fix, where the audio is bad.
    """

    wav: str = ""
    samples: int = 0
    bandwidth: str = ""
    stamp: list[int] | None = None
    problem: tuple[str, str] | None = None


def check_audio(job: AudioJob) -> AudioResult:
    """Read, check and where necessary convert the audio of one utterance."""
    utt = job.utterance
    assert utt is not None
    found, wave, rate = _read(utt)
    if found.problem:
        return found
    if utt.speed == 1 and not job.copy and fits(utt.wav, len(wave)):
        return replace(found, wav=utt.wav, samples=len(wave))
    wave = change_speed(resample(wave, rate), utt.speed)
    # Spread over folders: file systems slow down at millions of files in one.
    folder = f"{zlib.crc32(utt.id.encode()) % 256:02x}"
    path = os.path.join(job.audio_dir, folder, f"{_file_name(utt.id)}.wav")
    write_wav(path, wave)
    return replace(found, wav=path, samples=len(wave), stamp=stamp_of(path))


def _read(utt: Utterance) -> tuple[AudioResult, np.ndarray, int]:
    """What can be said of the audio before it is written, the wave and its rate."""
    nothing = np.zeros(0, np.float32), SAMPLE_RATE
    try:
        wave, rate = read_audio(utt.wav)
    except ValueError as error:
        return AudioResult(problem=split_message(error)), *nothing
    if problem := problem_of(wave):
        fix = "Replace the file or take the utterance out of the data directory"
        return AudioResult(problem=(f"{utt.wav}: {problem}", fix)), *nothing
    bandwidth = ""
    if utt.bandwidth == AUTO:
        from espnet_smoe.data.speech.bandwidth import detect_bandwidth

        bandwidth = detect_bandwidth(wave, rate)
    return AudioResult(bandwidth=bandwidth), wave, rate


@dataclass(frozen=True)
class ShardJob:
    """What one worker does with the audio of consecutive utterances.

    Attributes:
        path: Of the shard.
        jobs: The utterances; those without audio are left aside.
        known: What an earlier run has noted of them, where that is still so.
    """

    path: Path
    jobs: tuple[AudioJob, ...]
    known: list[AudioResult] | None


def write_shard(job: ShardJob) -> list[tuple[str, AudioResult]]:
    """Read and check the audio of all utterances of a shard, and write it.

    Returns:
        For each utterance the key of its note, empty where it has one, and what became
        of it.
    """
    if job.known is not None:
        pairs = [(j.utterance, r) for j, r in zip(job.jobs, job.known)]
        bad = (utt for utt, result in pairs if utt is not None and result.problem)
        if all(_read(utt)[0].problem for utt in bad):  # nothing was mended
            return [("", result) for result in job.known]
    made: list[tuple[str, AudioResult]] = []
    with new_shard(job.path) as shard:
        for one in job.jobs:
            utt = one.utterance
            if utt is None:
                made.append(("", AudioResult()))
                continue
            found, wave, rate = _read(utt)
            if not found.problem:
                wave = change_speed(resample(wave, rate), utt.speed)
                place = shard.add(utt.id, wave)
                found = replace(found, wav=place, samples=len(wave))
            made.append((one.key(), found))
    stamp = stamp_of(job.path)
    return [(key, replace(result, stamp=stamp)) for key, result in made]


def _file_name(utt: str) -> str:
    """A name for any id: no slash, and short enough for a file system (255 bytes)."""
    name = quote(utt, safe="")
    if len(name) <= LONGEST_NAME:
        return name
    return f"{name[:LONGEST_NAME]}-{zlib.crc32(utt.encode()):08x}"


def count_utterances(directory: Path) -> int:
    """How many lines list the audio of a data directory."""
    segments = directory / SEGMENTS
    with open(segments if segments.is_file() else directory / WAV_SCP, "rb") as lines:
        return sum(1 for _ in lines)


def check_all_audio(
    checker: Checker,
    out: Path,
    copy: bool,
    nj: int,
    part: tuple[int, int] = (1, 1),
    shard_size: int = 0,
) -> Iterator[tuple[AudioJob, AudioResult]]:
    """Check the audio of all utterances; what became of it is noted.

    Args:
        checker: Of the data directory.
        out: The directory that is written.
        copy: See `AudioJob`.
        nj: Processes.
        part: Number of this part and of all; the utterances of others are left aside.
        shard_size: Utterances of a shard; 0 for files, see `check_audio`.

    Yields:
        Each utterance and what became of it, sorted.

    Raises:
        ValueError: Another process does the same.
    """
    number, parts = part
    total = count_utterances(checker.directory)
    unit = shard_size or 1  # what is not divided among parts
    units = -(-total // unit)
    own = partial(_of_part, part=part, unit=unit, units=units)
    sizes = {path: path.stat().st_size for path in sorted(out.glob(NOTES.format("*")))}
    out.mkdir(parents=True, exist_ok=True)
    path = out / NOTES.format("" if parts == 1 else f".{number:04}of{parts:04}")
    tables = find_tables(checker.directory)

    span = None
    if sizes and parts > 1:  # those of the other parts are not sorted along
        with sorted_rows(tables, out) as rows:
            span = _span(row.id for row in own(rows))
    noted = {"noted": partial(_read_notes, sizes, span)}
    with (
        sorted_rows(tables, out, noted) as rows,
        open(path, "a", encoding="utf-8") as notes,
    ):
        lock(notes, f"{out}: this part of the audio is being prepared already")
        notes.write("\n")  # ends the line that a killed run was writing
        jobs = (_job(checker, row, out / "audio", copy) for row in own(rows))
        if shard_size:
            first = -(-(number - 1) * units // parts)
            results = _in_shards(jobs, out / "shards", first, shard_size, nj)
        else:
            known = ((job, found if _holds(found) else None) for job, found in jobs)
            results = map_unknown(_do, known, nj, total=total)
        for job, (key, result) in results:
            if key and (shard_size or result.problem is None):
                note(notes, key, result)
            yield job, result


def _do(job: AudioJob) -> tuple[str, AudioResult]:
    return job.key(), check_audio(job)


def _holds(found: tuple[str, AudioResult] | None) -> bool:
    """Whether a file that was noted is there as it was, or there is none to be."""
    if found is None or found[1].problem:
        return False
    return found[1] == AudioResult() or is_as_stamped(found[1].wav, found[1].stamp)


def _in_shards(
    jobs: Iterable[tuple[AudioJob, tuple[str, AudioResult] | None]],
    folder: Path,
    first: int,
    size: int,
    nj: int,
) -> Iterator[tuple[AudioJob, tuple[str, AudioResult]]]:
    """Do jobs a shard at a time.

    Args:
        jobs: Each with what an earlier run has noted.
        folder: Receives the shards.
        first: Number of the first one.
        size: Utterances of each.
        nj: Processes.
    """
    shards = (
        _shard_job(folder / f"{number:06}.tar", some)
        for number, some in enumerate(batched(jobs, size), first)
    )
    for shard, results in map_unknown(write_shard, shards, nj, chunk=1):
        yield from zip(shard.jobs, results)


def _shard_job(
    path: Path, some: Iterable[tuple[AudioJob, tuple[str, AudioResult] | None]]
) -> tuple[ShardJob, list[tuple[str, AudioResult]] | None]:
    jobs, found = zip(*some)
    known = [result[1] for result in found if result is not None]
    audible = [r for r in known if r.wav]
    stamps = {tuple(result.stamp or ()) for result in audible}
    whole = (
        len(known) == len(jobs)
        and len(stamps) == 1
        and all(r.wav.startswith(f"{path}:") for r in audible)
        and is_as_stamped(str(path), audible[0].stamp)
    )
    if not whole:
        return ShardJob(path, jobs, None), None
    if any(result.problem for result in known):
        return ShardJob(path, jobs, known), None
    return ShardJob(path, jobs, known), [("", result) for result in known]


def _job(
    checker: Checker, row: Row, audio_dir: Path, copy: bool
) -> tuple[AudioJob, tuple[str, AudioResult] | None]:
    """A job; and its result, with an empty key, where that is known."""
    utterance, problems = checker.check(row)
    job = AudioJob(utterance, problems, audio_dir, copy)
    if utterance is None:
        return job, ("", AudioResult())
    if "noted" in row.values:
        key, fields = json.loads(row.values["noted"])
        if key == job.key():
            try:
                return job, ("", AudioResult(**fields))
            except TypeError:  # of another version
                return job, None
    return job, None


def _of_part(
    rows: Iterable[Row], part: tuple[int, int], unit: int, units: int
) -> Iterator[Row]:
    number, parts = part
    for at, row in enumerate(rows):
        of = min(at // unit * parts // units, parts - 1) + 1
        if of > number:
            return
        if of == number:
            yield row


def _span(names: Iterable[str]) -> tuple[str, str]:
    """The first and the last of names; of none, two between which none is."""
    first = last = next(iter(names), "")
    for name in names:
        first, last = min(first, name), max(last, name)
    return first, last


def _read_notes(
    sizes: dict[Path, int], span: tuple[str, str] | None
) -> Iterator[Record]:
    """The notes of earlier runs by utterance.

    Args:
        sizes: Of their files, in bytes: what is added meanwhile is not read.
        span: The first and the last utterance to read them of; None for all.
    """
    for path, left in sizes.items():
        with open(path, "rb") as notes:
            for line in notes:
                left -= len(line)
                if left < 0:
                    break
                try:
                    utterance = json.loads(json.loads(line)[0])[0]
                except (ValueError, TypeError, IndexError):  # of a killed run
                    continue
                if span is None or span[0] <= utterance <= span[1]:
                    yield Record(utterance, "", line.decode().strip())
