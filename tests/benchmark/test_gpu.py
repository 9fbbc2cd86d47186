"""The times of a GPU: they are taken everywhere, and go on after failures."""

import json

import pytest
import torch

from espnet_smoe.benchmark import beside_espnet
from espnet_smoe.benchmark.__main__ import main
from espnet_smoe.benchmark.comparison import Comparison
from espnet_smoe.benchmark.gpu import run, tables, timing

CPU = torch.device("cpu")


@pytest.fixture
def command(tmp_path, capsys):
    """Run the command; its status, what it printed, the page, the figures."""

    def start(*words: str):
        files = tmp_path / "new" / "gpu.md", tmp_path / "gpu.json"
        given = ["--markdown", str(files[0]), "--json", str(files[1])]
        status = main(["gpu", "--device", "cpu", "--quick", *given, *words])
        printed = capsys.readouterr().out
        return status, printed, files[0].read_text(), json.loads(files[1].read_text())

    return start


def test_everything_runs_at_toy_size_and_is_written(command):
    status, printed, page, figures = command()
    assert status == 0, printed
    names = [c.name for c in tables.comparisons(CPU, tables.QUICK)]
    assert list(dict.fromkeys(row["comparison"] for row in figures["rows"])) == names
    assert len(names) > 25 and not any(row["goal"] for row in figures["rows"])
    for name in names:
        assert name in page and name in printed
    assert f"torch {torch.__version__}" in page and "kernels" in page
    assert not any(note.startswith("FAIL") for note in figures["notes"])


def test_a_failure_is_reported_and_the_next_comparison_runs(command, monkeypatch):
    def breaks() -> dict:
        raise ValueError("this one is broken")

    both = [Comparison("broken", breaks, ""), Comparison("fine", failing_sides, "runs")]
    monkeypatch.setattr(run, "comparisons", lambda *_: both)
    monkeypatch.setattr(
        run, "CASES", {"profile: no such side": ("x", False, None, None)}
    )
    status, printed, page, figures = command()
    assert status == 1
    assert "ValueError: this one is broken" in printed
    assert "this one is broken" in page and "KeyError: 'x'" in page
    assert "failed: broken" in printed
    assert [row["side"] for row in figures["rows"]] == ["baseline", "runs"]


def test_what_comes_after_the_budget_is_left_out_and_named(command):
    status, printed, page, figures = command(
        "--budget", "0", "--only", "autocast, forward"
    )
    assert status == 0 and not figures["rows"]
    assert "left out after 0 s: bf16 autocast, forward and backward" in page


def failing_sides() -> dict:
    def fails() -> None:
        raise RuntimeError("out of memory")

    return {"baseline": lambda: 1, "fails": fails, "runs": lambda: 2}


def test_a_side_that_fails_leaves_the_others_in_the_table():
    comparison = Comparison(
        "comparison", failing_sides, "baseline", {"runs": 100.0, "fails": 1.0}
    )
    rows, notes = timing.run_on(CPU, comparison, rounds=3, measured_seconds=0.0)
    assert [row.side for row in rows] == ["baseline", "runs"]
    assert rows[1].ratio is not None and rows[1].reached is not None
    assert notes[0].startswith("FAIL comparison: fails") and "out of memory" in notes[0]


def test_without_its_baseline_a_side_is_timed_alone():
    comparison = Comparison("comparison", failing_sides, "fails", {"runs": 1.0})
    rows, _ = timing.run_on(CPU, comparison, rounds=2, measured_seconds=0.0)
    assert [(row.ratio, row.goal, row.reached) for row in rows] == [(None,) * 3] * 2


def test_all_sides_of_a_mixture_compute_the_same():
    comparison = next(
        comparison
        for comparison in tables.comparisons(CPU, tables.QUICK)
        if comparison.name.startswith("float32, forward and backward: 1 of 3")
    )
    results = {name: side() for name, side in comparison.build().items()}
    assert len(results) == 6
    dense = results.pop(tables.moe.DENSE)
    first, *others = results.values()
    assert not torch.allclose(first, dense)
    for y in others:
        torch.testing.assert_close(y, first)


def test_the_goals_are_those_of_the_large_batch_in_bf16():
    found = {
        comparison.name: comparison.goals
        for comparison in tables.comparisons(CPU, tables.FULL)
        if comparison.goals and "beam search" not in comparison.name
    }
    wanted = {
        "bf16, 1 utterance of 10 s at once": {tables.rtf.MOE: 1.25},
        "bf16, 16 utterances of 10 s at once": {tables.rtf.MOE: 1.25},
    }
    for kind in beside_espnet.KINDS:
        name = f"training step of a {kind} beside ESPnet's, 32 utterances of 10 s"
        wanted[f"bf16 autocast: {name}; all its memory"] = beside_espnet.GOALS
    for name in (
        "bf16, forward",
        "bf16 autocast, forward and backward",
        "bf16 autocast, forward",
    ):
        name += ": 1 of 8 experts, 16,384 frames"
        wanted[name] = {tables.moe.LEARNED: 1.35}  # of the dense block's time
        wanted[f"{name}, beside the loop"] = {tables.moe.LEARNED: 3.0}  # its speed
    assert found == wanted
