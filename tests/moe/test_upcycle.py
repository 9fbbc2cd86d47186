"""Upcycling: what is copied where, and what is refused."""

import pytest
import torch
from torch import nn

from espnet_smoe.moe import FeedForward, MoEFeedForward, MoEOptions, build_gate
from espnet_smoe.moe.upcycle import upcycle


def model(moe: MoEOptions | None, hidden: int = 8) -> nn.ModuleDict:
    block = FeedForward(4, hidden)
    if moe is not None:
        block = MoEFeedForward(build_gate(moe, 4), lambda: FeedForward(4, hidden), "0")
    return nn.ModuleDict({"norm": nn.LayerNorm(4), "feed_forward": block})


LABEL = MoEOptions(labels=("<a>", "<b>", "<c>"))
LEARNED = MoEOptions("topk", num_experts=3)


def test_every_expert_is_a_copy_of_the_dense_block():
    dense, mixture = model(None), model(LABEL)
    result = upcycle(dense.state_dict(), mixture.state_dict())
    mixture.load_state_dict(result.state)
    x = torch.randn(5, 4)
    for expert in mixture["feed_forward"].experts:
        torch.testing.assert_close(expert(x), dense["feed_forward"](x))
    assert result.copied == {"feed_forward": [0, 1, 2]}
    assert result.kept == ["norm.weight", "norm.bias"]


def test_experts_do_not_share_memory():
    result = upcycle(model(None).state_dict(), model(LABEL).state_dict())
    pointers = {tensor.data_ptr() for tensor in result.state.values()}
    assert len(pointers) == len(result.state)


def test_a_router_is_new_and_left_to_its_initialisation():
    result = upcycle(model(None).state_dict(), model(LEARNED).state_dict())
    assert result.new == ["feed_forward.gate.router.weight"]
    assert result.new[0] not in result.state


def test_a_block_that_is_a_mixture_already_is_kept():
    trained = model(LABEL).state_dict()
    result = upcycle(trained, model(LABEL).state_dict())
    assert result.copied == {} and len(result.kept) == len(trained)


@pytest.mark.parametrize(
    "source, target, message",
    [
        (
            model(None, hidden=6),
            model(LABEL),
            r"experts\.0\.w_1\.weight is \(8, 4\), .*checkpoint \(6, 4\)",
        ),
        (model(LABEL), model(None), r"experts\.0\.w_1\.weight \(8, 4\) .* no place"),
        (
            model(MoEOptions(labels=("<a>", "<b>"))),
            model(LABEL),
            r"experts\.2\.w_1\.weight \(8, 4\): the checkpoint has none",
        ),
    ],
    ids=["width", "fewer blocks", "more experts"],
)
def test_what_does_not_fit_is_refused_by_name_and_shape(source, target, message):
    with pytest.raises(ValueError, match=message):
        upcycle(source.state_dict(), target.state_dict())


@pytest.mark.parametrize("extra", [9, 10, 11, 12])
def test_ten_faults_are_listed_and_the_others_counted(extra):
    dense = model(None).state_dict()
    dense |= {f"other.{n:02}": torch.zeros(1) for n in range(extra)}
    with pytest.raises(ValueError, match="does not fit") as refused:
        upcycle(dense, model(LABEL).state_dict())
    said = str(refused.value)
    assert said.count("has no place") == min(extra, 10)
    assert ("more" in said.split("make sizes")[0]) == (extra > 10)
    assert extra <= 10 or f"and {extra - 10} more" in said


def test_what_became_of_a_checkpoint_is_told():
    dense = model(None).state_dict()
    told = upcycle(dense, model(LEARNED).state_dict()).describe()
    assert told.splitlines() == [
        "feed_forward -> experts 0, 1, 2",
        "as they are: 2 tensors",
        "left to their initialisation: feed_forward.gate.router.weight",
    ]
    told = upcycle(dense, model(LABEL).state_dict()).describe()
    assert told.endswith("as they are: 2 tensors")
