"""Check every utterance of a data directory and bring its audio to 16 kHz.

    espnet-smoe prepare --in data/train --out dump/raw/train

Every fault is listed by file, utterance and fix, and nothing is written for
training until they are mended or left out with --skip-bad. Started again after a
stop, it goes on where it was. wav.scp and segments are read as Kaldi reads them: a line
of wav.scp that ends in | is a command, which is run in the shell.
"""

import argparse
import json
import os
import sys
import zlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from espnet_smoe.command import new_parser, positive, run_command
from espnet_smoe.data import filter as length_filter
from espnet_smoe.data.check import AUTO, Utterance, check_tables
from espnet_smoe.data.data_dir import (
    LANGUAGES,
    NO_TRANSLATION,
    read_tables,
    write_lines,
)
from espnet_smoe.data.parallel import map_noted
from espnet_smoe.data.problems import Problem, print_problems, split_message
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
from espnet_smoe.data.speech.speech_rate import too_much_text
from espnet_smoe.data.speech.waveform import problem_of
from espnet_smoe.data.task_table import TARGET, load_task_table, targets_of

LONGEST_NAME = 200  # bytes of a file's name


@dataclass(frozen=True)
class AudioJob:
    """What one worker does with one utterance's audio."""

    utterance: Utterance
    audio_dir: Path
    copy: bool

    def key(self) -> list:
        """What the result depends on: a change of any of it means new work."""
        try:
            source = version_of(self.utterance.wav)
        except OSError:
            source = []
        utt = self.utterance
        detect = utt.bandwidth == AUTO
        return [utt.id, utt.wav, source, utt.speed, detect, self.copy]


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
    try:
        wave, rate = read_audio(utt.wav)
    except ValueError as error:
        return AudioResult(problem=split_message(error))
    if problem := problem_of(wave):
        fix = "Replace the file or take the utterance out of the data directory"
        return AudioResult(problem=(f"{utt.wav}: {problem}", fix))
    bandwidth = ""
    if utt.bandwidth == AUTO:
        from espnet_smoe.data.speech.bandwidth import detect_bandwidth

        bandwidth = detect_bandwidth(wave, rate)
    if utt.speed == 1 and not job.copy and fits(utt.wav, len(wave)):
        return AudioResult(utt.wav, len(wave), bandwidth)
    wave = change_speed(resample(wave, rate), utt.speed)
    # Spread over folders: file systems slow down at millions of files in one.
    folder = f"{zlib.crc32(utt.id.encode()) % 256:02x}"
    path = job.audio_dir / folder / f"{_file_name(utt.id)}.wav"
    write_wav(path, wave)
    return AudioResult(str(path), len(wave), bandwidth, stamp_of(path))


def _file_name(utt: str) -> str:
    """A name for any id: no slash, and short enough for a file system (255 bytes)."""
    name = quote(utt, safe="")
    if len(name) <= LONGEST_NAME:
        return name
    return f"{name[:LONGEST_NAME]}-{zlib.crc32(utt.encode()):08x}"


def check_all_audio(jobs: list[AudioJob], memory: Path, nj: int) -> list[AudioResult]:
    """Run :func:`check_audio` over all utterances; good results go to ``memory``."""
    return map_noted(
        check_audio,
        jobs,
        [json.dumps(job.key()) for job in jobs],
        memory,
        nj,
        kind=AudioResult,
        is_good=lambda result: result.problem is None,
        still_holds=lambda result: is_as_stamped(result.wav, result.stamp),
    )


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
    tables, problems = read_tables(args.source)
    if "utt2bandwidth" not in tables and args.bandwidth == "file":
        raise ValueError(
            f"{args.source / 'utt2bandwidth'} does not exist. Write a line 'utterance "
            "label' for each utterance, or run with --bandwidth auto (from the audio) "
            f"or --bandwidth {args.labels[0]} (the same for all)."
        )
    changes: Counter[str] = Counter()  # of texts, by class of Unicode characters
    utterances = check_tables(
        args.source, tables, problems, args.bandwidth, args.labels, changes, targets
    )
    jobs = [AudioJob(utt, args.out / "audio", args.copy) for utt in utterances]
    results = check_all_audio(jobs, args.out / ".checked.jsonl", args.nj)
    for utt, result in zip(utterances, results):
        if result.problem and utt.wav:
            place = str(args.source / "wav.scp")
            problems.append(Problem(place, utt.id, *result.problem))

    report = args.out / "problems.tsv"
    write_lines(report, (problem.row for problem in problems))
    if problems and not args.skip_bad:
        print_problems(problems)
        print(
            f"error: {len(problems)} problems in the data, all listed in {report}. "
            "Mend them, or leave these utterances out with --skip-bad.",
            file=sys.stderr,
        )
        return len(problems)

    bad = {problem.utterance for problem in problems}
    table = _tables_of(utterances, results, bad)
    dropped = length_filter.reasons_to_drop(table, limits, args.bpemodel)
    length_filter.write_kept(args.out, table, dropped)
    _print_summary(args, utterances, table, dropped, problems, report)
    _report_doubtful(table, dropped, args.out / "doubtful.tsv")
    for kind, count in sorted(changes.items()):
        print(f"  texts brought to the one Unicode form: {count} with {kind}")
    return 0


def _tables_of(
    utterances: list[Utterance], results: list[AudioResult], bad: set[str]
) -> dict[str, dict]:
    tables: dict[str, dict] = {name: {} for name in length_filter.TABLES}
    for utt, result in zip(utterances, results):
        if utt.id in bad:
            continue
        bandwidth = result.bandwidth or utt.bandwidth
        row = {
            "wav.scp": result.wav,
            **utt.texts,
            "utt2bandwidth": bandwidth,
            "utt2spk": utt.speaker,
            "utt2condition": utt.condition or bandwidth,
            "utt2num_samples": result.samples,
        }
        if utt.language:
            row[LANGUAGES] = utt.language
        for name, value in row.items():
            tables.setdefault(name, {})[utt.id] = value
    return tables


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


def _report_doubtful(
    table: dict[str, dict], dropped: dict[str, str], report: Path
) -> None:
    """List the kept utterances with more text than can be said in the time."""
    texts = {utt: text for utt, text in table["text"].items() if utt not in dropped}
    samples = table["utt2num_samples"]
    found = too_much_text(texts, {utt: samples[utt] / SAMPLE_RATE for utt in texts})
    rows = (f"{u}\t{table['wav.scp'][u]}\t{why}" for u, why in found.items())
    write_lines(report, rows)
    if found:
        print(
            f"  doubtful: {len(found)} utterances kept with more text than is said in "
            f"that time, listed in {report}: is their audio cut off?"
        )


def _print_summary(
    args: argparse.Namespace,
    utterances: list[Utterance],
    table: dict[str, dict],
    dropped: dict[str, str],
    problems: list[Problem],
    report: Path,
) -> None:
    kept = [utt for utt in table["wav.scp"] if utt not in dropped]
    hours = sum(table["utt2num_samples"][utt] for utt in kept) / SAMPLE_RATE / 3600
    made = str(args.out / "audio") + os.sep
    converted = sum(str(table["wav.scp"][utt]).startswith(made) for utt in kept)
    print(
        f"{args.source} -> {args.out}: {len(kept)} of {len(utterances)} utterances "
        f"kept, {hours:.2f} h"
    )
    print(f"  audio: {converted} converted, {len(kept) - converted} used as they are")
    for name in (name for name in table if name.startswith("text_")):
        without = sum(table[name][utt] == NO_TRANSLATION for utt in kept)
        print(f"  without {name}: {without}")
    print(f"  left out: {length_filter.describe(dropped)}")
    if problems:
        bad = len({problem.utterance for problem in problems})
        print(f"  left out as bad: {bad} utterances, listed in {report}")


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
    length_filter.add_arguments(parser)
    return parser


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
