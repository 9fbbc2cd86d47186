"""The check of a GPU: it runs everywhere, goes on after failures and tells them."""

import json

import pytest
import torch

from espnet_smoe.benchmark.__main__ import main
from espnet_smoe.benchmark.comparison import Comparison
from espnet_smoe.benchmark.gpu import checks_moe, run, tables, timing
from espnet_smoe.benchmark.gpu.guard import Compared, Site, run_check

SITE = Site(torch.device("cpu"), quick=True)


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
    assert len(figures["checks"]) > 90 and all(c["passed"] for c in figures["checks"])
    comparisons = [
        comparison.name for comparison in tables.comparisons(SITE, tables.QUICK)
    ]
    assert (
        list(dict.fromkeys(row["comparison"] for row in figures["rows"])) == comparisons
    )
    assert len(comparisons) > 25 and not any(row["goal"] for row in figures["rows"])
    for name in (*comparisons, *(check["name"] for check in figures["checks"])):
        assert name in page and name in printed
    assert f"torch {torch.__version__}" in page and "kernels" in page
    assert not any(note.startswith("FAIL") for note in figures["notes"])


def broken(site: Site, compared: Compared) -> None:
    raise ValueError("this check is broken")


def wrong(site: Site, compared: Compared) -> None:
    compared.close("output", torch.tensor([1.0, 2.5]), torch.tensor([1.0, 2.0]), 1e-3)


def nothing(site: Site, compared: Compared) -> None:
    compared.close("output", torch.tensor([float("nan")]), torch.ones(1), 1e9)


def test_a_failure_is_told_and_the_next_check_runs(command, monkeypatch):
    checks = {"broken": broken, "wrong": wrong, "NaN": nothing, "fine": lambda *_: None}
    monkeypatch.setattr(checks_moe, "CHECKS", checks)
    for module in (run.checks_model, run.checks_search, run.checks_compile):
        monkeypatch.setattr(module, "CHECKS", {})
    status, printed, page, figures = command("--no-tables")
    assert status == 1
    assert [c["passed"] for c in figures["checks"]] == [False, False, False, True]
    assert "ValueError: this check is broken" in printed
    assert "this check is broken" in page
    assert figures["checks"][1]["absolute"] == 0.5
    assert "failed: wrong" in printed


def test_what_comes_after_the_budget_is_left_out_and_named(command):
    status, printed, page, figures = command("--budget", "0", "--only", "topk of 2")
    assert status == 0 and not figures["checks"]
    assert "left out after 0 s: float32: topk of 2" in page
    assert "0 of 0 checks passed" in printed


def failing_sides() -> dict:
    def fails() -> None:
        raise RuntimeError("out of memory")

    return {"baseline": lambda: 1, "fails": fails, "runs": lambda: 2}


def test_a_side_that_fails_leaves_the_others_in_the_race():
    comparison = Comparison(
        "comparison", failing_sides, "baseline", {"runs": 100.0, "fails": 1.0}
    )
    rows, said = timing.run_on(SITE, comparison, rounds=3)
    assert [row.side for row in rows] == ["baseline", "runs"]
    assert rows[1].ratio is not None and rows[1].reached is not None
    assert said[0].startswith("FAIL comparison: fails") and "out of memory" in said[0]


def test_without_its_rival_a_side_is_timed_alone():
    comparison = Comparison("comparison", failing_sides, "fails", {"runs": 1.0})
    rows, _ = timing.run_on(SITE, comparison, rounds=2)
    assert [(row.ratio, row.goal, row.reached) for row in rows] == [(None,) * 3] * 2


def test_a_mixture_that_forgets_an_expert_fails_the_check(monkeypatch):
    name = "float32: topk of 2"
    check = checks_moe.CHECKS[name]
    assert run_check(name, check, SITE).passed
    forward = checks_moe.FeedForward.forward
    calls = iter(range(10**9))

    def forgetful(self, x):
        y = forward(self, x)
        return y * 0 if len(x) > 1 and next(calls) == 2 else y

    monkeypatch.setattr(checks_moe.FeedForward, "forward", forgetful)
    outcome = run_check(name, check, SITE)
    assert not outcome.passed and "output: off by" in outcome.fault


def test_all_sides_of_a_mixture_compute_the_same():
    comparison = next(
        comparison
        for comparison in tables.comparisons(SITE, tables.QUICK)
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
        for comparison in tables.comparisons(SITE, tables.FULL)
        if comparison.goals and "beam search" not in comparison.name
    }
    wanted = {
        "bf16, 1 utterance of 10 s at once": {tables.rtf.MOE: 1.25},
        "bf16, 16 utterances of 10 s at once": {tables.rtf.MOE: 1.25},
    }
    for name in (
        "bf16, forward",
        "bf16 autocast, forward and backward",
        "bf16 autocast, forward",
    ):
        name += ": 1 of 8 experts, 16,384 frames"
        wanted[name] = {tables.moe.LEARNED: 1.35}  # of the dense block's time
        wanted[f"{name}, beside the loop"] = {tables.moe.LEARNED: 3.0}  # its speed
    assert found == wanted
