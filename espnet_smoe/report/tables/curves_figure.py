"""Validation curves as a picture."""

from pathlib import Path

from espnet_smoe.report.figure import COLORS, INK, QUIET, REFERENCE, tidy


def draw_curves(curves: dict[str, dict[int, float]], key: str, path: Path) -> None:
    """Write the picture.

    Args:
        curves: System -> epoch -> value.
        key: Name of the statistic.
        path: PNG file.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(7.5, 4.2), dpi=160, facecolor="white", layout="tight")
    axes = figure.add_subplot()
    colors = [REFERENCE, *COLORS]
    for i, (name, curve) in enumerate(curves.items()):
        color = colors[i % len(colors)]
        label = f"{name} ({list(curve.values())[-1]:.2f})"
        axes.plot(*zip(*curve.items()), label=label, color=color, linewidth=1.6)
    axes.set_xlabel("epoch", color=QUIET)
    axes.set_title(f"Validation {key}", loc="left", color=INK, fontsize=11)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    tidy(axes)
    axes.legend(frameon=False, labelcolor=INK, title="in the last epoch")
    figure.savefig(path, metadata={"Software": None})
