"""The picture of experts: loads, similarity and scores are those that were found."""

import numpy as np
import pytest

from espnet_smoe.report.experts.figure import MEASURES, draw_experts
from espnet_smoe.report.experts.page import ExpertReport
from espnet_smoe.report.scoring import bootstrap
from espnet_smoe.report.scoring.counts import TaskCounts
from espnet_smoe.report.scoring.metrics import METRICS
from espnet_smoe.report.tables.compare import adjusted_p_values
from espnet_smoe.report.tables.number_format import p_value
from espnet_smoe.report.tables.system import System
from tests.report.conftest import check_room, figure_of, texts_of
from tests.report.tables.test_compare_figure import bars_of

GROUPS = {
    "all": [np.arange(12)],
    "nb": [np.arange(6)],
    "wb": [np.arange(6, 12)],
    "mean_nb": [np.arange(6)],
    "mean_wb": [np.arange(6, 12)],
}


@pytest.fixture(autouse=True)
def fewer_resamples(monkeypatch):
    monkeypatch.setattr(bootstrap, "RESAMPLES", 500)


def system(name, wrong):
    references = ["a b c d e f"] * 12
    spoilt = " ".join(["x"] * wrong + "a b c d e f".split()[wrong:])
    hypotheses = [spoilt, references[0]] * 6
    tasks = {
        task: TaskCounts({m: METRICS[m].counts(references, hypotheses)}, GROUPS)
        for task, m in (("asr", "wer"), ("st", "bleu"))
    }
    return System(name, 1, tasks, {t: c.scores() for t, c in tasks.items()})


def report(layers=2, experts=2):
    names = [str(n) for n in range(layers)]
    rng = np.random.default_rng(0)
    similar = {}
    for part in ("encoder", "decoder"):
        for name in names:
            of = similar.setdefault(part, {}).setdefault(name, {})
            for measure in (*MEASURES, "output diff"):
                matrix = rng.uniform(0.1, 0.9, (experts, experts))
                of[measure] = (matrix + matrix.T) / 2
    loads = {
        "encoder": {
            n: {"wb": of, "nb": of[::-1]} for n, of in loads_of(names, experts)
        },
        "decoder": {n: {"asr": of} for n, of in loads_of(names, experts)},
    }
    systems = [
        system(name, wrong)
        for name, wrong in (
            *(("right experts", 1), ("encoder swapped", 4), ("decoder swapped", 2)),
        )
    ]
    return ExpertReport("exp", "source", loads, {}, similar, systems)


def loads_of(names, experts):
    return [(name, np.arange(1, experts + 1) + 3 * int(name)) for name in names]


def shares_drawn(axes):
    """Of each stacked bar, from the left: lower end and height of each expert."""
    bars = {}
    for bar in axes.patches:
        middle = round(bar.get_x() + bar.get_width() / 2, 6)
        bars.setdefault(middle, []).append((bar.get_y(), bar.get_height()))
    return [bars[place] for place in sorted(bars)]


@pytest.mark.parametrize(("layers", "experts"), [(1, 2), (2, 3), (7, 9)])
def test_loads_are_stacked_to_a_hundred_percent(tmp_path, layers, experts):
    found = report(layers, experts)
    axes = figure_of(draw_experts, found, tmp_path / "p.png").axes
    encoder = next(a for a in axes if a.get_title(loc="left") == "encoder")
    expected = [
        100 * load / load.sum()
        for of_layer in found.loads["encoder"].values()
        for load in of_layer.values()
    ]
    drawn = shares_drawn(encoder)
    assert [[h for _, h in bar] for bar in drawn] == [
        pytest.approx(shares.tolist()) for shares in expected
    ]
    for bar in drawn:
        ends = np.cumsum([height for _, height in bar])
        assert [low for low, _ in bar] == pytest.approx([0, *ends[:-1]])
    labels = [t.get_text() for t in encoder.get_xticklabels()]
    assert labels == ["wb", "nb"] * layers
    places = encoder.get_xticks()
    assert np.mean(places.reshape(layers, 2), axis=1) == pytest.approx(range(layers))
    turned = {t.get_rotation() for t in encoder.get_xticklabels()}
    assert turned == {90.0 if layers > 6 else 0.0}
    assert encoder.get_ylim() == (0, 100)
    colors = {bar.get_facecolor() for bar in encoder.patches}
    assert len(colors) == min(experts, 8)


def test_everything_has_its_room(tmp_path):
    for size in ((2, 2), (3, 3)):
        figure = figure_of(draw_experts, report(*size), tmp_path / "p.png")
        check_room(figure, crowded="p")


def test_layers_are_named_and_shortly_where_there_are_many(tmp_path):
    for layers, names in ((6, "layer {}"), (7, "{}"), (17, "{}")):
        figure = figure_of(draw_experts, report(layers), tmp_path / "p.png")
        alike = figure.axes[2]
        labels = [t.get_text() for t in alike.get_xticklabels()]
        step = 2 if layers == 17 else 1
        assert labels == [names.format(n) for n in range(0, layers, step)]
        assert alike.get_xlim() == (-0.5, layers - 0.5)
        second = [
            [t.get_text() for t in child.get_xticklabels()]
            for child in figure.axes[0].child_axes
        ]
        assert second == [[names.format(n) for n in range(layers)]]


def test_similarity_is_a_line_a_measure_over_the_layers(tmp_path):
    found = report(3, 3)
    figure = figure_of(draw_experts, found, tmp_path / "p.png")
    upper = np.triu_indices(3, 1)
    for axes, part in zip(figure.axes[2:4], ("encoder", "decoder")):
        assert axes.get_title(loc="left") == part
        layers = found.similarity[part].values()
        drawn = {line.get_label(): list(line.get_ydata()) for line in axes.lines}
        assert drawn == {
            label: [pytest.approx(of[measure][upper].mean()) for of in layers]
            for measure, (label, _) in MEASURES.items()
        }
        assert axes.get_ylim() == (0, 1)
    wanted = [label for label, _ in MEASURES.values()]
    legends = [[t.get_text() for t in of.get_texts()] for of in figure.legends]
    ways = ["right experts", "encoder swapped", "decoder swapped"]
    assert legends == [["E0", "E1", "E2"], wanted, ways]


def test_scores_of_each_way_stand_beside_each_other_with_their_p_value(tmp_path):
    found = report()
    figure = figure_of(draw_experts, found, tmp_path / "p.png")
    p_values = adjusted_p_values(found.systems)
    for axes, task, metric, said in (
        (figure.axes[4], "asr", "wer", "asr WER % (lower is better)"),
        (figure.axes[5], "st", "bleu", "st BLEU (higher is better)"),
    ):
        assert axes.get_title(loc="left") == said
        assert [t.get_text() for t in axes.get_xticklabels()] == ["all", "NB", "WB"]
        bars = bars_of(axes)
        groups = ("all", "mean_nb", "mean_wb")
        for (_, values, ends, _), one in zip(bars, found.systems, strict=True):
            scores = [one.scores[task][g][metric] for g in groups]
            assert values == [score.value for score in scores]
            for end, score in zip(ends, scores):
                assert end == pytest.approx([score.low, score.high])
        places = np.array([x for x, *_ in bars])
        assert places.mean(axis=0) == pytest.approx(range(3))
        assert (np.diff(places, axis=0) > 0.1).all() and np.ptp(places[:, 0]) < 0.8
        said = {
            text.xy: text.get_text()
            for text in axes.texts
            if text.get_text()[:1] == "p"
        }
        expected = {}
        for (x, *_), one in list(zip(bars, found.systems))[1:]:
            for place, group in zip(x, groups):
                score = one.scores[task][group][metric]
                top = max(score.value, score.high)
                p = p_values[one.name, task, metric, group]
                expected[place, top] = p_value(p)
        assert said == expected
        assert axes.get_ylim()[0] == 0
    assert len({color for *_, color in bars_of(figure.axes[4])}) == 3
    assert "Experts of exp" in texts_of(figure)


def test_scores_that_are_not_known_have_no_dot(tmp_path):
    found = report()
    for one in found.systems:
        score = one.scores["asr"]["mean_nb"]["wer"]
        object.__setattr__(score, "value", None)
        object.__setattr__(one.scores["asr"]["all"]["wer"], "high", None)
        object.__setattr__(one.scores["asr"]["all"]["wer"], "low", None)
    figure = figure_of(draw_experts, found, tmp_path / "p.png")
    axes = figure.axes[4]
    assert len(axes.texts) == 2 * 2  # no p-value of what has no score
    value = found.systems[1].scores["asr"]["all"]["wer"].value
    assert axes.texts[0].xy[1] == value
