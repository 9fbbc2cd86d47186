"""`espnet-smoe curves`: a statistic of validation, epoch by epoch, in one picture.

    espnet-smoe curves exp/b1 exp/2e
    espnet-smoe curves exp/b1 exp/2e --key loss_ctc --png exp/curves.png

As SpeechMoE's Figure 2. Experiments are of our recipes or of ESPnet's own; those whose
names differ only in `_seed<N>` are trainings of one system and one mean curve.
"""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from espnet_smoe.command import new_parser, run_command
from espnet_smoe.report.tables.curves_figure import draw_curves
from espnet_smoe.report.tables.experiment import training_log
from espnet_smoe.report.tables.system import by_system

USUAL = ("loss", "acc")  # the first of them that all have is drawn
_VALUE = re.compile(r"(\w+)=([-+.\de]+|nan|inf)(?=[,\s]|$)")
_EPOCH = re.compile(r" (\d+)epoch results: .*?\[valid\] (.*)")

Curve = dict[int, float]  # epoch -> value


def read_curves(experiment: Path) -> dict[str, Curve]:
    """Every statistic of validation, from ``train.log`` and older logs.

    Args:
        experiment: Its folder.

    Returns:
        Statistic -> epoch -> value, in the order of the log; an epoch that was trained
        again counts as in its last run.

    Raises:
        ValueError: No log, or none of a finished epoch.
    """
    if not experiment.is_dir():
        raise ValueError(f"{experiment} does not exist: run stage 11 (train)")
    curves: dict[str, Curve] = {}
    for epoch, results in _EPOCH.findall(training_log(experiment)):
        for key, value in _VALUE.findall(results):
            curves.setdefault(key, {})[int(epoch)] = float(value)
    if not curves:
        raise ValueError(
            f"{experiment}/train.log tells of no validated epoch: run stage 11 "
            "(train), or wait for its first epoch"
        )
    return {key: dict(sorted(curve.items())) for key, curve in curves.items()}


def choose_key(experiments: dict[Path, dict[str, Curve]], key: str | None) -> str:
    """The statistic to draw: ``key``, or the usual one that all experiments have.

    Raises:
        ValueError: An experiment does not have it; says what it has.
    """
    if key is None:
        common = set.intersection(*map(set, experiments.values()))
        known = [k for k in next(iter(experiments.values())) if k in common]
        key = next((k for k in (*USUAL, *known) if k in common), USUAL[0])
    for experiment, curves in experiments.items():
        if key not in curves:
            raise ValueError(
                f"{experiment}/train.log has no validation '{key}'; "
                f"it has {', '.join(sorted(curves))}: choose one with --key"
            )
    return key


def mean_curve(curves: Sequence[Curve]) -> Curve:
    """Mean over the seeds, in the epochs that all of them have."""
    epochs = sorted(set.intersection(*(set(curve) for curve in curves)))
    return {e: sum(curve[e] for curve in curves) / len(curves) for e in epochs}


def get_parser() -> argparse.ArgumentParser:
    """Options of the command."""
    parser = new_parser("espnet-smoe curves", __doc__)
    parser.add_argument(
        "experiments",
        nargs="+",
        type=Path,
        metavar="EXP",
        help="experiment directories with train.log",
    )
    parser.add_argument(
        "--key",
        help=f"statistic (default: {', else '.join(USUAL)}, of those there are)",
    )
    parser.add_argument(
        "--png",
        type=Path,
        default=Path("curves.png"),
        help="file to write (default: %(default)s)",
    )
    return parser


def main(argv: list[str] | None = None) -> None:
    """Draw the curves, and print the last value of each."""
    args = get_parser().parse_args(argv)
    read = {experiment: read_curves(experiment) for experiment in args.experiments}
    key = choose_key(read, args.key)
    curves = {
        name: mean_curve([read[e][key] for e in experiments])
        for name, experiments in by_system(args.experiments).items()
    }
    for name, curve in curves.items():
        if not curve:
            raise ValueError(f"{name}: no epoch that all of its trainings have")
    args.png.parent.mkdir(parents=True, exist_ok=True)
    draw_curves(curves, key, args.png)
    for name, curve in curves.items():
        last = max(curve)
        print(f"{name}: validation {key} {curve[last]:.4g} in epoch {last}")
    print(f"Written to {args.png}")


if __name__ == "__main__":  # copies of recipes made before call it so
    sys.exit(run_command(main))
