"""The picture of learned routing: what is drawn is what was found."""

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.colors import to_hex, to_rgba

from espnet_smoe.report.experts.figure import EXPERT_COLORS, MEASURES
from espnet_smoe.report.figure import COLORS, QUIET, REFERENCE
from espnet_smoe.report.routing.analysis import (
    Layer,
    MutualInformation,
    RoutingOverTime,
    RoutingReport,
)
from espnet_smoe.report.routing.figure import _with_room, draw_routing
from espnet_smoe.report.routing.page import most_informative_layer
from tests.report.conftest import check_room, figure_of, texts_of
from tests.report.experts.test_figure import shares_drawn

CLASSES = {"unit": ("a", "b", "c", "d"), "silence": ("speech", "silence")}
BORDERS = np.array([0.0, 0.2, 0.45, 0.8, 1.35, 2.0])


def layer(seed, experts, bits):
    rng = np.random.default_rng(seed)
    counts = {f: rng.integers(1, 50, (len(of), experts)) for f, of in CLASSES.items()}
    counts["unit"][2] = 0  # never heard
    told = {
        f: MutualInformation(bits + 0.1 * i, 0.05, 1.5) for i, f in enumerate(CLASSES)
    }
    loads = rng.integers(1, 100, experts)
    return Layer(loads, 0.3 + 0.1 * seed, 0.5 + 0.1 * seed, counts, told)


def report(layers=2, experts=3, units=True, seconds=2.0):
    of = {str(n): layer(n, experts, 0.2 + 0.3 * (n == 1)) for n in range(layers)}
    rng = np.random.default_rng(5)
    measures = (*MEASURES, "output diff")
    alike = {
        n: {m: np.full((experts, experts), rng.uniform(0.1, 0.9)) for m in measures}
        for n in of
    }
    shown = RoutingOverTime(
        name="utt7",
        mel=rng.normal(size=(40, 8)),
        seconds=seconds,
        borders=BORDERS * seconds / 2,
        silence=np.array([True, False, False, True, True]),
        experts={n: rng.integers(0, experts, 5) for n in of},
        units=[("a", 0.0, 0.4), ("b", 0.4, 1.2), ("d", 1.2, 2.0)] if units else [],
    )
    return RoutingReport(
        *("exp", "source", of, {"encoder": alike}, CLASSES, 0.9, True, [], shown)
    )


def axes_of(found, tmp_path):
    """Charts by their title; the last three are the utterance's."""
    figure = figure_of(draw_routing, found, tmp_path / "p.png")
    titles = {a.get_title(loc="left"): a for a in figure.axes}
    names = ("mels", "strips", "below")
    return figure, titles | dict(zip(names, figure.axes[-3:]))


def test_everything_has_its_room(tmp_path):
    for found in (report(), report(4, 9)):
        figure, _ = axes_of(found, tmp_path)
        check_room(figure)
    texts = texts_of(figure)
    assert "Experts of exp" in texts and "Over time: utt7" in texts
    assert "Experts of layer 1 by class of the frame" in texts


@pytest.mark.parametrize("experts", [3, 9])
def test_loads_are_stacked_to_a_hundred_percent(tmp_path, experts):
    found = report(experts=experts)
    _, axes = axes_of(found, tmp_path)
    drawn = shares_drawn(axes["share of frames"])
    for bar, of in zip(drawn, found.layers.values(), strict=True):
        shares = 100 * of.loads / of.loads.sum()
        assert [height for _, height in bar] == pytest.approx(shares.tolist())
        ends = np.cumsum(shares)
        assert [low for low, _ in bar] == pytest.approx([0, *ends[:-1]])
    labels = [t.get_text() for t in axes["share of frames"].get_xticklabels()]
    assert labels == ["layer 0", "layer 1"]
    assert axes["share of frames"].get_ylim() == (0, 100)


def test_lines_are_certainty_and_what_classes_tell(tmp_path):
    found = report()
    figure, axes = axes_of(found, tmp_path)
    layers = found.layers.values()
    lines = axes["certainty of the router"].lines
    drawn = {line.get_label(): list(line.get_ydata()) for line in lines}
    assert drawn == {
        "probability of the best expert": [of.top for of in layers],
        f"entropy / {np.log(3):.2f} nats": [of.entropy / np.log(3) for of in layers],
    }
    assert axes["certainty of the router"].get_ylim() == (0, 1)
    told = axes["% of the expert's entropy"]
    solid = {line.get_label(): line for line in told.lines if line.get_marker() == "o"}
    assert {k: list(line.get_ydata()) for k, line in solid.items()} == {
        f: [of.information[f].percent for of in layers] for f in CLASSES
    }
    assert solid["silence"].get_color() == REFERENCE
    assert solid["unit"].get_color() == COLORS[0]
    dotted = [line for line in told.lines if line.get_linestyle() == ":"]
    assert [list(line.get_ydata()) for line in dotted] == [
        *([of.information[f].percent_by_chance for of in layers] for f in CLASSES),
        [],
    ]
    assert [line.get_color() for line in dotted] == [COLORS[0], REFERENCE, QUIET]
    assert told.get_ylim()[0] == 0
    legends = [[t.get_text() for t in of.get_texts()] for of in figure.legends]
    assert legends == [
        ["E0", "E1", "E2"],
        list(drawn),
        ["unit", "silence", "by chance"],
        [label for label, _ in MEASURES.values()],
        ["E0", "E1", "E2"],
    ]


def test_bars_of_classes_are_of_the_layer_that_tells_the_most(tmp_path):
    found = report()
    assert most_informative_layer(found) == "1"
    _, axes = axes_of(found, tmp_path)
    for title, factor, there in (
        ("unit", "unit", [0, 1, 3]),
        ("silence and speech", "silence", [0, 1]),
    ):
        chart = axes[title]
        counts = found.layers["1"].counts[factor]
        labels = [t.get_text() for t in chart.get_yticklabels()]
        assert labels == [CLASSES[factor][k] for k in there]
        bars = {}
        for bar in chart.patches:
            middle = round(bar.get_y() + bar.get_height() / 2, 6)
            bars.setdefault(middle, []).append((bar.get_x(), bar.get_width()))
        assert sorted(bars) == list(range(len(there)))
        for place, k in enumerate(there):
            shares = 100 * counts[k] / counts[k].sum()
            assert [width for _, width in bars[place]] == pytest.approx(shares.tolist())
            lows = [low for low, _ in bars[place]]
            assert lows == pytest.approx([0, *np.cumsum(shares)[:-1]])
        assert chart.get_xlim() == (0, 100)
        assert chart.get_ylim() == (len(there) - 0.5, -0.5)  # the first above


def test_the_utterance_is_drawn_over_its_time(tmp_path):
    found = report()
    _, axes = axes_of(found, tmp_path)
    shown = found.example
    (image,) = axes["mels"].images
    assert np.array_equal(image.get_array(), shown.mel.T)
    assert image.get_extent() == [0, 2.0, 0, 8]
    borders = [0, 0.2, 0.45, 0.8, 1.35, 2.0]  # halfway between frames
    (mesh,) = axes["strips"].collections
    assert mesh.get_coordinates()[0, :, 0].tolist() == pytest.approx(borders)
    drawn = mesh.get_array().reshape(2, 5)
    assert drawn.tolist() == [of.tolist() for of in shown.experts.values()]
    colors = mesh.to_rgba(np.arange(len(EXPERT_COLORS)))
    assert [to_hex(color) for color in colors] == list(EXPERT_COLORS)
    rows = axes["strips"].get_yticks()
    assert rows.tolist() == [0.5, 1.5]
    names = [t.get_text() for t in axes["strips"].get_yticklabels()]
    assert names == ["layer 0", "layer 1"]
    below = axes["below"]
    silent = [c.get_paths()[0].get_extents() for c in below.collections]
    assert [[box.x0, box.x1] for box in silent] == [
        pytest.approx(borders[frame : frame + 2]) for frame in (0, 3, 4)
    ]
    units = {t.get_text(): t.get_position()[0] for t in below.texts}
    assert units == pytest.approx({"a": 0.2, "b": 0.8, "d": 1.6})
    seconds = [t.get_text() for t in below.get_xticklabels()]
    assert seconds == ["0 s", "0.5 s", "1 s", "1.5 s"]
    for name in ("mels", "strips", "below"):
        assert axes[name].get_xlim() == (0, 2.0)
    starts = {line.get_xdata()[0] for line in axes["mels"].lines}
    assert starts == {0.4, 1.2}
    inks = [to_rgba(line.get_color()) for line in axes["mels"].lines]
    assert len(inks) == 4 and len(set(inks)) == 2  # each in a white rim


@pytest.mark.parametrize(
    ("seconds", "step"), [(6.0, 0.5), (6.1, 1), (12.0, 1), (12.1, 5)]
)
def test_the_time_has_as_many_numbers_as_have_room(tmp_path, seconds, step):
    _, axes = axes_of(report(seconds=seconds), tmp_path)
    ticks = axes["below"].get_xticks()
    assert ticks == pytest.approx(np.arange(0, seconds, step))


def test_narrow_units_are_turned_and_a_text_that_does_not_fit_is_said(tmp_path):
    _, axes = axes_of(report(), tmp_path)
    assert {t.get_rotation() for t in axes["below"].texts} == {0.0}
    _, axes = axes_of(report(seconds=20.0), tmp_path)
    assert {t.get_rotation() for t in axes["below"].texts} == {90.0}
    _, axes = axes_of(report(units=False), tmp_path)
    texts = [t.get_text() for t in axes["below"].texts]
    assert texts == ["the text needs more frames than there are"]


def test_more_experts_than_colours_and_more_layers_than_names(tmp_path):
    found = report(layers=25, experts=9)
    shown = replace(found.example, experts={n: np.arange(4, 9) for n in found.layers})
    _, axes = axes_of(replace(found, example=shown), tmp_path)
    (mesh,) = axes["strips"].collections
    assert mesh.get_array().reshape(25, 5)[0].tolist() == [4, 5, 6, 7, 0]
    names = [t.get_text() for t in axes["strips"].get_yticklabels()]
    assert names == [f"layer {n}" for n in range(0, 25, 3)]
    assert axes["strips"].get_yticks().tolist() == [n + 0.5 for n in range(0, 25, 3)]
    assert axes["strips"].get_ylim() == (0, 25)
    ends = [list(line.get_ydata()) for line in axes["strips"].lines]
    level = [low for low, high in ends if low == high]  # the others are of words
    assert level == list(range(25))


def test_places_have_at_least_their_room():
    assert _with_room([], 1.0) == []
    assert _with_room([0, 0.5, 1, 1.5, 1.75, 2.5], 1.0) == [0, 1, 2.5]
