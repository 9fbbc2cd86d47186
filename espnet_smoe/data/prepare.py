"""Check every utterance of a data directory and bring its audio to 16 kHz.

    espnet-smoe prepare --in data/train --out dump/raw/train

Every fault is listed by file, utterance and fix, and nothing is written for
training until they are mended or left out with --skip-bad. Started again after a
stop, it goes on where it was. wav.scp and segments are read as Kaldi reads them: a line
of wav.scp that ends in | is a command, which is run in the shell.
"""

import argparse
import os
import re
import sys
from array import array
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from espnet_smoe.command import new_parser, positive, run_command
from espnet_smoe.data import filter as length_filter
from espnet_smoe.data.check import AUTO, Checker
from espnet_smoe.data.checked_audio import (
    AudioJob,
    AudioResult,
    check_all_audio,
    count_utterances,
)
from espnet_smoe.data.data_dir import LANGUAGES, NO_TRANSLATION, new_lines
from espnet_smoe.data.problems import BadData, Problem, ProblemLines
from espnet_smoe.data.speech.audio import SAMPLE_RATE
from espnet_smoe.data.speech.speech_rate import fastest, syllables
from espnet_smoe.data.task_table import TARGET, load_task_table, targets_of


def prepare(args: argparse.Namespace) -> int:
    """Prepare one data directory.

    Returns:
        The number of problems that stopped it; 0 when the directory is written.

    Raises:
        ValueError: The directory lacks a file, an option is wrong, or no utterance
            is left.
    """
    limits = length_filter.limits_of(args)
    targets = _targets(args.tasks)
    checker = Checker(args.source, args.bandwidth, args.labels, targets)
    if "utt2bandwidth" not in checker.present and args.bandwidth == "file":
        raise ValueError(
            f"{args.source / 'utt2bandwidth'} does not exist. Write a line 'utterance "
            "label' for each utterance, or run with --bandwidth auto (from the audio) "
            f"or --bandwidth {args.labels[0]} (the same for all)."
        )
    checked = check_all_audio(
        checker, args.out, args.copy, args.nj, args.part, args.shards
    )
    total = count_utterances(args.source)
    shown = tqdm(checked, total=total // args.part[1], disable=None, desc="audio")
    if args.part[1] > 1:
        count = sum(job.utterance is not None for job, _ in shown)
        print(f"{args.source} -> {args.out}: {count} utterances of part {args.part[0]}")
        return 0
    languages = [LANGUAGES] if LANGUAGES in checker.present else []
    names = dict.fromkeys([*length_filter.TABLES, *checker.texts, *languages])
    summary = Summary(args.out, checker.texts)
    try:
        with length_filter.Kept(args.out, [*names], limits, args.bpemodel) as kept:
            with new_lines(args.out / "problems.tsv") as write:
                problems = ProblemLines(write)
                for job, result in shown:
                    _take(args, job, result, kept, problems, summary)
            if problems.count and not args.skip_bad:
                raise BadData
    except BadData:
        problems.show()
        print(
            f"error: {problems.count} problems in the data, all listed in "
            f"{args.out / 'problems.tsv'}. Mend them, or leave these utterances out "
            "with --skip-bad.",
            file=sys.stderr,
        )
        return problems.count
    summary.show(args.source, kept)
    for kind, count in sorted(checker.changes.items()):
        print(f"  texts brought to the one Unicode form: {count} with {kind}")
    return 0


@dataclass
class Summary:
    """What became of the utterances, counted.

    Attributes:
        out: The directory that is written.
        texts: Its files of texts.
        listed: Utterances of ``wav.scp``.
        bad: Of them, left out for problems.
        converted: Files that were written, of those kept.
        samples: Of those kept, at 16 kHz.
        without: Utterances without text, by file.
        rates: Syllables a second of those kept, in their order.
    """

    out: Path
    texts: list[str]
    listed: int = 0
    bad: int = 0
    converted: int = 0
    samples: int = 0
    without: Counter[str] = field(default_factory=Counter)
    rates: array = field(default_factory=lambda: array("f"))

    def add(self, row: dict[str, Any], made_here: bool) -> None:
        """Count an utterance that is kept."""
        self.converted += made_here
        self.samples += row["utt2num_samples"]
        self.without.update(t for t in self.texts if row[t] == NO_TRANSLATION)
        seconds = row["utt2num_samples"] / SAMPLE_RATE
        self.rates.append(syllables(row["text"]) / seconds)

    def show(self, source: Path, kept: length_filter.Kept) -> None:
        """Print it, and list what is doubtful."""
        print(
            f"{source} -> {self.out}: {kept.count} of {self.listed} utterances kept, "
            f"{self.samples / SAMPLE_RATE / 3600:.2f} h"
        )
        as_they_are = kept.count - self.converted
        print(f"  audio: {self.converted} converted, {as_they_are} used as they are")
        for name in self.texts:
            if name != "text":
                print(f"  without {name}: {self.without[name]}")
        print(f"  left out: {length_filter.describe(kept.dropped)}")
        if self.bad:
            report = self.out / "problems.tsv"
            print(f"  left out as bad: {self.bad} utterances, listed in {report}")
        self._report_doubtful()

    def _report_doubtful(self) -> None:
        """List the kept utterances with more text than can be said in the time."""
        most, count = fastest(self.rates), 0
        report = self.out / "doubtful.tsv"
        with (
            new_lines(report) as write,
            open(self.out / "wav.scp", encoding="utf-8", errors="surrogateescape") as f,
        ):
            for line, rate in zip(f, self.rates):
                if rate > most:
                    utt, wav = line.rstrip("\n").split(" ", 1)
                    why = (
                        f"{rate:.1f} syllables a second; more than {most:.1f} are rare"
                    )
                    write(f"{utt}\t{wav}\t{why}")
                    count += 1
        if count:
            print(
                f"  doubtful: {count} utterances kept with more text than is said in "
                f"that time, listed in {report}: is their audio cut off?"
            )


def _take(
    args: argparse.Namespace,
    job: AudioJob,
    result: AudioResult,
    kept: length_filter.Kept,
    problems: ProblemLines,
    summary: Summary,
) -> None:
    """Write one utterance, or what is wrong with it."""
    utt, found = job.utterance, list(job.problems)
    if utt is not None and utt.wav and result.problem:
        place = str(args.source / "wav.scp")
        found.append(Problem(place, utt.id, *result.problem))
    problems.extend(found)
    summary.bad += bool(found)
    summary.listed += utt is not None
    if utt is None or found:
        return
    bandwidth = result.bandwidth or utt.bandwidth
    row = {
        "wav.scp": result.wav,
        **utt.texts,
        "utt2bandwidth": bandwidth,
        "utt2spk": utt.speaker,
        "utt2condition": utt.condition or bandwidth,
        "utt2num_samples": result.samples,
        LANGUAGES: utt.language,
    }
    if kept.add(utt.id, row):
        summary.add(row, result.stamp is not None)


def _targets(tasks: str | None) -> list[str]:
    """The files of texts that the tasks need.

    Raises:
        ValueError: One that the later stages would not find.
    """
    targets = targets_of(load_task_table(tasks))
    for name in targets:
        if not TARGET.fullmatch(name):
            raise ValueError(
                f"--tasks {tasks}: target '{name}': in a data directory, texts are "
                f"called text or text_<name>. Call it text_{name.removeprefix('text')}."
            )
    return targets


def get_parser() -> argparse.ArgumentParser:
    """Options of the command."""
    parser = new_parser("espnet-smoe prepare", __doc__)
    add = parser.add_argument
    add("--in", dest="source", type=Path, required=True, help="data directory to read")
    add("--out", type=Path, required=True, help="data directory to write")
    add("--nj", type=positive, default=os.cpu_count() or 1, help="processes")
    add(
        "--bandwidth",
        default="file",
        help="where utt2bandwidth has no line for an utterance: 'file' calls that an "
        "error, 'auto' estimates it from the audio, a label takes that label",
    )
    add(
        "--labels",
        nargs="+",
        default=["nb", "wb"],
        help="bandwidths that the model knows (default: nb wb)",
    )
    add(
        "--copy",
        action="store_true",
        help="write a copy even of files that are 16 kHz mono 16-bit already",
    )
    add(
        "--skip-bad",
        action="store_true",
        help="leave out utterances with problems instead of stopping",
    )
    add(
        "--tasks",
        help="the model's tasks: its training YAML, or names (asr st ja); their "
        "texts are <na> where there are none (default: asr st; every text_<name> that "
        "is there comes along in any case)",
    )
    add(
        "--part",
        type=_part,
        default=(1, 1),
        metavar="N/ALL",
        help="only check and convert the audio of one part of the utterances, such as "
        "3/8; a run without --part, after those of all parts, writes the directory",
    )
    add(
        "--shards",
        type=positive,
        default=0,
        metavar="N",
        help="write the audio as tar archives of N utterances each, not as files",
    )
    length_filter.add_arguments(parser)
    return parser


def _part(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise argparse.ArgumentTypeError(f"'{text}' is not a part such as 3/8")
    return int(match[1]), int(match[2])


def main(argv: list[str] | None = None) -> int:
    """Run the command.

    Returns:
        0, or 1 where utterances have problems.
    """
    parser = get_parser()
    args = parser.parse_args(argv)
    known = ["file", AUTO, *args.labels]
    if args.bandwidth not in known:
        parser.error(f"--bandwidth {args.bandwidth}: use one of {' '.join(known)}")
    return 1 if prepare(args) else 0


if __name__ == "__main__":
    sys.exit(run_command(main))
