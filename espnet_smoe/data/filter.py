"""Leave out utterances that are too long or too short, and say how many.

python3 -m espnet_smoe.data.filter --in dump/raw/org/train --out dump/raw/train
"""

import argparse
import math
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from espnet_smoe.command import new_parser, run_command
from espnet_smoe.data.data_dir import (
    LANGUAGES,
    NO_TRANSLATION,
    read_table,
    write_lines,
    write_table,
)
from espnet_smoe.data.speech.audio import SAMPLE_RATE
from espnet_smoe.data.task_table import TARGET, find_targets

# Of every prepared directory, beside the texts of other tasks, text_<name>.
TABLES = (
    "wav.scp",
    "text",
    "utt2bandwidth",
    "utt2spk",
    "utt2condition",
    "utt2num_samples",
)
OPTIONAL = (LANGUAGES,)  # where the directory that was prepared had them


@dataclass(frozen=True)
class Limits:
    """Bounds on an utterance; 0 means no bound.

    Attributes:
        min_seconds: Shortest audio in seconds.
        max_seconds: Longest audio in seconds.
        max_tokens: Longest text of any task in tokens.
    """

    min_seconds: float = 0.1
    max_seconds: float = 30.0
    max_tokens: int = 120


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of :class:`Limits` and of the tokenizer."""
    default = Limits()
    add = parser.add_argument
    add("--min-seconds", type=float, default=default.min_seconds)
    add(
        "--max-seconds",
        type=float,
        default=default.max_seconds,
        help="leave out longer audio; 0 = any length (default: %(default)s)",
    )
    add(
        "--max-tokens",
        type=int,
        default=default.max_tokens,
        help="leave out longer texts, where --bpemodel is given; 0 = any length",
    )
    add("--bpemodel", type=Path, help="the tokenizer that stage 5 trained")


def limits_of(args: argparse.Namespace) -> Limits:
    """The limits that the options say.

    Raises:
        ValueError: A limit is negative or the tokenizer does not exist.
    """
    limits = Limits(args.min_seconds, args.max_seconds, args.max_tokens)
    if not all(map(math.isfinite, (limits.min_seconds, limits.max_seconds))):
        raise ValueError(f"a limit is no number of seconds: {limits}. Use 0 for none.")
    if min(limits.min_seconds, limits.max_seconds, limits.max_tokens) < 0:
        raise ValueError(f"a limit is negative: {limits}. Use 0 for no limit.")
    if 0 < limits.max_seconds < limits.min_seconds:
        raise ValueError(
            f"--min-seconds {limits.min_seconds:g} is longer than --max-seconds "
            f"{limits.max_seconds:g}: nothing would be left. Exchange them."
        )
    if args.bpemodel and not args.bpemodel.is_file():
        raise ValueError(f"{args.bpemodel} does not exist; stage 5 makes it.")
    return limits


def reasons_to_drop(
    tables: dict[str, dict], limits: Limits, bpemodel: Path | None = None
) -> dict[str, str]:
    """Find the utterances outside the limits.

    Args:
        tables: `TABLES`, of which ``utt2num_samples`` (samples at 16 kHz) and ``text``
            are read, and the texts of other tasks.
        limits: The bounds.
        bpemodel: Tokenizer; without it, texts of any length stay.

    Returns:
        Utterance to the reason why it is dropped.
    """
    dropped = {}
    for utt, samples in tables["utt2num_samples"].items():
        seconds = int(samples) / SAMPLE_RATE
        if limits.max_seconds and seconds > limits.max_seconds:
            dropped[utt] = f"longer than {limits.max_seconds:g} s"
        elif seconds < limits.min_seconds:
            dropped[utt] = f"shorter than {limits.min_seconds:g} s"
    if bpemodel and limits.max_tokens:
        from espnet_smoe.data.text.tokenizer import load_tokenizer

        tokenizer = load_tokenizer(bpemodel)
        for name in [name for name in tables if TARGET.fullmatch(name)]:
            for utt, text in tables[name].items():
                if utt in dropped or text == NO_TRANSLATION:
                    continue
                if len(tokenizer.encode(text)) > limits.max_tokens:
                    dropped[utt] = f"{name} longer than {limits.max_tokens} tokens"
    return dropped


def write_kept(out: Path, tables: dict[str, dict], dropped: dict[str, str]) -> None:
    """Write a data directory without the dropped utterances, and their list.

    Raises:
        ValueError: Nothing would be left.
    """
    kept = [utt for utt in tables["wav.scp"] if utt not in dropped]
    if not kept:
        raise ValueError(
            f"{out}: no utterance is left; dropped: {describe(dropped)}. "
            "Loosen --max-seconds, --min-seconds, --max-tokens or mend the data."
        )
    for name in OPTIONAL:
        if name not in tables:  # an earlier run's
            (out / name).unlink(missing_ok=True)
    for name, table in tables.items():
        write_table(out / name, {utt: table[utt] for utt in kept})
    lines = (f"{utt}\t{reason}" for utt, reason in dropped.items())
    write_lines(out / "filtered.tsv", lines)


def describe(dropped: dict[str, str]) -> str:
    """Count the dropped utterances by reason, on one line."""
    counts = Counter(dropped.values())
    return ", ".join(f"{n} {reason}" for reason, n in sorted(counts.items())) or "none"


def filter_directory(
    source: Path, out: Path, limits: Limits, bpemodel: Path | None = None
) -> dict[str, str]:
    """Copy a prepared data directory without the utterances outside the limits.

    Returns:
        Utterance to the reason why it was dropped.

    Raises:
        ValueError: ``source`` is not a prepared directory, or nothing is left.
    """
    tables = {}
    there = [name for name in OPTIONAL if (source / name).is_file()]
    for name in dict.fromkeys([*TABLES, *find_targets(source), *there]):
        if not (source / name).is_file():
            raise ValueError(
                f"{source / name} does not exist. Stage 3 "
                "(python3 -m espnet_smoe.data.prepare) makes it."
            )
        tables[name] = read_table(source / name, [])
    dropped = reasons_to_drop(tables, limits, bpemodel)
    write_kept(out, tables, dropped)
    total = len(tables["wav.scp"])
    print(f"{source} -> {out}: {total - len(dropped)} of {total} utterances kept")
    print(f"  left out: {describe(dropped)} (named in {out / 'filtered.tsv'})")
    return dropped


def get_parser() -> argparse.ArgumentParser:
    """Options of the command."""
    parser = new_parser("python3 -m espnet_smoe.data.filter", __doc__)
    parser.add_argument("--in", dest="source", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    add_arguments(parser)
    return parser


def main(argv: list[str] | None = None) -> None:
    """Run the command."""
    args = get_parser().parse_args(argv)
    filter_directory(args.source, args.out, limits_of(args), args.bpemodel)


if __name__ == "__main__":
    sys.exit(run_command(main))
