"""Hear utterances through telephone channels: the NB/WB subset and test set.

    python3 -m espnet_smoe.data.speech.channel --in data/train --out data/train_nbwb \\
        --share 0.15 --seed 0 --nj 4
    python3 -m espnet_smoe.data.speech.channel --in data/test --out data/test_nbwb \\
        --every

The first gives each utterance of a random share one condition; the second gives
every utterance every condition, under the id ``<utterance>-<condition>``. An
utterance that is narrowband already takes narrowband conditions alone. Started
again after a stop, it goes on where it was.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import sys
import zlib
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from urllib.parse import quote

from tqdm import tqdm

from espnet_smoe.command import quiet_worker, run_command
from espnet_smoe.data.check import Utterance, check_tables
from espnet_smoe.data.data_dir import Problem, read_tables, write_lines, write_table
from espnet_smoe.data.prepare import MOST_PROBLEMS_SHOWN, fault_of
from espnet_smoe.data.speech.audio import (
    change_speed,
    is_whole,
    resample,
    version_of,
    write_wav,
)
from espnet_smoe.data.speech.audio import (
    read_listed as read_audio,
)
from espnet_smoe.data.speech.codec import BANDWIDTH_OF, CONDITIONS, Condition
from espnet_smoe.data.speech.random_channel import RandomChannel


@dataclass(frozen=True)
class Passage:
    """One utterance through one condition.

    Attributes:
        id: Name of the result.
        utterance: What is heard.
        condition: What it is heard through.
    """

    id: str
    utterance: Utterance
    condition: Condition

    def path(self, folder: Path) -> Path:
        """The file of the result: another source or condition has another name."""
        source = self.utterance.wav
        depends = [source, self.utterance.speed, self.condition.to_dict()]
        try:
            depends += version_of(source)
        except OSError:  # no such file: said when it is read
            pass
        key = hashlib.blake2b(json.dumps(depends).encode(), digest_size=6).hexdigest()
        # Spread over folders: file systems slow down at millions of files in one.
        spread = f"{zlib.crc32(self.id.encode()) % 256:02x}"
        return folder / spread / f"{quote(self.id, safe='')}-{key}.wav"


@dataclass(frozen=True)
class Job:
    """What one worker does."""

    passage: Passage
    path: Path
    table: str  # where the utterance is listed


def draw_share(
    utterances: list[Utterance], channel: RandomChannel, seed: int
) -> list[Passage]:
    """Draw a share of the utterances and a condition for each of them.

    What an utterance is heard through depends on `seed` and its id alone, and so
    does its rank. Drawn are the lowest ranks: exactly the share, whatever the order;
    a larger share holds the smaller, and an utterance more or less in the data
    exchanges at most one other. Utterances that fit no condition do not count.
    """
    ranked = []
    for utt in utterances:
        uniform = _uniform(seed, utt.id)
        rank = uniform()
        condition = channel.draw(utt.bandwidth, uniform)
        if condition is not None:
            ranked.append((rank, Passage(utt.id, utt, condition)))
    ranked.sort(key=lambda pair: pair[0])
    return [passage for _, passage in ranked[: round(channel.share * len(ranked))]]


def every_condition(
    utterances: list[Utterance], channel: RandomChannel, seed: int
) -> list[Passage]:
    """Hear every utterance through every condition that fits its bandwidth."""
    passages = []
    for utt in utterances:
        for name in channel.conditions:
            made = f"{utt.id}-{name}"
            only = replace(channel, conditions=(name,))
            condition = only.draw(utt.bandwidth, _uniform(seed, made))
            if condition is not None:
                passages.append(Passage(made, utt, condition))
    return passages


def _uniform(seed: int, utterance: str) -> Callable[[], float]:
    # Python promises the same random() for the same string in every release.
    return random.Random(f"{seed} {utterance}").random


def hear(job: Job) -> Problem | None:
    """Write what comes out of the channel, unless it is there already.

    Returns:
        What is wrong with the audio, if anything.
    """
    if is_whole(job.path):
        return None
    utt = job.passage.utterance
    try:
        wave, rate = read_audio(utt.wav)
        if fault := fault_of(wave):
            raise ValueError(f"{utt.wav}: {fault}. Replace or remove the utterance.")
    except ValueError as error:
        cause, _, cure = str(error).rstrip(".").rpartition(". ")
        return Problem(job.table, utt.id, cause, cure)
    wave = change_speed(resample(wave, rate), utt.speed)
    write_wav(job.path, job.passage.condition(wave))
    return None


def hear_all(jobs: list[Job], nj: int) -> list[Problem | None]:
    """Run :func:`hear` over all jobs in `nj` processes of one core each."""
    if nj == 1 or len(jobs) < 2:
        return [hear(job) for job in tqdm(jobs, disable=None)]
    chunk = max(1, min(32, len(jobs) // nj))
    context = get_context("forkserver")  # a fork of threads (tqdm's) may hang
    with ProcessPoolExecutor(nj, mp_context=context, initializer=quiet_worker) as pool:
        results = pool.map(hear, jobs, chunksize=chunk)
        return list(tqdm(results, total=len(jobs), disable=None))


def pass_through(args: argparse.Namespace) -> int:
    """Make one data directory from another.

    Returns:
        The number of problems that stopped it; 0 when the directory is written.

    Raises:
        ValueError: A table is missing, an option is wrong, or nothing is left.
        ImportError: A codec is needed and imageio-ffmpeg is not installed.
    """
    if args.share == 0 and not args.every:
        raise ValueError(
            "--share 0: no utterance is left. Leave this step out, or give a share "
            "above 0."
        )
    modes = args.modes or ("default" if args.every else "random")
    channel = RandomChannel(args.share, tuple(args.conditions), modes)
    channel.require_codecs()
    utterances, problems = _read(args.source)
    draw = every_condition if args.every else draw_share
    passages = draw(utterances, channel, args.seed)
    passages.sort(key=lambda passage: passage.id)

    table = str(args.source / "wav.scp")
    jobs = [Job(p, p.path(args.out / "audio"), table) for p in passages]
    results = hear_all(jobs, args.nj)
    problems += [problem for problem in results if problem]
    report = args.out / "problems.tsv"
    write_lines(report, map(_row, problems))
    for problem in problems[:MOST_PROBLEMS_SHOWN]:
        print(problem, file=sys.stderr)
    if problems and not args.skip_bad:
        print(
            f"error: {len(problems)} problems, all listed in {report}; the other audio "
            "is made. Mend them, or leave these utterances out with --skip-bad.",
            file=sys.stderr,
        )
        return len(problems)

    done = [job for job, problem in zip(jobs, results) if problem is None]
    if not done:
        raise ValueError(
            f"{args.source} -> {args.out}: no utterance is left. Give a larger "
            "--share, or --conditions that fit its bandwidth."
        )
    _write_tables(args.out, done)
    _print_summary(args, utterances, done, len(problems))
    return 0


def _read(source: Path) -> tuple[list[Utterance], list[Problem]]:
    """Read the good utterances of a data directory, and what is wrong with others."""
    tables, problems = read_tables(source)
    if "utt2bandwidth" not in tables:
        raise ValueError(
            f"{source / 'utt2bandwidth'} does not exist. Write a line 'utterance nb' "
            "or 'utterance wb' for each utterance: narrowband audio cannot become "
            "wideband."
        )
    utterances = check_tables(source, tables, problems)
    bad = {problem.utterance for problem in problems}
    return [utt for utt in utterances if utt.id not in bad], problems


def _write_tables(out: Path, jobs: list[Job]) -> None:
    rows = {}
    for job in jobs:
        utt, condition = job.passage.utterance, job.passage.condition
        rows[job.passage.id] = {
            "wav.scp": job.path,
            **utt.texts,
            "utt2spk": utt.speaker,
            "utt2bandwidth": condition.bandwidth,
            "utt2condition": condition.name,
            "utt2channel": json.dumps(condition.to_dict()),
        }
    for name in next(iter(rows.values())):
        write_table(out / name, {utt: row[name] for utt, row in rows.items()})


def _row(problem: Problem) -> str:
    fields = (problem.file, problem.utterance, problem.cause, problem.cure)
    return "\t".join(fields)


def _print_summary(
    args: argparse.Namespace, utterances: list[Utterance], done: list[Job], bad: int
) -> None:
    heard = len({job.passage.utterance.id for job in done})
    print(
        f"{args.source} -> {args.out}: {heard} of {len(utterances)} utterances, "
        f"{len(done)} recordings"
    )
    counts = Counter(job.passage.condition.name for job in done)
    for name in args.conditions:
        print(f"  {name}: {counts[name]}")
    narrow = sum(utt.bandwidth == "nb" for utt in utterances)
    if wide := [name for name in args.conditions if BANDWIDTH_OF[name] == "wb"]:
        print(f"  narrowband already, not heard as {' '.join(wide)}: {narrow}")
    if bad:
        print(f"  left out as bad: {bad}, listed in {args.out / 'problems.tsv'}")


def get_parser() -> argparse.ArgumentParser:
    """Options of the command."""
    parser = argparse.ArgumentParser(
        prog="python3 -m espnet_smoe.data.speech.channel",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--in", dest="source", type=Path, required=True, help="data directory to read")
    add("--out", type=Path, required=True, help="data directory to write")
    add(
        "--share",
        type=float,
        default=0.15,
        help="part of the utterances, 0 to 1 (default: %(default)s)",
    )
    add(
        "--every",
        action="store_true",
        help="every utterance in every condition, instead of a share in one each",
    )
    add(
        "--conditions",
        nargs="+",
        default=list(CONDITIONS),
        metavar="NAME",
        help="default: %(default)s",
    )
    add(
        "--modes",
        help="random: any bit rate or law of the codec; default: the usual one "
        "(default: default with --every, random without)",
    )
    add("--seed", type=int, default=0, help="default: %(default)s")
    add("--nj", type=int, default=os.cpu_count() or 1, help="processes")
    add(
        "--skip-bad",
        action="store_true",
        help="leave out utterances with problems instead of stopping",
    )
    return parser


def main(argv: list[str] | None = None) -> None:
    """Run the command."""
    parser = get_parser()
    args = parser.parse_args(argv)
    if args.nj < 1:
        parser.error(f"--nj {args.nj}: at least one process is needed")
    try:
        if pass_through(args):
            raise SystemExit(1)
    except (ValueError, ImportError) as error:
        raise SystemExit(f"error: {error}") from error


if __name__ == "__main__":
    sys.exit(run_command(main))
