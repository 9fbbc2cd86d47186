"""The picture of a comparison: what is drawn is what was scored."""

import numpy as np
import pytest

from espnet_smoe.report.scoring import bootstrap
from espnet_smoe.report.scoring.bootstrap import Score
from espnet_smoe.report.scoring.counts import TaskCounts
from espnet_smoe.report.scoring.metrics import METRICS
from espnet_smoe.report.tables.compare import compare
from espnet_smoe.report.tables.compare_figure import draw_comparison, values_and_reach
from espnet_smoe.report.tables.system import System
from tests.report.conftest import check_room, figure_of

GROUPS = {
    "all": [np.arange(12)],
    "g711_nb": [np.arange(6)],
    "wb": [np.arange(6, 12)],
    "mean_nb": [np.arange(6)],
    "mean_wb": [np.arange(6, 12)],
}


@pytest.fixture(autouse=True)
def fewer_resamples(monkeypatch):
    monkeypatch.setattr(bootstrap, "RESAMPLES", 500)


def system(name, wrong, tasks=("asr", "st"), groups=GROUPS):
    """Every other utterance has so many words wrong."""
    references = ["a b c d e f"] * 12
    spoilt = " ".join(["x"] * wrong + "a b c d e f".split()[wrong:])
    hypotheses = [spoilt, references[0]] * 6
    metrics = {"asr": ("wer", "cer"), "st": ("bleu",)}
    counts = {
        task: TaskCounts(
            {m: METRICS[m].counts(references, hypotheses) for m in metrics[task]},
            groups,
        )
        for task in tasks
    }
    return System(name, 1, counts, {t: c.scores() for t, c in counts.items()})


SYSTEMS = [
    system("base", 3),
    system("a_system_with_a_long_name", 2),
    system("asr_only", 1, ("asr",)),
]


def drawn(systems, tmp_path):
    rows = compare(systems)
    explained = "What the numbers mean. " * 12
    path = tmp_path / "c.png"
    return rows, figure_of(draw_comparison, rows, systems, "Title", explained, path)


def bars_of(axes):
    """Of each system drawn: places, values, and ends of the intervals."""
    found = []
    for container in axes.containers:
        points, _, (reach,) = container.lines
        ends = [segment[:, 1].tolist() for segment in reach.get_segments()]
        found.append((*map(list, points.get_data()), ends, points.get_color()))
    return found


def test_everything_has_its_room(tmp_path):
    for systems in (SYSTEMS, SYSTEMS[:1], [*SYSTEMS, *SYSTEMS[:2]]):
        _, figure = drawn(systems, tmp_path)
        check_room(figure)


def test_the_table_has_the_cells_of_each_line_in_its_column(tmp_path):
    rows, figure = drawn(SYSTEMS, tmp_path)
    texts = figure.axes[0].texts
    at = {}
    for text in texts:
        at.setdefault(round(text.get_position()[1], 6), []).append(text)
    lines = [[t.get_text() for t in at[y]] for y in sorted(at)]
    assert lines[0] == ["base", "a_system_with_a_\nlong_name", "asr_only"]
    expected, section = [], None
    names = {"asr": "Recognition", "st": "Translation", "cost": "Cost"}
    for row in rows:
        if row.section != section:
            section = row.section
            expected.append([names[section]])
        expected.append([row.label, *(cell.text for cell in row.cells)])
        notes = [cell.note for cell in row.cells if cell.note]
        expected += [notes] if notes else []
    assert lines[1:-1] == expected
    assert lines[-1][0].startswith("What the numbers mean.")
    heads = [t.get_position()[0] for t in texts[:3]]
    assert heads == sorted(heads) and np.ptp(np.diff(heads)) < 1e-6
    best = {c.text for row in rows for c in row.cells if c.best}
    assert best == {
        t.get_text()
        for y in list(sorted(at))[1:-1]
        for t in at[y][1:]
        if t.get_fontweight() == "bold"
    }
    columns = [{t.get_position()[0] for t in at[y][1:] if len(at[y]) == 4} for y in at]
    assert all(column <= set(heads) for column in columns)


def test_rows_are_banded_in_turns_and_rules_close_the_table(tmp_path):
    rows, figure = drawn(SYSTEMS, tmp_path)
    axes = figure.axes[0]
    assert len(axes.collections) == len(rows) // 2
    tops = [band.get_paths()[0].get_extents() for band in axes.collections]
    labels = [t for t in axes.texts if t.get_text() in {row.label for row in rows}]
    middle = [t.get_position()[1] for t in labels]
    inside = [any(b.y0 < y < b.y1 for b in tops) for y in middle]
    assert inside == [bool(number % 2) for number in range(len(rows))]
    rules = sorted(line.get_ydata()[0] for line in axes.lines)
    assert len(rules) == 2 + 3  # above, below, and one a section
    assert rules[0] < min(middle) and rules[-1] > max(middle)


def test_charts_have_a_dot_and_an_interval_a_condition(tmp_path):
    _, figure = drawn(SYSTEMS, tmp_path)
    _, asr, st = figure.axes
    assert asr.get_title(loc="left") == "WER % by condition\n(lower is better)"
    assert st.get_title(loc="left") == "BLEU by condition\n(higher is better)"
    labels = [t.get_text() for t in asr.get_xticklabels()]
    assert labels == ["all", "g711 nb", "wb"]
    for axes, task, metric, having in (
        (asr, "asr", "wer", SYSTEMS),
        (st, "st", "bleu", SYSTEMS[:2]),
    ):
        found = bars_of(axes)
        assert len(found) == len(having)
        middles = np.mean([x for x, *_ in found], axis=0)
        assert middles == pytest.approx([0, 1, 2])
        for (x, values, ends, _), one in zip(found, having):
            scores = [one.scores[task][g][metric] for g in ("all", "g711_nb", "wb")]
            assert values == [score.value for score in scores]
            for end, score in zip(ends, scores):
                assert end == pytest.approx([score.low, score.high])
            assert np.abs(np.array(x) - [0, 1, 2]).max() < 0.4
        first = [x[0] for x, *_ in found]
        assert first == sorted(first) and np.diff(first).min() > 0.1
        assert axes.get_ylim()[0] >= 0
        assert axes.get_xlim()[0] < -0.4 and axes.get_xlim()[1] > 2.4
    colors = [color for *_, color in bars_of(asr)]
    assert len(set(colors)) == 3 and colors[:2] == [c for *_, c in bars_of(st)]
    heads = [t.get_color() for t in figure.axes[0].texts[:3]]
    assert heads == colors


def test_a_set_of_one_condition_has_one_place(tmp_path):
    groups = {"all": [np.arange(12)], "wb": [np.arange(12)]}
    _, figure = drawn([system("a", 2, ("asr",), groups)], tmp_path)
    axes = figure.axes[1]
    assert axes.get_title(loc="left") == "WER %\n(lower is better)"
    assert [t.get_text() for t in axes.get_xticklabels()] == ["all"]


def test_more_systems_than_colours_begin_again(tmp_path):
    _, figure = drawn([system(f"s{n}", 1, ("asr",)) for n in range(9)], tmp_path)
    colors = [color for *_, color in bars_of(figure.axes[1])]
    assert colors[1] == colors[7] and len(set(colors)) == 7


def test_error_bars_reach_to_the_ends_of_the_interval():
    scores = [
        Score(5.0, 4.0, 7.0, 9, 9),
        Score(5.0, 5.5, 7.0, 9, 9),
        Score(5.0, 3.0, 4.5, 9, 9),
        Score(5.0, None, None, 1, 1),
    ]
    values, (down, up) = values_and_reach(scores)
    assert values == [5] * 4 and down == [1, 0, 2, 0] and up == [2, 2, 0, 0]
    (value,), ((low,), (high,)) = values_and_reach([Score(None, None, None, 3, 3)])
    assert np.isnan(value) and not low > 0 and not high > 0
