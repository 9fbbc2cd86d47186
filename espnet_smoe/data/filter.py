"""Leave out utterances that are too long or too short, and say how many.

python3 -m espnet_smoe.data.filter --in dump/raw/org/train --out dump/raw/train
"""

import argparse
import math
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tqdm import tqdm

from espnet_smoe.command import new_parser, run_command
from espnet_smoe.data.data_dir import (
    LANGUAGES,
    NO_TRANSLATION,
    new_lines,
    new_tables,
)
from espnet_smoe.data.sorted_rows import sorted_rows
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


class Kept:
    """Writes the utterances within limits as a data directory, and lists the others.

    Tables and list appear when all of it is written, or not at all.

    Args:
        out: The data directory.
        names: Its tables.
        limits: The bounds.
        bpemodel: Tokenizer; without it, texts of any length stay.

    Attributes:
        count: Utterances that stay.
        dropped: How many do not, by reason.
    """

    def __init__(
        self,
        out: Path,
        names: Sequence[str],
        limits: Limits,
        bpemodel: Path | None = None,
    ):
        self.count, self.dropped = 0, Counter[str]()
        self._out, self._names, self._limits = out, names, limits
        self._texts = [name for name in names if TARGET.fullmatch(name)]
        self._tokenizer = None
        if bpemodel and limits.max_tokens:
            from espnet_smoe.data.text.tokenizer import load_tokenizer

            self._tokenizer = load_tokenizer(bpemodel)
        self._files = ExitStack()

    def __enter__(self) -> Self:
        enter = self._files.enter_context
        self._write = enter(new_tables(self._out, self._names))
        self._list = enter(new_lines(self._out / "filtered.tsv"))
        return self

    def __exit__(self, *error: Any) -> None:
        if error[0] is None and not self.count:
            with self._files:
                raise ValueError(
                    f"{self._out}: no utterance is left; dropped: "
                    f"{describe(self.dropped)}. Loosen --max-seconds, --min-seconds, "
                    "--max-tokens or mend the data."
                )
        self._files.__exit__(*error)
        if error[0] is None:
            for name in set(OPTIONAL) - set(self._names):  # an earlier run's
                (self._out / name).unlink(missing_ok=True)

    def add(self, utt: str, row: Mapping[str, Any]) -> bool:
        """Write or list an utterance.

        Args:
            utt: Its name.
            row: Its value for each table.

        Returns:
            Whether it stays.
        """
        reason = self._reason_to_drop(row)
        if reason:
            self.dropped[reason] += 1
            self._list(f"{utt}\t{reason}")
        else:
            self.count += 1
            self._write(utt, row)
        return not reason

    def _reason_to_drop(self, row: Mapping[str, Any]) -> str:
        limits = self._limits
        seconds = int(row["utt2num_samples"]) / SAMPLE_RATE
        if limits.max_seconds and seconds > limits.max_seconds:
            return f"longer than {limits.max_seconds:g} s"
        if seconds < limits.min_seconds:
            return f"shorter than {limits.min_seconds:g} s"
        for name in self._texts if self._tokenizer else ():
            text = row[name]
            if text == NO_TRANSLATION:
                continue
            if len(self._tokenizer.encode(text)) > limits.max_tokens:
                return f"{name} longer than {limits.max_tokens} tokens"
        return ""


def describe(dropped: Counter[str]) -> str:
    """The counts by reason, on one line."""
    return ", ".join(f"{n} {reason}" for reason, n in sorted(dropped.items())) or "none"


def filter_directory(
    source: Path, out: Path, limits: Limits, bpemodel: Path | None = None
) -> Counter[str]:
    """Copy a prepared data directory without the utterances outside the limits.

    Returns:
        How many were dropped, by reason.

    Raises:
        ValueError: ``source`` is not a prepared directory, or nothing is left.
    """
    there = [name for name in OPTIONAL if (source / name).is_file()]
    names = list(dict.fromkeys([*TABLES, *find_targets(source), *there]))
    for name in names:
        if not (source / name).is_file():
            raise ValueError(
                f"{source / name} does not exist. Stage 3 "
                "(python3 -m espnet_smoe.data.prepare) makes it."
            )
    tables = {name: source / name for name in names}
    kept = Kept(out, names, limits, bpemodel)
    with kept, sorted_rows(tables, out) as rows:
        for row in tqdm(rows, disable=None, desc=str(source), unit=" utterances"):
            lacking = [name for name in names if name not in row.values]
            if lacking or row.problems:
                place = source / (lacking or names)[0]
                raise ValueError(
                    f"{place}: utterance {row.id} is not in all tables once; make "
                    "them again with stage 3 (python3 -m espnet_smoe.data.prepare)."
                )
            kept.add(row.id, row.values)
    total = kept.count + kept.dropped.total()
    print(f"{source} -> {out}: {kept.count} of {total} utterances kept")
    print(f"  left out: {describe(kept.dropped)} (named in {out / 'filtered.tsv'})")
    return kept.dropped


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
