"""The comparison as a picture: the table, and the scores by condition."""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from espnet_smoe.report.figure import (
    BAND,
    COLORS,
    INK,
    QUIET,
    REFERENCE,
    RULE,
    tidy,
)
from espnet_smoe.report.scoring.bootstrap import Score
from espnet_smoe.report.scoring.metrics import METRICS
from espnet_smoe.report.tables.number_format import group_label
from espnet_smoe.report.tables.system import (
    Cell,
    Row,
    System,
    groups_with_line,
    tasks_of,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Sizes in inches.
LABEL_WIDTH = 2.6
COLUMN_WIDTH = 2.1
LINE_HEIGHT = 0.21
ROW_PAD = 0.12
CHART_HEIGHT = 2.7
MARGIN = 0.35

SECTIONS = {
    "asr": "Recognition",
    "st": "Translation",
    "words": "Words",
    "units": "Modelling units",
    "cost": "Cost",
}


def draw_comparison(
    rows: Sequence[Row],
    systems: Sequence[System],
    title: str,
    explanation: str,
    path: Path,
) -> None:
    """Write the picture.

    Args:
        rows: Lines of the comparison, by section.
        systems: The systems in the order of the columns.
        title: Heading of the picture.
        explanation: Small print below the table.
        path: PNG file to write.
    """
    from matplotlib.figure import Figure

    names = [_wrapped(s.name) for s in systems]
    colors = _colors(len(systems))
    width = max(LABEL_WIDTH + COLUMN_WIDTH * len(systems), 7.5)
    small_print = textwrap.wrap(explanation, int(width * 17))
    table_height = _table_height(rows, names) + 0.2 * len(small_print) + 0.1
    charts = tasks_of(systems)
    height = 0.6 + table_height + (CHART_HEIGHT + 0.9) + 2 * MARGIN
    total = width + 2 * MARGIN
    figure = Figure(figsize=(total, height), dpi=160, facecolor="white")
    figure.text(
        MARGIN / total,
        1 - MARGIN / height,
        title,
        fontsize=15,
        fontweight="bold",
        color=INK,
        va="top",
    )
    bottom = MARGIN + CHART_HEIGHT + 0.9
    axes = figure.add_axes(
        (MARGIN / total, bottom / height, width / total, table_height / height)
    )
    _draw_table(axes, rows, names, colors, small_print, (width, table_height))
    gap = 0.75
    chart_width = (width - gap * len(charts)) / len(charts)
    for i, task in enumerate(charts):
        left = MARGIN + gap * (i + 0.8) + chart_width * i
        box = (left / total, (MARGIN + 0.45) / height)
        size = (chart_width / total, CHART_HEIGHT / height)
        _draw_chart(figure.add_axes((*box, *size)), systems, task, colors)
    figure.savefig(path, metadata={"Software": None})


def _colors(number: int) -> list[str]:
    return [REFERENCE] + [COLORS[i % len(COLORS)] for i in range(number - 1)]


def _wrapped(name: str, width: int = 22) -> str:
    """Break a long experiment name at its underscores."""
    spaced = textwrap.wrap(name.replace("_", "_ "), width)
    return "\n".join(line.replace("_ ", "_") for line in spaced)


def _row_height(row: Row) -> float:
    lines = 2 if any(c.note for c in row.cells) else 1
    return lines * LINE_HEIGHT + ROW_PAD


def _table_height(rows: Sequence[Row], names: Sequence[str]) -> float:
    heads = len({row.section for row in rows}) * (LINE_HEIGHT + 0.2)
    return _head_height(names) + heads + sum(map(_row_height, rows))


def _head_height(names: Sequence[str]) -> float:
    return LINE_HEIGHT * max(n.count("\n") + 1 for n in names) + ROW_PAD


def _draw_table(
    axes: "Axes",
    rows: Sequence[Row],
    names: Sequence[str],
    colors: Sequence[str],
    small_print: Sequence[str],
    size: tuple[float, float],
) -> None:
    """Draw head, sections and rows from the top; data units are inches."""
    width, height = size
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.axis("off")
    column = (width - LABEL_WIDTH) / len(names)
    rights = [LABEL_WIDTH + column * (i + 1) - 0.1 for i in range(len(names))]
    y = _head_height(names)
    for right, name, color in zip(rights, names, colors):
        style = dict(fontsize=9.5, fontweight="bold", color=color)
        axes.text(right, y - 0.08, name, ha="right", va="bottom", **style)
    axes.plot([0, width], [y, y], color=INK, linewidth=1)
    section = None
    for number, row in enumerate(rows):
        if row.section != section:
            section = row.section
            y += LINE_HEIGHT + 0.2
            heading = SECTIONS.get(section, section)
            axes.text(
                0.05,
                y - 0.07,
                heading,
                fontsize=9.5,
                fontweight="bold",
                color=INK,
                va="bottom",
            )
            axes.plot([0, width], [y, y], color=RULE, linewidth=0.8)
        bottom = y + _row_height(row)
        if number % 2:
            axes.fill_between([0, width], y, bottom, color=BAND, linewidth=0)
        style = dict(fontsize=9, color=INK, va="center")
        axes.text(0.05, y + ROW_PAD / 2 + LINE_HEIGHT / 2, row.label, **style)
        for right, cell in zip(rights, row.cells):
            _draw_cell(axes, right, y + ROW_PAD / 2, cell)
        y = bottom
    axes.plot([0, width], [y, y], color=INK, linewidth=1)
    axes.text(
        0.05,
        y + 0.08,
        "\n".join(small_print),
        fontsize=7.5,
        color=QUIET,
        va="top",
        linespacing=1.4,
    )


def _draw_cell(axes: "Axes", right: float, top: float, cell: Cell) -> None:
    weight = "bold" if cell.best else "normal"
    place = dict(ha="right", va="center")
    y = top + LINE_HEIGHT / 2
    axes.text(right, y, cell.text, fontsize=9, fontweight=weight, color=INK, **place)
    if cell.note:
        axes.text(right, y + LINE_HEIGHT, cell.note, fontsize=8, color=QUIET, **place)


def values_and_reach(scores: Sequence[Score]) -> tuple[list[float], list[list[float]]]:
    """Scores, and how far their intervals reach down and up, to draw error bars.

    What is unknown is not drawn: NaN in place of a score, an interval of no length.
    """
    values = [float("nan") if s.value is None else s.value for s in scores]
    ends = [
        (v, v) if s.low is None else (s.low, s.high) for v, s in zip(values, scores)
    ]
    # A percentile interval of a skewed score may leave its value out.
    down = [max(value - low, 0) for value, (low, _) in zip(values, ends)]
    up = [max(high - value, 0) for value, (_, high) in zip(values, ends)]
    return values, [down, up]


def _draw_chart(
    axes: "Axes", systems: Sequence[System], task: str, colors: Sequence[str]
) -> None:
    """Dots with intervals: conditions along x, the systems beside each other."""
    having = [(s, c) for s, c in zip(systems, colors) if task in s.tasks]
    lines = groups_with_line(having[0][0].tasks[task], every_condition=True)
    groups = [g for g in lines if g[:5] != "mean_"]
    metric = next(iter(having[0][0].tasks[task].counts))
    having = [(s, c) for s, c in having if metric in s.tasks[task].counts]
    step = min(0.7 / len(having), 0.16)
    for i, (system, color) in enumerate(having):
        scores = [system.scores[task][g][metric] for g in groups]
        x = [k + step * (i - (len(having) - 1) / 2) for k in range(len(groups))]
        axes.errorbar(
            x,
            *values_and_reach(scores),
            fmt="o",
            markersize=5,
            capsize=0,
            linewidth=1.8,
            color=color,
        )
    better = "higher" if METRICS[metric].higher_is_better else "lower"
    by = " by condition" if len(groups) > 1 else ""
    heading = f"{METRICS[metric].label}{by}\n({better} is better)"
    axes.set_title(heading, fontsize=10, fontweight="bold", color=INK, loc="left")
    labels = [group_label(g).replace("_", " ") for g in groups]
    axes.set_xticks(range(len(groups)), labels)
    axes.set_xlim(-0.5, len(groups) - 0.5)
    axes.margins(y=0.1)
    axes.set_ylim(bottom=max(0, axes.get_ylim()[0]))
    tidy(axes)
