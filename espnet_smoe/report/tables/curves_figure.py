"""Validation curves as a picture."""

from pathlib import Path

from espnet_smoe.report.figure import COLORS, INK, QUIET, REFERENCE, tidy

WIDE = 10.0  # greatest over least value, from which on the axis is logarithmic


def draw_curves(curves: dict[str, dict[int, float]], key: str, path: Path) -> None:
    """Write the picture, with a logarithmic axis for values far apart.

    Args:
        curves: System -> epoch -> value.
        key: Name of the statistic.
        path: PNG file.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

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
    values = [value for curve in curves.values() for value in curve.values()]
    if min(values) > 0 and max(values) > WIDE * min(values):
        axes.set_yscale("log")  # a loss falls so far that its end would be one line
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_locator(NullLocator())
    tidy(axes)
    axes.legend(frameon=False, labelcolor=INK, title="in the last epoch")
    figure.savefig(path, metadata={"Software": None})
