"""The benchmarks run, compare like with like, and say what they found."""

import json
from dataclasses import replace
from functools import partial

import pytest
import torch

from espnet_smoe.benchmark import beside_espnet, codec, decode, moe, train
from espnet_smoe.benchmark.__main__ import get_parser, main
from espnet_smoe.benchmark.comparison import Comparison, run_comparison
from espnet_smoe.benchmark.measure import Spread


def sleepless(seconds: dict[str, float], names: list[str]) -> dict:
    """Sides that take no time; a false clock says how long they took."""
    return {name: partial(seconds.__getitem__, name) for name in names}


@pytest.fixture
def measured(monkeypatch):
    """Run a comparison of sides a (the baseline) and b with made-up times."""

    def run(seconds: dict[str, float], **options):
        module = "espnet_smoe.benchmark.comparison"
        times = {name: [value, value] for name, value in seconds.items()}
        monkeypatch.setattr(f"{module}.take_turns", lambda *_, **__: (times, seconds))
        monkeypatch.setattr(f"{module}.peak_memory", lambda _, side, __: len(side))
        build = partial(sleepless, seconds, list(seconds))
        rows, said = run_comparison(Comparison("r", build, "a", **options), 2)
        return {row.side: row for row in rows}, said

    return run


def test_a_ratio_of_times_reaches_its_goal_from_below(measured):
    rows, _ = measured({"a": 2.0, "b": 3.0}, goals={"b": 1.5})
    assert rows["b"].ratio == Spread(1.5, 1.5, 1.5) and rows["b"].reached
    assert rows["a"].ratio is None and rows["a"].reached is None
    rows, _ = measured({"a": 2.0, "b": 3.0}, goals={"b": 1.4})
    assert rows["b"].reached is False


def test_a_ratio_of_speeds_reaches_its_goal_from_above(measured):
    rows, _ = measured({"a": 6.0, "b": 2.0}, goals={"b": 3.0}, faster=True)
    assert rows["b"].ratio.median == 3.0 and rows["b"].reached
    rows, _ = measured({"a": 6.0, "b": 2.0}, goals={"b": 3.1}, faster=True)
    assert rows["b"].reached is False


def test_a_rate_counts_the_items_of_a_run(measured):
    rows, _ = measured({"a": 2.0, "b": 0.5}, items=4, unit="utterances")
    assert (rows["a"].rate, rows["b"].rate) == (2.0, 8.0)


def test_a_check_sees_the_results_of_all_sides(measured):
    _, said = measured({"a": 2.0, "b": 3.0}, check=lambda found: str(sorted(found)))
    assert said == ["r: ['a', 'b']"]


@pytest.mark.parametrize("backward", [False, True])
def test_every_feed_forward_side_does_the_same_work(backward):
    sides = moe.blocks(moe.QUICK, backward)
    results = {name: run() for name, run in sides.items()}
    assert len(results) == 5
    for y in results.values():
        torch.testing.assert_close(y, results[moe.DENSE])
        assert not y.requires_grad


@pytest.mark.parametrize("backward", [False, True])
def test_a_learned_mixture_does_the_work_of_the_loop(backward):
    names = (moe.LOOP, moe.LEARNED)
    sides = moe.learned(moe.QUICK, 3, (2, 6), backward, names)
    results = {name: run() for name, run in sides.items()}
    assert tuple(results) == names and results[moe.LOOP].shape == (2, 6, 8)
    for y in results.values():
        torch.testing.assert_close(y, results[moe.LOOP])
        assert y.abs().max() > 0


def test_learned_mixtures_race_at_the_sizes_that_the_goals_are_set_for():
    found = {
        comparison.name: comparison.goals.get(moe.LEARNED)
        for comparison in moe.comparisons(moe.Sizes())
    }
    there_and_back = "forward and backward, learned"
    assert {name: goal for name, goal in found.items() if goal} == {
        "forward, learned, 8 experts, 4,096 frames": 1.1,
        f"{there_and_back}, 8 experts, 4,096 frames": 1.2,
        "forward, learned, 8 experts, 16,384 frames": 1.05,
        f"{there_and_back}, 8 experts, 16,384 frames": 1.1,
        "forward, learned, 32 experts, 16,384 frames": 1.05,
        f"{there_and_back}, 32 experts, 16,384 frames": 1.15,
        "forward, learned, 8 experts, 16 frames, beside the loop": 1.25,
        f"{there_and_back}, 8 experts, 16,384 frames, beside the loop": 1.25,
        f"{there_and_back}, 32 experts, 16,384 frames, beside the loop": 2.0,
    }


def test_espnets_search_and_ours_find_the_same_hypotheses():
    for utterances in (1, 3):
        sides = decode.searches_of(decode.QUICK, utterances)
        found = {name: run() for name, run in sides.items()}
        assert found[decode.ESPNET] == found[decode.OURS]
        assert [len(h) for h in found[decode.OURS]] == [5] * utterances


def test_two_tasks_together_find_what_each_finds_alone():
    for options in (None, {"gate": "label"}):
        sides = decode.tasks_of(decode.QUICK, options)
        found = {name: run() for name, run in sides.items()}
        assert found[decode.TOGETHER] == found[decode.ALONE]
        assert len(found[decode.TOGETHER]) == 2


def test_hypotheses_that_differ_are_counted():
    same = [[1, 2], [3, 4, 5]]
    said = decode.same_hypotheses({"a": same, "b": [[1, 2], [3, 4, 6]]})
    assert said == "1 of 2 hypotheses the same, 2 to 3 tokens each"


def test_a_training_step_of_either_schedule_trains_both_targets():
    sides = train.schedules(train.QUICK)
    assert {name: run() for name, run in sides.items()} == {
        train.ALTERNATE: {"asr", "st"},
        train.JOINT: {"asr", "st"},
    }


def test_our_transformer_beside_espnets_is_the_same_model():
    sizes, losses = train.QUICK, []
    made = beside_espnet.makers(sizes, "Transformer")
    sides = beside_espnet.ESPNET, beside_espnet.OURS
    models = [made[side]().eval() for side in sides]
    models[1].load_state_dict(models[0].state_dict(), strict=False)
    for model in models:
        batch = beside_espnet.minibatch(sizes)
        model.error_calculator = None
        losses.append(model(**batch)[0].detach())
    torch.testing.assert_close(*losses, rtol=1e-6, atol=0.0)


def test_a_precision_that_is_none_is_refused():
    sizes = replace(beside_espnet.QUICK, precision="float17")
    with pytest.raises(ValueError, match="--precision float17: write one of float32"):
        beside_espnet.comparisons(sizes)


def test_every_condition_is_timed_on_the_same_utterance():
    heard = {name: run() for name, run in codec.conditions_of(codec.QUICK).items()}
    assert heard.pop(codec.STARTS) is None
    assert set(heard) == {"nb", "g711_nb", "amr_nb", "wb", "amr_wb"}
    assert codec.lengths(codec.QUICK, heard).startswith("5 of 5 conditions")
    heard["nb"] = heard["nb"][1:]
    assert codec.lengths(codec.QUICK, heard).startswith("4 of 5 conditions")


@pytest.mark.parametrize(
    "benchmark", ["moe", "decode", "train", "beside_espnet", "codec"]
)
def test_every_benchmark_runs_and_writes_its_figures(
    benchmark, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(
        "espnet_smoe.benchmark.comparison.peak_memory", lambda *_: 3 * 2**20
    )
    before = torch.get_num_threads()
    out = {kind: tmp_path / "new" / f"figures.{kind}" for kind in ("json", "md")}
    argv = [benchmark, "--quick", "--rounds", "1", "--threads", str(before)]
    main([*argv, "--json", str(out["json"]), "--markdown", str(out["md"])])
    printed = capsys.readouterr().out
    content = json.loads(out["json"].read_text())
    assert content["circumstances"]["command"].startswith(
        f"espnet-smoe benchmark {benchmark} --quick"
    )
    for row in content["rows"]:
        assert row["seconds"]["median"] > 0
        assert row["goal"] is None  # tiny sizes prove nothing
        assert row["side"] in printed and row["side"] in out["md"].read_text()
    assert "3 MiB" in printed
    assert all(note in printed for note in content["notes"])


def test_a_size_given_by_the_user_is_the_one_that_is_timed(monkeypatch, capsys):
    seen = []
    monkeypatch.setattr(moe, "comparisons", lambda sizes: seen.append(sizes) or [])
    main(["moe", "--quick", "--frames", "7", "--threads", str(torch.get_num_threads())])
    assert seen == [replace(moe.QUICK, frames=7)]


def test_the_full_sizes_are_those_that_the_goals_are_set_for():
    sizes = moe.Sizes()
    assert sizes.utterances * sizes.frames == 4096
    args = get_parser().parse_args(["decode"])
    assert (args.threads, args.vocabulary) == (2, None)
    assert decode.Sizes().vocabulary == 40000


def test_threads_must_be_positive(capsys):
    with pytest.raises(SystemExit):
        main(["moe", "--threads", "0"])
    assert "at least 1" in capsys.readouterr().err


def test_the_benchmark_of_whisper_names_the_folder_that_lacks(tmp_path):
    (tmp_path / "a").mkdir()
    given = ["--model", str(tmp_path / "a"), "--weights", str(tmp_path / "b")]
    with pytest.raises(ValueError, match="--weights: no such folder: .*b'"):
        main(["whisper", "--quick", *given])
    given[3] = given[1]
    with pytest.raises(ValueError, match="--precision int4: write one of float32, in"):
        main(["whisper", "--quick", *given, "--precision", "int4"])
    with pytest.raises(ValueError, match="pip install faster-whisper"):
        main(["whisper", "--quick", *given, "--audio", given[1]])
