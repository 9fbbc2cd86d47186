"""Validation curves of several trainings in one picture (SpeechMoE, Figure 2).

python3 -m espnet_smoe.report.curves exp/b1 exp/2e --key loss_ctc --png curves.png
"""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from espnet_smoe.command import run_command
from espnet_smoe.report.system import by_system

_EPOCH = re.compile(r" (\d+)epoch results: .*?\[valid\] (.*)")


def read_curve(experiment: Path, key: str) -> dict[int, float]:
    """A statistic of validation in each epoch, from ``train.log`` and older logs.

    Args:
        experiment: Its folder.
        key: Name of the statistic, such as ``loss_ctc``.

    Returns:
        Epoch -> value; an epoch that was trained again counts as in its last run.

    Raises:
        ValueError: No log, or none that has the statistic.
    """
    logs = sorted(experiment.glob("train*.log"), key=lambda p: p.stat().st_mtime)
    curve, known = {}, set()
    for log in logs:
        text = log.read_text(encoding="utf-8", errors="replace")
        for epoch, results in _EPOCH.findall(text):
            values = dict(re.findall(r"(\w+)=([-+.\de]+|nan)", results))
            known |= set(values)
            if key in values:
                curve[int(epoch)] = float(values[key])
    if not curve:
        has = f"it has {', '.join(sorted(known))}" if known else "run stage 11 (train)"
        raise ValueError(f"{experiment}/train.log has no validation '{key}'; {has}")
    return dict(sorted(curve.items()))


def mean_curve(curves: Sequence[dict[int, float]]) -> dict[int, float]:
    """Mean over the seeds, in the epochs that all of them have."""
    epochs = sorted(set.intersection(*(set(curve) for curve in curves)))
    return {e: sum(curve[e] for curve in curves) / len(curves) for e in epochs}


def draw_curves(curves: dict[str, dict[int, float]], key: str, path: Path) -> None:
    """Write the picture.

    Args:
        curves: System -> epoch -> value.
        key: Name of the statistic.
        path: PNG file.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    from espnet_smoe.report.picture import COLOURS, INK, QUIET, REFERENCE, RULE

    figure = Figure(figsize=(7.5, 4.2), dpi=160, facecolor="white", layout="tight")
    axes = figure.add_subplot()
    colours = [REFERENCE, *COLOURS]
    for i, (name, curve) in enumerate(curves.items()):
        colour = colours[i % len(colours)]
        label = f"{name} ({list(curve.values())[-1]:.2f})"
        axes.plot(*zip(*curve.items()), label=label, color=colour, linewidth=1.6)
    axes.set_xlabel("epoch", color=QUIET)
    axes.set_title(f"Validation {key}", loc="left", color=INK, fontsize=11)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(axis="y", color=RULE, linewidth=0.6)
    axes.tick_params(length=0, labelcolor=QUIET)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.legend(frameon=False, labelcolor=INK, title="in the last epoch")
    figure.savefig(path, metadata={"Software": None})


def get_parser() -> argparse.ArgumentParser:
    """Options of the command."""
    parser = argparse.ArgumentParser(
        prog="python3 -m espnet_smoe.report.curves",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("experiments", nargs="+", type=Path, metavar="EXP")
    parser.add_argument("--key", default="loss_ctc", help="(default: %(default)s)")
    parser.add_argument("--png", type=Path, required=True, help="file to write")
    return parser


def main(argv: list[str] | None = None) -> None:
    """Draw; experiments that differ in ``_seed<N>`` alone are one mean curve."""
    args = get_parser().parse_args(argv)
    try:
        curves = {
            name: mean_curve([read_curve(e, args.key) for e in experiments])
            for name, experiments in by_system(args.experiments).items()
        }
    except ValueError as error:
        raise SystemExit(f"error: {error}") from error
    args.png.parent.mkdir(parents=True, exist_ok=True)
    draw_curves(curves, args.key, args.png)
    print(f"Written to {args.png}")


if __name__ == "__main__":
    sys.exit(run_command(main))
