"""A data directory decoded in parts, one a process; a folder gets all results."""

import json
import multiprocessing
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from espnet_smoe.command import quiet_worker
from espnet_smoe.data.data_dir import (
    LANGUAGES,
    read_recordings,
    read_table,
    write_lines,
    write_table,
)
from espnet_smoe.inference.audio import SAMPLE_RATE, read_audio
from espnet_smoe.inference.result import Result

Job = TypeVar("Job")
Done = TypeVar("Done")


@dataclass
class DecodedPart:
    """What one process has done.

    Attributes:
        texts: Task -> utterance -> text.
        seconds: ``audio`` of its utterances; ``compute``, the time spent on encoding
            and searching; where it is measured, ``search``, the part of the search.
        details: Task -> utterance -> what else is known of the text.
    """

    texts: dict[str, dict[str, str]] = field(default_factory=dict)
    seconds: Counter[str] = field(default_factory=Counter)
    details: dict[str, dict[str, dict]] = field(default_factory=dict)

    def add_details(self, task: str, name: str, found: Result, nbest: int) -> None:
        """Keep the confidence of a text, and alternatives where asked for."""
        sure = found.confidence
        record: dict = {"confidence": None if sure is None else round(sure, 4)}
        if nbest > 1:
            pairs = [{"text": t, "score": round(s, 4)} for t, s in found.nbest]
            record["nbest"] = pairs
        self.details.setdefault(task, {})[name] = record

    def add_audio(self, waves: Sequence[np.ndarray]) -> None:
        """Count waveforms at 16 kHz."""
        self.seconds["audio"] += sum(len(wave) for wave in waves) / SAMPLE_RATE


def utterances_of(data: Path, default: str = "") -> list[tuple[str, str, str]]:
    """List a data directory.

    Args:
        data: With ``wav.scp``, maybe ``segments`` and, where bandwidths are known,
            ``utt2bandwidth``.
        default: Bandwidth of an utterance without one.

    Returns:
        (name, audio file, bandwidth) of each utterance.

    Raises:
        ValueError: There is no ``wav.scp``, or it is empty or faulty.
    """
    if not (data / "wav.scp").is_file():
        raise ValueError(f"{data / 'wav.scp'} does not exist; stage 4 makes it")
    problems: list = []
    waves = read_recordings(data, problems)
    bandwidths = {}
    if (data / "utt2bandwidth").is_file():
        bandwidths = read_table(data / "utt2bandwidth", problems)
    if problems:
        raise ValueError("\n".join(map(str, problems)))
    if not waves:
        raise ValueError(f"{data / 'wav.scp'} is empty; there is nothing to decode")
    return [(u, path, bandwidths.get(u, default)) for u, path in waves.items()]


def languages_of(data: Path) -> dict[str, str]:
    """The spoken language of each utterance in ``utt2lang``; none without the file.

    Raises:
        ValueError: It is faulty.
    """
    if not (data / LANGUAGES).is_file():
        return {}
    problems: list = []
    languages = read_table(data / LANGUAGES, problems)
    if problems:
        raise ValueError("\n".join(map(str, problems)))
    return languages


def read_utterance(name: str, path: str) -> tuple[np.ndarray, int]:
    """Its waveform at 16 kHz and the rate of its file; names it where that fails."""
    try:
        return read_audio(path, commands=True)
    except ValueError as error:
        raise ValueError(f"utterance {name}: {error}") from error


def run_jobs(work: Callable[[Job], Done], jobs: Sequence[Job]) -> Iterator[Done]:
    """Do each job in a process of its own; a single one in this process.

    Args:
        work: A function at the top of its module.
        jobs: What to give it.

    Yields:
        What it returns, the job that is done first first.
    """
    if len(jobs) < 2:
        yield from map(work, jobs)
        return
    # spawned: a process that has run PyTorch's threads cannot be forked safely
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(
        len(jobs), mp_context=context, initializer=quiet_worker
    ) as pool:
        running = [pool.submit(work, job) for job in jobs]
        for done in as_completed(running):
            yield done.result()


def write_results(
    out: Path, names: Sequence[str], done: DecodedPart, more: Mapping[str, Any]
) -> dict[str, Any]:
    """Write ``hyp.<task>`` of each task, and ``decode.json``.

    Args:
        out: Folder to write.
        names: Every utterance, in the order to write.
        done: What all processes have done.
        more: What else ``decode.json`` shall hold.

    Returns:
        The content of ``decode.json``: the number of utterances; seconds of audio and
        of computing; ``rtf``, computing over audio, thus of one process; the tasks;
        and `more`.
    """
    (out / "scores.json").unlink(missing_ok=True)  # of the texts that were here
    for task in _earlier_tasks(out, more):
        if task not in done.texts:  # it would be scored as if it were of this model
            (out / f"hyp.{task}").unlink(missing_ok=True)
            (out / f"details.{task}.jsonl").unlink(missing_ok=True)
    for task, texts in done.texts.items():
        write_table(out / f"hyp.{task}", {name: texts[name] for name in names})
        lines = (
            json.dumps({"utterance": n, **done.details[task][n]}, ensure_ascii=False)
            for n in names
        )
        write_lines(out / f"details.{task}.jsonl", lines)
    seconds = done.seconds
    summary = {
        "utterances": len(names),
        **{f"{what}_seconds": round(value, 3) for what, value in seconds.items()},
        "rtf": round(seconds["compute"] / seconds["audio"], 5),
        **more,
        "tasks": list(done.texts),
    }
    write_lines(out / "decode.json", [json.dumps(summary, indent=2)])
    return summary


def _earlier_tasks(out: Path, more: Mapping[str, Any]) -> Sequence[str]:
    """Tasks whose texts in a folder are of another model, or of other recordings."""
    try:
        before = json.loads((out / "decode.json").read_text(encoding="utf-8"))
        same = all(before[key] == more[key] for key in ("model", "recordings"))
        return () if same else before["tasks"]
    except (OSError, ValueError, KeyError, TypeError):  # none, or of a time before
        return ()


def summary_line(out: str | Path, summary: Mapping[str, Any]) -> str:
    """One line about what `write_results` has written."""
    return (
        f"{out}: {summary['utterances']} utterances, {summary['audio_seconds']} s of "
        f"audio, RTF {summary['rtf']}"
    )
