"""Prepare AIHub's speech corpora, zipped or unpacked, as data directories.

    python -m espnet_smoe.data.corpora --aihub /corpora/aihub --out data

The folder holds corpora such as 123.<name>, or is one. Audio stays where it is, in its
archive or not: wav.scp points at it. Training gives train; Validation gives dev and
test; eval_clean, eval_other and FLEURS are test sets of their own. What is left out is
listed in problems.tsv and counted in report.md. Started again after a stop, it does not
read again the audio that it has measured.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from espnet_smoe.command import run_command
from espnet_smoe.data.corpora import config
from espnet_smoe.data.corpora.base import Ledger
from espnet_smoe.data.corpora.collect import collect
from espnet_smoe.data.corpora.measure import check, measure_all
from espnet_smoe.data.corpora.report import report
from espnet_smoe.data.corpora.sets import Sizes, make_sets, write_sets
from espnet_smoe.data.data_dir import write_lines
from espnet_smoe.data.text.korean import CHOICES, KoreanOptions
from espnet_smoe.data.text.parallel_text import Translations


def prepare(args: argparse.Namespace) -> str:
    """Read, measure, divide and write; returns the report.

    Raises:
        ValueError: A path or an option is wrong, or a set would be empty.
    """
    sizes = Sizes(args.dev_utterances, args.test_utterances, args.seed)
    options = KoreanOptions(**{name: getattr(args, name) for name in CHOICES})
    rules = config.read_config(args.config) if args.config else config.Config()
    try:
        translations = Translations.read(args.parallel, rules.parallel_columns)
    except ImportError as error:
        raise ValueError(str(error)) from error
    with Ledger(args.out / "problems.tsv") as ledger:
        entries = collect(args.aihub, args.fleurs, rules, options, translations, ledger)
        measures = measure_all(entries, args.out / ".measured.jsonl", args.nj)
        entries = check(entries, measures, ledger)
        sets = make_sets(entries, sizes, ledger)
        write_sets(args.out, sets)
        text = report(sets, ledger)
    write_lines(args.out / "report.md", [text])
    return text


def get_parser() -> argparse.ArgumentParser:
    """Options of the command."""
    parser = argparse.ArgumentParser(
        prog="python -m espnet_smoe.data.corpora",
        description=__doc__,
        epilog=f"The file of --config:\n\n{config.__doc__}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--aihub", type=Path, required=True, help="folder of corpora, or one corpus")
    add("--fleurs", type=Path, help="folder of ko_kr and en_us of google/fleurs")
    add(
        "--parallel",
        type=Path,
        nargs="+",
        default=[],
        help="tables of parallel text (xlsx, csv, tsv, json), joined by id or sentence",
    )
    add("--config", type=Path, help="YAML: what is special about a corpus, see below")
    add("--out", type=Path, default=Path("data"), help="where the sets go (data)")
    default = Sizes()
    add("--dev-utterances", type=int, default=default.dev, help="default: %(default)s")
    add(
        "--test-utterances",
        type=int,
        default=default.test,
        help="of test, or of each of test_male and test_female where Validation has so "
        "many of either (default: %(default)s)",
    )
    add("--seed", type=int, default=default.seed, help="of the draw of dev and test")
    add("--nj", type=int, default=os.cpu_count() or 1, help="processes that read audio")
    group = parser.add_argument_group("Korean text", KoreanOptions.__doc__)
    plain = KoreanOptions()
    for name, choices in CHOICES.items():
        group.add_argument(
            f"--{name}",
            choices=choices,
            default=getattr(plain, name),
            help="default: %(default)s",
        )
    return parser


def main(argv: list[str] | None = None) -> None:
    """Run the command."""
    parser = get_parser()
    args = parser.parse_args(argv)
    if args.nj < 1:
        parser.error(f"--nj {args.nj}: at least one process is needed")
    try:
        print(prepare(args))
    except ValueError as error:
        raise SystemExit(f"error: {error}") from error


if __name__ == "__main__":
    sys.exit(run_command(main))
