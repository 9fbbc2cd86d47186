"""``espnet-smoe benchmark``: what the package claims about time and memory."""

import argparse
import importlib
import sys
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from espnet_smoe.command import positive, run_command

BENCHMARKS = {
    "moe": "mixtures, by label and learned, over the dense feed-forward block",
    "decode": "beam search beside ESPnet's; two tasks beside one by one",
    "rescore": "attention rescoring in one batch beside loops over hypotheses",
    "rtf": "a mixture beside dense models of its active and of all its parameters",
    "train": "joint beside alternate training",
    "beside_espnet": "a step of training beside ESPnet's own classes",
    "gpu": "every path on a GPU",
    "codec": "the channel conditions beside the starts of FFmpeg",
    "whisper": "an imported Whisper beside faster-whisper, on the same weights",
    "long_form": "words lost or doubled where recordings are cut",
    "wfst": "building a decoding graph, and searching in it",
}
# Those with options of their own.
COMMANDS = {"gpu": "gpu.__main__", "long_form": "long_form"}


def get_parser(words: Sequence[str] = tuple(BENCHMARKS)) -> argparse.ArgumentParser:
    """Options of the command.

    Args:
        words: Of the command line; only a benchmark that is among them has its
            options loaded, which takes a while.
    """
    parser = argparse.ArgumentParser(
        prog="espnet-smoe benchmark",
        description="Time the package beside its baselines, on this machine.",
    )
    commands = parser.add_subparsers(dest="benchmark", required=True)
    for name, what in BENCHMARKS.items():
        command = commands.add_parser(name, help=what, description=f"Time {what}.")
        if name not in words or name in COMMANDS:
            continue
        benchmark = _module(name)
        _add_common(command, benchmark.ROUNDS)
        sizes = command.add_argument_group("sizes")
        for size in fields(benchmark.Sizes):
            sizes.add_argument(
                f"--{size.name.replace('_', '-')}",
                type=size.type,
                metavar="N" if size.type is int else size.name.upper(),
                help=f"{size.metadata['help']} (default: {size.default})",
            )
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run one benchmark, print its table, write what was asked for.

    Returns:
        The exit status.
    """
    argv = sys.argv[1:] if argv is None else argv
    if argv and argv[0] in COMMANDS:
        return _module(COMMANDS[argv[0]]).main(argv[1:])
    args = get_parser(argv).parse_args(argv)
    import torch

    from espnet_smoe.benchmark.comparison import run_comparison
    from espnet_smoe.benchmark.table import Report, command_line

    torch.set_num_threads(args.threads)
    benchmark = _module(args.benchmark)
    report = Report(command_line(argv))
    for comparison in benchmark.comparisons(_sizes(benchmark, args)):
        if args.quick:  # so small that what a call costs decides
            comparison = replace(comparison, goals={})
        rows, notes = run_comparison(comparison, args.rounds)
        report.rows += rows
        report.notes += notes
    report.print()
    report.write(args.markdown, args.json)
    return 0


def _add_common(command: argparse.ArgumentParser, rounds: int) -> None:
    command.add_argument(
        "--threads", type=positive, default=2, help="threads (default: %(default)s)"
    )
    command.add_argument(
        "--rounds",
        type=positive,
        default=rounds,
        help="measurements of each side (default: %(default)s)",
    )
    command.add_argument(
        "--quick",
        action="store_true",
        help="tiny sizes: shows that it runs, the figures mean nothing",
    )
    command.add_argument("--json", type=Path, help="write the figures to this file")
    command.add_argument("--markdown", type=Path, help="write the table to this file")


def _sizes(benchmark: Any, args: argparse.Namespace) -> Any:
    """The benchmark's sizes with what the user has set."""
    start = benchmark.QUICK if args.quick else benchmark.Sizes()
    given = {f.name: getattr(args, f.name) for f in fields(start)}
    return replace(start, **{k: v for k, v in given.items() if v is not None})


def _module(name: str) -> Any:
    return importlib.import_module(f"espnet_smoe.benchmark.{name}")


if __name__ == "__main__":
    sys.exit(run_command(main))
