"""The report on experts as a figure: loads, similarity, scores with swapped experts."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from espnet_smoe.report.experts.page import ExpertReport, summary
from espnet_smoe.report.experts.similarity import mean_of_pairs
from espnet_smoe.report.figure import (
    COLORS,
    INK,
    MARGIN,
    QUIET,
    REFERENCE,
    WIDTH,
    Sheet,
    head,
    tidy,
)
from espnet_smoe.report.scoring.metrics import METRICS
from espnet_smoe.report.tables import number_format
from espnet_smoe.report.tables.compare import adjusted_p_values
from espnet_smoe.report.tables.compare_figure import values_and_reach
from espnet_smoe.report.tables.system import groups_with_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Sizes in inches.
GAP = 0.75  # between charts, room for the numbers of an axis
LOAD_HEIGHT, LINES_HEIGHT, SCORES_HEIGHT = 1.7, 1.9, 2.4
HEADING = 0.8  # room above a row of charts for its heading, legend and titles
FOOT = 0.7  # room below it for the numbers of its axis

EXPERT_COLORS = (*COLORS, "#8b6f47", "#3c4650")  # eight experts in all
MEASURES = {
    "w_1 cosine": ("weights, first matrix", "s"),
    "w_2 cosine": ("weights, second matrix", "D"),
    "output cosine": ("outputs on the same input", "o"),
    "output CKA": ("outputs, CKA", "^"),
}
COLOR_OF = {"encoder swapped": COLORS[4], "decoder swapped": COLORS[5]}


def draw_experts(report: ExpertReport, path: Path) -> None:
    """Write the picture.

    Args:
        report: The analysis.
        path: PNG file to write.
    """
    rows = (LOAD_HEIGHT, LINES_HEIGHT, SCORES_HEIGHT)
    height = sum(rows) + (HEADING + FOOT) * len(rows)
    title = f"Experts of {report.experiment}"
    sheet = Sheet.begin(title, summary(report), 125, height)
    headings = (
        "Load of the experts: share of frames or tokens, layer by layer",
        "Similarity of the experts of a layer (1: the same), mean over pairs",
        "Scores with the wrong experts: the same recordings, labels swapped",
    )
    parts = list(report.loads)
    tasks = list(report.systems[0].tasks)
    y = sheet.top
    for row, (size, heading) in enumerate(zip(rows, headings)):
        sheet.heading(y, heading)
        names = tasks if row == 2 else parts
        width = (WIDTH - 2 * MARGIN - GAP * len(names)) / len(names)
        charts = []
        for i, name in enumerate(names):
            left = MARGIN + GAP * (i + 0.8) + width * i
            axes = sheet.axes(left, y + HEADING, width, size)
            (_draw_loads, _draw_part, _draw_scores)[row](axes, report, name)
            tidy(axes)
            charts.append(axes)
        sheet.legend(MARGIN, y + 0.22, charts)
        y += HEADING + size + FOOT
    sheet.save(path)


def _draw_loads(axes: "Axes", report: ExpertReport, part: str) -> None:
    """A stacked bar a label in each layer; a colour an expert."""
    layers = report.loads[part]
    groups = list(next(iter(layers.values())))
    step = min(0.8 / len(groups), 0.1 * max(len(layers), 2))  # no fat bars
    places, labels = [], []
    for k, of_layer in enumerate(layers.values()):
        for i, group in enumerate(groups):
            x = k + step * (i - (len(groups) - 1) / 2)
            places.append(x)
            labels.append(group)
            percents = 100 * of_layer[group] / of_layer[group].sum()
            for expert, below in enumerate(np.cumsum(percents) - percents):
                axes.bar(
                    x,
                    percents[expert],
                    step * 0.86,
                    below,
                    color=EXPERT_COLORS[expert % len(EXPERT_COLORS)],
                    label=f"E{expert}" if len(places) == 1 else None,
                )
    turned = len(places) > 12
    axes.set_xticks(places, labels, rotation=90 if turned else 0)
    second = axes.secondary_xaxis(-0.22 if turned else -0.12)
    second.set_xticks(range(len(layers)), [f"layer {name}" for name in layers])
    if len(layers) > 6:
        second.set_xticks(range(len(layers)), list(layers))
    second.tick_params(length=0, labelsize=8.5, labelcolor=INK)
    second.spines["bottom"].set_visible(False)
    axes.set(ylim=(0, 100), xlim=(-0.5, len(layers) - 0.5), yticks=(0, 50, 100))
    axes.set_yticklabels(("0 %", "50 %", "100 %"))
    head(axes, part)


def _draw_part(axes: "Axes", report: ExpertReport, part: str) -> None:
    draw_similarity(axes, report.similarity[part])
    head(axes, part)


def draw_similarity(
    axes: "Axes", layers: Mapping[str, Mapping[str, np.ndarray]]
) -> None:
    """A line a measure over the layers."""
    colors = (REFERENCE, "#a3abb5", COLORS[2], COLORS[3])
    for (measure, (label, marker)), color in zip(MEASURES.items(), colors):
        values = [mean_of_pairs(m[measure]) for m in layers.values()]
        style = dict(marker=marker, markersize=5, linewidth=1.4, color=color)
        axes.plot(range(len(layers)), values, label=label, clip_on=False, **style)
    name_layers(axes, list(layers))
    low = axes.get_ylim()[0]
    axes.set_ylim(min(0, low), 1)


def name_layers(axes: "Axes", names: Sequence[str]) -> None:
    """Layers along x, numbers alone where there are many, as many as have room."""
    long = [f"layer {name}" for name in names]
    step = -(-len(names) // 16)
    places = range(0, len(names), step)
    axes.set_xticks(places, (long if len(names) <= 6 else names)[::step])
    axes.set_xlim(-0.5, len(names) - 0.5)


def _draw_scores(axes: "Axes", report: ExpertReport, task: str) -> None:
    """Dots with intervals: groups along x, the ways of decoding beside each other."""
    systems = report.systems
    right = systems[0]
    groups = groups_with_line(right.tasks[task], every_condition=False)
    p_values = adjusted_p_values(systems)
    name = next(iter(right.tasks[task].counts))
    metric = METRICS[name]
    step = 0.26
    for i, system in enumerate(systems):
        scores = [system.scores[task][g][name] for g in groups]
        x = [k + step * (i - (len(systems) - 1) / 2) for k in range(len(groups))]
        axes.errorbar(
            x,
            *values_and_reach(scores),
            fmt="o",
            markersize=5,
            linewidth=1.8,
            color=COLOR_OF.get(system.name, REFERENCE),
            label=system.name,
            clip_on=False,  # a BLEU of 0 lies on the axis
        )
        if system is right:
            continue
        for place, group, score in zip(x, groups, scores):
            if score.value is None:
                continue
            top = score.value if score.high is None else max(score.high, score.value)
            axes.annotate(
                number_format.p_value(p_values[system.name, task, name, group]),
                (place, top),
                xytext=(0, 3),
                textcoords="offset points",
                ha="center",
                fontsize=7,
                color=QUIET,
            )
    better = "higher" if metric.higher_is_better else "lower"
    axes.set_xticks(
        range(len(groups)),
        [number_format.group_label(g).replace("mean of ", "") for g in groups],
    )
    axes.set_xlim(-0.5, len(groups) - 0.5)
    axes.margins(y=0.15)
    axes.set_ylim(bottom=0)
    head(axes, f"{task} {metric.label} ({better} is better)")
