"""Send utterances through simulated telephone channels: NB/WB subset and test set.

    python3 -m espnet_smoe.data.speech.channel --in data/train --out data/train_nbwb \\
        --share 0.15 --seed 0 --nj 4
    python3 -m espnet_smoe.data.speech.channel --in data/test --out data/test_nbwb \\
        --every

The first gives each utterance of a random share one condition; the second gives
every utterance every condition, under the id ``<utterance>-<condition>``. An
utterance that is narrowband already takes narrowband conditions alone. Started
again after a stop, it goes on where it was.
"""

import argparse
import hashlib
import json
import os
import random
import sys
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote

import numpy as np
from tqdm import tqdm

from espnet_smoe.command import new_parser, positive, run_command
from espnet_smoe.data.check import Checker, Utterance
from espnet_smoe.data.data_dir import LANGUAGES, find_tables, new_lines, new_tables
from espnet_smoe.data.parallel import map_unknown
from espnet_smoe.data.problems import BadData, Problem, ProblemLines, split_message
from espnet_smoe.data.sorted_rows import sorted_rows
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
from espnet_smoe.data.speech.waveform import problem_of

COLUMNS = ("utt2spk", "utt2bandwidth", "utt2condition", "utt2channel")


@dataclass(frozen=True)
class ConditionedUtterance:
    """One utterance through one condition.

    Attributes:
        id: Name of the result.
        utterance: What goes into the channel.
        condition: The channel.
    """

    id: str
    utterance: Utterance
    condition: Condition

    def path(self, folder: Path) -> str:
        """The file of the result: another source or condition has another name."""
        source = self.utterance.wav
        depends = [source, self.utterance.speed, self.condition.to_dict()]
        try:
            depends += version_of(source)
        except OSError:  # no such file: an error when it is read
            pass
        key = hashlib.blake2b(json.dumps(depends).encode(), digest_size=6).hexdigest()
        # Spread over folders: file systems slow down at millions of files in one.
        spread = f"{zlib.crc32(self.id.encode()) % 256:02x}"
        return os.path.join(folder, spread, f"{quote(self.id, safe='')}-{key}.wav")


@dataclass(frozen=True)
class Job:
    """What one worker does."""

    conditioned: ConditionedUtterance
    path: str
    table: str  # where the utterance is listed


def draw_conditions(
    utterances: Iterable[Utterance], channel: RandomChannel, seed: int
) -> Iterator[ConditionedUtterance]:
    """Draw a share of the utterances and a condition for each of them.

    The condition of an utterance depends on `seed` and its id alone, and so
    does its rank. Drawn are the lowest ranks: exactly the share, whatever the order;
    a larger share holds the smaller, and an utterance more or less in the data
    exchanges at most one other. Utterances that fit no condition do not count.

    Args:
        utterances: Read twice.
        channel: The share and the conditions.
        seed: See above.

    Yields:
        In the order of the utterances.
    """

    def ranked() -> Iterator[tuple[float, Utterance, Condition]]:
        for utt in utterances:
            uniform = _uniform(seed, utt.id)
            rank = uniform()
            condition = channel.draw(utt.bandwidth, uniform)
            if condition is not None:
                yield rank, utt, condition

    ranks = np.fromiter((rank for rank, *_ in ranked()), float)
    number = round(channel.share * len(ranks))
    highest = np.partition(ranks, number - 1)[number - 1] if number else -1
    for rank, utt, condition in ranked():
        if rank <= highest:
            yield ConditionedUtterance(utt.id, utt, condition)


def every_condition(
    utterances: Iterable[Utterance], channel: RandomChannel, seed: int
) -> Iterator[ConditionedUtterance]:
    """Every utterance with every condition that fits its bandwidth."""
    for utt in utterances:
        for name in channel.conditions:
            own = f"{utt.id}-{name}"
            only = replace(channel, conditions=(name,))
            condition = only.draw(utt.bandwidth, _uniform(seed, own))
            if condition is not None:
                yield ConditionedUtterance(own, utt, condition)


def _uniform(seed: int, utterance: str) -> Callable[[], float]:
    # Python promises the same random() for the same string in every release.
    return random.Random(f"{seed} {utterance}").random


def apply_condition(job: Job) -> Problem | None:
    """Write what comes out of the channel, unless it is there already.

    Returns:
        What is wrong with the audio, if anything.
    """
    if is_whole(job.path):
        return None
    utt = job.conditioned.utterance
    try:
        wave, rate = read_audio(utt.wav)
        if problem := problem_of(wave):
            raise ValueError(f"{utt.wav}: {problem}. Replace or remove the utterance.")
    except ValueError as error:
        return Problem(job.table, utt.id, *split_message(error))
    wave = change_speed(resample(wave, rate), utt.speed)
    write_wav(job.path, job.conditioned.condition(wave))
    return None


def make_conditions(args: argparse.Namespace) -> int:
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
    source = _Source(args.source, args.out)
    draw = every_condition if args.every else draw_conditions
    table = str(args.source / "wav.scp")
    report = args.out / "problems.tsv"
    done = Counter[str]()
    sources = 0
    try:
        with new_tables(args.out, source.columns) as write:
            with new_lines(report) as add:
                problems = ProblemLines(add)
                source.check(problems)
                jobs = (
                    Job(one, one.path(args.out / "audio"), table)
                    for one in draw(source, channel, args.seed)
                )
                made = map_unknown(_apply, ((job, None) for job in jobs), args.nj)
                before = None
                for job, (problem,) in tqdm(made, disable=None, desc="channel"):
                    problems.extend([problem] if problem else [])
                    if problem is None:
                        one = job.conditioned
                        write(one.id, _row(job))
                        done[one.condition.name] += 1
                        sources += one.utterance.id != before
                        before = one.utterance.id
            problems.show()
            if problems.count and not args.skip_bad:
                raise BadData
            if not done:
                raise ValueError(
                    f"{args.source} -> {args.out}: no utterance is left. Give a larger "
                    "--share, or --conditions that fit its bandwidth."
                )
    except BadData:
        print(
            f"error: {problems.count} problems, all listed in {report}; the other "
            "audio is made. Mend them, or leave these utterances out with --skip-bad.",
            file=sys.stderr,
        )
        return problems.count
    print(
        f"{args.source} -> {args.out}: {sources} of {source.count} utterances, "
        f"{done.total()} recordings"
    )
    _show(args.conditions, done, source.narrow)
    if problems.count:
        print(f"  left out as bad: {problems.count}, listed in {report}")
    return 0


def _show(conditions: Sequence[str], done: Counter[str], narrow: int) -> None:
    """How many recordings each condition has."""
    for name in conditions:
        print(f"  {name}: {done[name]}")
    if wide := [name for name in conditions if BANDWIDTH_OF[name] == "wb"]:
        print(f"  narrowband already, not made into {' '.join(wide)}: {narrow}")


class _Source:
    """The good utterances of a data directory, read anew each time."""

    def __init__(self, directory: Path, scratch: Path):
        self._checker = Checker(directory)
        self._scratch = scratch
        self.count = self.narrow = 0
        if "utt2bandwidth" not in self._checker.present:
            raise ValueError(
                f"{directory / 'utt2bandwidth'} does not exist. Write a line "
                "'utterance nb' or 'utterance wb' for each utterance: narrowband audio "
                "cannot become wideband."
            )

    @property
    def columns(self) -> list[str]:
        """The tables that are written."""
        told = [LANGUAGES] if LANGUAGES in self._checker.present else []
        return ["wav.scp", *self._checker.texts, *COLUMNS, *told]

    def check(self, problems: ProblemLines) -> None:
        """Count the utterances, and report what is wrong with the tables."""
        for utt, found in self._read():
            problems.extend(found)
            if utt is not None and not found:
                self.count += 1
                self.narrow += utt.bandwidth == "nb"

    def __iter__(self) -> Iterator[Utterance]:
        return (utt for utt, found in self._read() if utt is not None and not found)

    def _read(self) -> Iterator[tuple[Utterance | None, list[Problem]]]:
        tables = find_tables(self._checker.directory)
        with sorted_rows(tables, self._scratch) as rows:
            yield from map(self._checker.check, rows)


def _apply(job: Job) -> tuple[Problem | None]:
    return (apply_condition(job),)  # None would be what is not known


def _row(job: Job) -> dict[str, object]:
    utt, condition = job.conditioned.utterance, job.conditioned.condition
    return {
        "wav.scp": job.path,
        **utt.texts,
        "utt2spk": utt.speaker,
        "utt2bandwidth": condition.bandwidth,
        "utt2condition": condition.name,
        "utt2channel": json.dumps(condition.to_dict()),
        LANGUAGES: utt.language,
    }


def get_parser() -> argparse.ArgumentParser:
    """Options of the command."""
    parser = new_parser("python3 -m espnet_smoe.data.speech.channel", __doc__)
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
    add("--nj", type=positive, default=os.cpu_count() or 1, help="processes")
    add(
        "--skip-bad",
        action="store_true",
        help="leave out utterances with problems instead of stopping",
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command.

    Returns:
        0, or 1 where utterances have problems.
    """
    args = get_parser().parse_args(argv)
    return 1 if make_conditions(args) else 0


if __name__ == "__main__":
    sys.exit(run_command(main))
