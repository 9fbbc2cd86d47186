"""The report on learned routing as a picture.

Loads and certainty by layer; what classes tell, and similarity; experts by class in the
layer where units tell the most; and one utterance over time.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from espnet_smoe.report.experts.figure import (
    EXPERT_COLORS,
    draw_similarity,
    name_layers,
)
from espnet_smoe.report.figure import (
    COLORS,
    INK,
    MARGIN,
    QUIET,
    REFERENCE,
    RULE,
    WIDTH,
    Sheet,
    head,
    tidy,
)
from espnet_smoe.report.fonts import drawable, families_for
from espnet_smoe.report.routing.analysis import SILENCE, RoutingOverTime, RoutingReport
from espnet_smoe.report.routing.page import (
    most_frequent,
    most_informative_layer,
    summary,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Sizes in inches.
GAP = 0.75  # left of a chart, room for the numbers of its axis
CHART = 1.8
BAR = 0.2  # a class
HEADING = 0.9  # above a row of charts: heading, legend and titles
FOOT = 0.7  # below it: the numbers of its axis
CAPTION = 0.5  # above the spectrogram
MELS = 1.3
STRIPS = 4.0  # all layers together, at the most
STRIP = 0.22  # a layer, at the most
UNITS = 0.65  # the units below
SECONDS = 0.25  # the time below these
UPRIGHT = 0.36  # a unit that has less room along the time is turned


def draw_routing(report: RoutingReport, path: Path) -> None:
    """Write the picture.

    Args:
        report: The analysis.
        path: PNG file to write.
    """
    from matplotlib import rc_context

    units = [unit for unit, _, _ in report.example.units]
    labels = [label for names in report.classes.values() for label in names]
    # the labels of an axis are drawn when the figure is saved
    with rc_context({"font.family": families_for(units + labels)}):
        _draw_sheet(report).save(path)


def _draw_sheet(report: RoutingReport) -> Sheet:
    of_layer = report.layers[most_informative_layer(report)].counts.values()
    of_classes = BAR * max(len(most_frequent(counts)) for counts in of_layer)
    strip = min(STRIP, STRIPS / len(report.layers))
    over_time = MELS + strip * len(report.layers) + UNITS
    rows = (CHART, CHART, of_classes, over_time)
    height = sum(rows) + (HEADING + FOOT) * (len(rows) - 1) + CAPTION + SECONDS
    title = f"Experts of {report.experiment}"
    sheet = Sheet.begin(title, summary(report), 145, height)
    y = sheet.top
    _draw_pair(
        sheet,
        y,
        "Load of the experts and certainty of the routers, layer by layer",
        ("share of frames", "certainty of the router"),
        (_draw_loads, _draw_certainty),
        report,
    )
    y += HEADING + CHART + FOOT
    _draw_pair(
        sheet,
        y,
        "What is known of the expert from the class of a frame, and how alike the "
        "experts are",
        ("% of the expert's entropy", "mean over pairs of experts (1: the same)"),
        (_draw_information, lambda a, f: draw_similarity(a, f.similarity["encoder"])),
        report,
    )
    y += HEADING + CHART + FOOT
    _draw_classes(sheet, y, report)
    y += HEADING + of_classes + FOOT
    _draw_over_time(sheet, y, report.example, strip)
    return sheet


def _draw_pair(
    sheet: Sheet,
    y: float,
    heading: str,
    titles: Sequence[str],
    draw: Sequence[Callable[["Axes", RoutingReport], None]],
    report: RoutingReport,
) -> None:
    """Two charts beside each other, each with its legend above."""
    sheet.heading(y, heading)
    width = (WIDTH - 2 * MARGIN - 2 * GAP) / 2
    for i, (title, chart) in enumerate(zip(titles, draw)):
        left = MARGIN + GAP * (i + 0.8) + width * i
        axes = sheet.axes(left, y + HEADING, width, CHART)
        chart(axes, report)
        tidy(axes)
        head(axes, title)
        sheet.legend(left - 0.1, y + 0.24, [axes], columns=(5, 2)[i])


def _expert_color(expert: int) -> str:
    return EXPERT_COLORS[expert % len(EXPERT_COLORS)]


def _draw_loads(axes: "Axes", report: RoutingReport) -> None:
    """A stacked bar a layer, a colour an expert."""
    layers = report.layers.values()
    percents = np.array([100 * of.loads / of.loads.sum() for of in layers])  # (L, E)
    below = np.cumsum(percents, axis=1) - percents
    for expert in range(percents.shape[1]):
        axes.bar(
            range(len(percents)),
            percents[:, expert],
            0.7,
            below[:, expert],
            color=_expert_color(expert),
            label=f"E{expert}",
        )
    name_layers(axes, list(report.layers))
    axes.set(ylim=(0, 100), yticks=(0, 50, 100))
    axes.set_yticklabels(("0 %", "50 %", "100 %"))


def _draw_certainty(axes: "Axes", report: RoutingReport) -> None:
    """Entropy and the best expert's probability, both of 0 to 1."""
    layers = report.layers.values()
    most = np.log(len(next(iter(layers)).loads))
    lines = (
        ("probability of the best expert", "o", COLORS[0], [of.top for of in layers]),
        (
            f"entropy / {most:.2f} nats",
            "s",
            REFERENCE,
            [of.entropy / most for of in layers],
        ),
    )
    for label, marker, color, values in lines:
        style = dict(marker=marker, markersize=5, linewidth=1.4, color=color)
        axes.plot(range(len(values)), values, label=label, clip_on=False, **style)
    name_layers(axes, list(report.layers))
    axes.set_ylim(0, 1)


def _draw_information(axes: "Axes", report: RoutingReport) -> None:
    """A line a factor, dotted what chance would give."""
    layers = report.layers.values()
    for factor, color in zip(report.classes, COLORS):
        color = REFERENCE if factor == SILENCE else color
        information = [of.information[factor] for of in layers]
        style = dict(color=color, clip_on=False)
        axes.plot(
            range(len(information)),
            [i.percent for i in information],
            marker="o",
            markersize=5,
            linewidth=1.4,
            label=factor,
            **style,
        )
        chance = [i.percent_by_chance for i in information]
        axes.plot(range(len(information)), chance, ":", linewidth=1.2, **style)
    axes.plot([], [], ":", linewidth=1.2, color=QUIET, label="by chance")
    name_layers(axes, list(report.layers))
    axes.margins(y=0.1)
    axes.set_ylim(bottom=0)


def _draw_classes(sheet: Sheet, y: float, report: RoutingReport) -> None:
    """A stacked bar a class, in the layer about which units tell the most."""
    name = most_informative_layer(report)
    sheet.heading(y, f"Experts of layer {name} by class of the frame")
    room = (WIDTH - 2 * MARGIN) / max(len(report.classes), 3)
    label = 0.95  # room for the names of the classes
    for i, (factor, labels) in enumerate(report.classes.items()):
        counts = report.layers[name].counts[factor]
        there = most_frequent(counts)
        left = MARGIN + room * i + label
        size = BAR * max(len(there), 1)
        axes = sheet.axes(left, y + HEADING - 0.15, room - label - 0.1, size)
        axes.set(xlim=(0, 100), ylim=(max(len(there), 1) - 0.5, -0.5))
        for place, k in enumerate(there):
            percents = 100 * counts[k] / counts[k].sum()
            for expert, below in enumerate(np.cumsum(percents) - percents):
                style = dict(color=_expert_color(expert))
                if place == 0:
                    style["label"] = f"E{expert}"
                axes.barh(place, percents[expert], 0.78, below, **style)
        axes.set_yticks(range(len(there)), [drawable(labels[k]) for k in there])
        axes.set_xticks((0, 50, 100), ("0 %", "50 %", "100 %"))
        tidy(axes)
        axes.tick_params(axis="y", labelcolor=INK)
        axes.grid(visible=False)
        head(axes, factor if factor != SILENCE else "silence and speech")
        if factor == SILENCE:
            sheet.legend(MARGIN, y + 0.24, [axes], columns=len(EXPERT_COLORS))


def _draw_over_time(
    sheet: Sheet, y: float, example: RoutingOverTime, strip: float
) -> None:
    """Spectrogram, a strip a layer, and the units below."""
    sheet.heading(y, f"Over time: {example.name}")
    sheet.write(
        y + 0.24,
        "log-mel spectrogram; the expert of each frame, layer by layer; silence in "
        "grey; the text's units where they have room, borders halfway between spikes",
        fontsize=8.5,
        color=QUIET,
    )
    left = MARGIN + GAP
    width = WIDTH - 2 * MARGIN - GAP
    top = y + CAPTION
    mels = sheet.axes(left, top, width, MELS)
    low, high = np.percentile(example.mel, (5, 99.5))
    mels.imshow(
        example.mel.T,
        aspect="auto",
        origin="lower",
        cmap="Greys",
        vmin=low,
        vmax=high,
        extent=(0, example.seconds, 0, example.mel.shape[1]),
        interpolation="nearest",
    )
    mels.set(xticks=[], yticks=[], ylabel="mel bands")
    mels.yaxis.label.set(color=QUIET, fontsize=8.5)
    strips = sheet.axes(left, top + MELS, width, strip * len(example.experts))
    _draw_strips(strips, example)
    below = sheet.axes(left, top + MELS + strip * len(example.experts), width, UNITS)
    _draw_units(below, example, width)
    starts = [start for _, start, _ in example.units[1:]]
    for axes in (mels, strips):
        for start in _with_room(starts, 0.06 * example.seconds / width):
            axes.axvline(start, color="white", linewidth=1.2)
            axes.axvline(start, color=INK, linewidth=0.5)
    for axes in (mels, strips, below):
        axes.set_xlim(0, example.seconds)
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0, labelsize=8.5, labelcolor=QUIET)


def _with_room(places: Sequence[float], room: float) -> list[float]:
    """Those of rising places that are at least ``room`` after the one before."""
    kept: list[float] = []
    for place in places:
        if not kept or place - kept[-1] >= room:
            kept.append(place)
    return kept


def _draw_strips(axes: "Axes", example: RoutingOverTime) -> None:
    """A row a layer, the lowest layer at the bottom."""
    from matplotlib.colors import ListedColormap

    colors = ListedColormap(EXPERT_COLORS)
    chosen = np.array(list(example.experts.values())) % len(EXPERT_COLORS)  # (L, T)
    rows = np.arange(len(chosen) + 1)
    limits = dict(vmin=-0.5, vmax=len(EXPERT_COLORS) - 0.5)
    axes.pcolormesh(example.borders, rows, chosen, cmap=colors, **limits)
    for row in rows[:-1]:
        axes.axhline(row, color="white", linewidth=1)
    names = list(example.experts)
    step = -(-len(names) // 12)  # names that have room
    axes.set_yticks(rows[:-1:step] + 0.5, [f"layer {n}" for n in names[::step]])
    axes.set(xticks=[], ylim=(0, len(names)))


def _draw_units(axes: "Axes", example: RoutingOverTime, width: float) -> None:
    """Silence, the units and the seconds, from above."""
    borders = example.borders
    axes.set(ylim=(UNITS, 0), yticks=[])
    for frame in np.flatnonzero(example.silence):
        edges = borders[frame : frame + 2]
        axes.fill_between(edges, 0.05, 0.12, color=REFERENCE, linewidth=0)
    narrowest = min((end - start for _, start, end in example.units), default=1.0)
    upright = narrowest * width / example.seconds < UPRIGHT
    named = {(start + end) / 2: unit for unit, start, end in example.units}
    room = 0.13 if upright else UPRIGHT
    for middle in _with_room(list(named), room * example.seconds / width):
        axes.text(
            middle,
            0.18,
            drawable(named[middle]),
            fontsize=8,
            color=INK,
            ha="center",
            va="top",
            rotation=90 if upright else 0,
        )
    if not example.units:
        note = "the text needs more frames than there are"
        axes.text(0, 0.18, note, fontsize=8, color=QUIET, va="top")
    axes.plot([0, example.seconds], [UNITS - 0.02] * 2, color=RULE, linewidth=0.8)
    step = 0.5 if example.seconds <= 6 else 1 if example.seconds <= 12 else 5
    seconds = np.arange(0, example.seconds, step)
    axes.set_xticks(seconds, [f"{s:g} s" for s in seconds])
