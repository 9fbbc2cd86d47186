"""Upcycling: what is copied where, and what is refused."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from espnet_smoe.moe import (
    FeedForward,
    Labels,
    MoEFeedForward,
    MoEOptions,
    Routing,
    build_gate,
)
from espnet_smoe.moe.upcycle import gates_of, shared_parameters, upcycle


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
            model(None, hidden=10),
            model(LABEL),
            r"experts\.0\.w_1\.weight is \(8, 4\), .*checkpoint \(10, 4\)",
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


NAMES = ("<a>", "<b>", "<c>")
GATES = {
    "label": LABEL,
    "top 1": LEARNED,
    "top 2": MoEOptions("topk", num_experts=4, top_k=2),
    "one router": MoEOptions("topk", num_experts=4, shared_router=True),
    "label embedding": MoEOptions(
        "topk", num_experts=3, labels=NAMES, label_embedding=True
    ),
    "group, top 1": MoEOptions("label_topk", num_experts=6, labels=NAMES),
    "group, top 2": MoEOptions("label_topk", num_experts=9, labels=NAMES, top_k=2),
}


def routing() -> Routing:
    """Of three utterances of 40 frames, each with another label."""
    labels = Labels(NAMES).bind(NAMES)
    return labels.route(torch.arange(3), lengths=torch.full((3,), 40))


@pytest.mark.parametrize("hidden", [8, 16], ids=["as wide", "wider"])
@pytest.mark.parametrize("name", GATES)
def test_whatever_the_gate_the_mixture_computes_what_the_dense_block_did(name, hidden):
    dense, mixture = model(None), model(GATES[name], hidden)
    result = upcycle(dense.state_dict(), mixture.state_dict(), gates_of(mixture))
    mixture.load_state_dict(result.state, strict=False)
    x = torch.randn(3, 40, 4)
    y = mixture["feed_forward"](x, routing())
    wanted = dense["feed_forward"](x)
    torch.testing.assert_close(y, wanted, atol=1e-5, rtol=1e-5)
    y.square().sum().backward()
    for expert in mixture["feed_forward"].experts:
        assert all(p.grad.abs().sum() > 0 for p in expert.parameters())
    for parameter in mixture["feed_forward"].gate.parameters():
        assert parameter.grad is not None


def new_block() -> FeedForward:
    return FeedForward(4, 8)


def test_one_router_of_all_layers_is_drawn_once():
    options = GATES["one router"]
    gate = build_gate(options, 4)
    blocks = [
        MoEFeedForward(build_gate(options, 4, 0, gate.router), new_block, str(i))
        for i in range(2)
    ]
    mixture = nn.ModuleDict({"0": blocks[0], "1": blocks[1]})
    dense = nn.ModuleDict({"0": new_block(), "1": new_block()})
    state = upcycle(dense.state_dict(), mixture.state_dict(), gates_of(mixture)).state
    first, second = (state[f"{i}.gate.router.weight"] for i in range(2))
    assert torch.equal(first, second) and first.abs().max() > 0


def test_noise_tells_the_copies_apart_and_is_the_same_for_the_same_seed():
    dense, mixture = model(None).state_dict(), model(LABEL).state_dict()
    made = [upcycle(dense, mixture, noise=0.1, seed=seed).state for seed in (0, 0, 1)]
    key = "feed_forward.experts.{}.w_1.weight"
    trained = dense["feed_forward.w_1.weight"]
    added = [made[0][key.format(i)] - trained for i in range(3)]
    for noise in added:
        assert 0.04 < noise.std() / trained.std() < 0.2
    assert not torch.equal(added[0], added[1])
    assert torch.equal(made[0][key.format(2)], made[1][key.format(2)])
    assert not torch.equal(made[0][key.format(2)], made[2][key.format(2)])
    torch.testing.assert_close(made[0]["norm.weight"], dense["norm.weight"])


def test_experts_of_labels_become_the_groups_of_these_labels():
    trained = model(LABEL)
    order = ("<c>", "<a>", "<b>")
    mixture = model(MoEOptions("label_topk", num_experts=6, labels=order))
    gates = gates_of(mixture), gates_of(trained)
    state = upcycle(trained.state_dict(), mixture.state_dict(), *gates).state
    for expert, source in enumerate((2, 2, 0, 0, 1, 1)):
        torch.testing.assert_close(
            state[f"feed_forward.experts.{expert}.w_1.weight"],
            trained["feed_forward"].experts[source].w_1.weight,
        )
    mixture.load_state_dict(state)
    x, labels = torch.randn(3, 40, 4), Labels(order).bind(NAMES)
    given = labels.route(torch.arange(3), lengths=torch.full((3,), 40))
    torch.testing.assert_close(
        mixture["feed_forward"](x, given),
        trained["feed_forward"](x, routing()),
        atol=1e-5,
        rtol=1e-5,
    )


def test_experts_follow_their_labels_and_a_label_without_expert_is_named():
    trained = model(LABEL)
    swapped = model(MoEOptions(labels=("<b>", "<a>", "<c>")))
    gates = gates_of(swapped), gates_of(trained)
    state = upcycle(trained.state_dict(), swapped.state_dict(), *gates).state
    first = state["feed_forward.experts.0.w_1.weight"]
    assert torch.equal(first, trained["feed_forward"].experts[1].w_1.weight)
    other = model(MoEOptions(labels=("<a>", "<b>", "<d>")))
    gates = gates_of(other), gates_of(trained)
    with pytest.raises(ValueError, match=r"of label <d>: the checkpoint has none"):
        upcycle(trained.state_dict(), other.state_dict(), *gates)


@pytest.mark.parametrize(
    "options, rerouted",
    [
        (MoEOptions("topk", num_experts=3, top_k=1), ["feed_forward"]),
        (MoEOptions("label_topk", num_experts=6, labels=("<a>", "<b>", "<c>")), []),
        (LABEL, []),
    ],
)
def test_trained_experts_behind_a_new_router_are_told(options, rerouted):
    trained, mixture = model(LABEL), model(options)
    gates = gates_of(mixture), gates_of(trained)
    result = upcycle(trained.state_dict(), mixture.state_dict(), *gates)
    assert result.rerouted == rerouted
    told = "others than those of the trained model: feed_forward"
    assert (told in result.describe()) == bool(rerouted)


@pytest.mark.parametrize(
    ("trained", "options", "rerouted"),
    [
        (LEARNED, replace(LEARNED, top_k=2), ["feed_forward"]),
        (LEARNED, LEARNED, []),
        (
            GATES["group, top 1"],
            replace(GATES["group, top 1"], labels=("<c>", "<a>", "<b>")),
            ["feed_forward"],
        ),
    ],
)
def test_another_choice_of_a_kept_router_is_told(trained, options, rerouted):
    trained, mixture = model(trained), model(options)
    gates = gates_of(mixture), gates_of(trained)
    result = upcycle(trained.state_dict(), mixture.state_dict(), *gates)
    assert result.rerouted == rerouted


def test_what_is_shared_is_what_stays_outside_the_experts():
    dense, mixture = model(None), model(LABEL)
    result = upcycle(dense.state_dict(), mixture.state_dict(), gates_of(mixture))
    assert shared_parameters(mixture, result) == ["norm"]
    wide = model(None, hidden=12)
    result = upcycle(dense.state_dict(), wide.state_dict())
    assert shared_parameters(wide, result) == ["norm"]
    assert result.describe().startswith("made wider: feed_forward\n")
