"""The models of the real-time-factor benchmark are what they are called."""

import json

import pytest
import torch

from espnet_smoe.benchmark import rtf
from espnet_smoe.benchmark.__main__ import main
from espnet_smoe.moe import Routing


def test_the_models_have_the_sizes_that_the_goals_are_set_for():
    dense, mixture, large = (
        rtf.parameters(rtf.Sizes(), kind) for kind in (rtf.DENSE, rtf.MOE, rtf.LARGE)
    )
    assert dense["total"] / 1e6 == pytest.approx(224.4, abs=0.05)
    assert mixture["total"] / 1e6 == pytest.approx(1051.2, abs=0.05)
    assert large["total"] == pytest.approx(mixture["total"], rel=0.02)
    assert mixture["active"] / dense["active"] == pytest.approx(1.527, abs=1e-3)


@pytest.mark.parametrize(
    "precision, goals",
    [
        ("float32", {rtf.MOE: 1.5, rtf.INT8: 1.0}),
        ("bfloat16", {rtf.MOE: 1.5}),
        ("int8", {rtf.MOE: 1.3}),
    ],
)
def test_the_goals_of_each_precision(precision, goals):
    sizes = rtf.Sizes(precision=precision)
    beside_dense, beside_large = (rtf.comparisons(sizes)[n] for n in (0, 4))
    assert goals.items() <= beside_dense.goals.items()
    assert not beside_dense.faster and beside_dense.baseline == rtf.DENSE
    assert beside_large.goals == {rtf.MOE: 2.0}
    assert beside_large.faster and beside_large.baseline == rtf.LARGE
    with pytest.raises(ValueError, match="--precision int4: write one of float32, bf"):
        rtf.comparisons(rtf.Sizes(precision="int4"))


def test_experts_without_frames_are_not_read():
    routing = Routing(torch.tensor([3]))
    routing.loads = {"0": torch.tensor([3, 0, 0, 3]), "1": torch.tensor([1, 1, 1, 3])}
    assert rtf.fraction_of_experts([routing]) == 6 / 8
    assert rtf.fraction_of_experts([Routing(torch.tensor([3]))]) == 1


def test_a_batch_of_streams_reads_more_experts_than_a_frame_does():
    sizes = rtf.Sizes(**vars(rtf.QUICK) | {"experts": 16, "chunk": 1, "chunks": 1})
    model = rtf.model_of(sizes, rtf.MOE)
    one, many = (rtf.streamed(sizes, model, streams=n)() for n in (1, 8))
    assert rtf.fraction_of_experts(one) == 2 / 16 < rtf.fraction_of_experts(many)


@pytest.mark.parametrize("precision", rtf.MOST_OF_DENSE)
def test_the_command_times_every_model_in_every_way(precision, tmp_path, capsys):
    figures = tmp_path / "figures.json"
    threads = str(torch.get_num_threads())
    argv = ["rtf", "--quick", "--rounds", "1", "--threads", threads]
    main([*argv, "--precision", precision, "--json", str(figures)])
    rows = json.loads(figures.read_text())["rows"]
    mixtures = [rtf.MOE] + [rtf.INT8] * (precision == "float32")
    assert [row["side"] for row in rows] == [
        side
        for baseline in (rtf.DENSE, rtf.LARGE)
        for side in 4 * [baseline, *mixtures]
    ]
    each = 1 + len(mixtures)
    speech = [row["rate"] * row["seconds"]["median"] for row in rows[: 4 * each : each]]
    assert speech == pytest.approx([1.0, 0.32, 0.64, 1.0])
    assert "a pass reads" in capsys.readouterr().out
