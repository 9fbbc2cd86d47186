"""MoEFeedForward: what every mixture must satisfy."""

from functools import partial
from importlib import import_module

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from espnet_smoe.moe import (
    FeedForward,
    Labels,
    MoEFeedForward,
    MoEOptions,
    Routing,
    build_gate,
    reference,
)

LABELS = ["<a>", "<b>", "<c>"]


@pytest.fixture
def block() -> MoEFeedForward:
    return make()


def make(gate: str = "label", **options) -> MoEFeedForward:
    torch.manual_seed(0)
    options = MoEOptions(gate, labels=LABELS, **options)
    make_expert = partial(FeedForward, 6, 8)
    return MoEFeedForward(build_gate(options, 6), make_expert, "encoder.3").double()


def route(labels: list[int], lengths: list[int]) -> Routing:
    return (
        Labels(LABELS).bind(LABELS).route(torch.tensor(labels), torch.tensor(lengths))
    )


def test_one_expert_is_the_dense_block():
    gate = build_gate(MoEOptions(labels=["<a>"]), 6)
    mixture = MoEFeedForward(gate, lambda: FeedForward(6, 8), "0")
    x = torch.randn(2, 4, 6)
    routing = (
        Labels(["<a>"]).bind(["<a>"]).route(torch.tensor([0, 0]), torch.tensor([4, 4]))
    )
    torch.testing.assert_close(mixture(x, routing), mixture.experts[0](x))


def test_padding_changes_no_frame_and_counts_in_no_load(block):
    x = torch.randn(2, 4, 6).double()
    padded = torch.cat([x, torch.randn(2, 3, 6).double()], dim=1)
    short, long = route([1, 0], [4, 2]), route([1, 0], [4, 2])
    torch.testing.assert_close(block(padded, long)[:, :4], block(x, short))
    assert long.loads["encoder.3"].tolist() == short.loads["encoder.3"].tolist()


@pytest.mark.parametrize("top_k", [1, 2])
@pytest.mark.parametrize("lengths", [[4, 2], [4, 4]])
def test_experts_computed_together_leave_padding_out(top_k, lengths, monkeypatch):
    gate = build_gate(MoEOptions("topk", num_experts=3, top_k=top_k), 8)
    block = MoEFeedForward(gate, partial(FeedForward, 8, 16), "encoder.3")
    x, results = torch.randn(2, 4, 8), []
    module = import_module("espnet_smoe.moe.dispatch")
    for together in (False, True):
        monkeypatch.setattr(module, "can_group", lambda *_, t=together: t)
        routing = Routing(torch.tensor(lengths))
        results.append((block(x, routing), routing.loads["encoder.3"]))
    torch.testing.assert_close(results[1][0], results[0][0])
    assert results[1][1].tolist() == results[0][1].tolist()


def test_loads_that_a_kernel_has_counted_are_not_counted_again(monkeypatch):
    block, x = make("topk", num_experts=3).float(), torch.randn(2, 4, 6)
    module = import_module("espnet_smoe.moe.dispatch")
    counted = torch.tensor([5, 1, 0])

    def fused(x, chosen, weights, experts, index):
        assert len(chosen) == len(weights) == len(index) == 6
        return x, counted

    monkeypatch.setattr(module, "can_fuse", lambda *_: True)
    monkeypatch.setattr(module, "fused", fused)
    routing = Routing(torch.tensor([4, 2]))
    assert torch.equal(block(x, routing), x)
    assert routing.loads["encoder.3"] is counted


def test_loads_count_the_frames_of_each_expert(block):
    routing = route([2, 0, 2], [4, 3, 1])
    (x,) = routing.sort_by_label(torch.randn(3, 4, 6).double())
    block(x, routing)
    assert routing.loads["encoder.3"].tolist() == [3, 0, 5]


def test_the_order_of_the_batch_does_not_matter(block):
    x, order = torch.randn(4, 5, 6).double(), [2, 0, 3, 1]
    labels = [2, 0, 1, 0]
    out = block(x, route(labels, [5] * 4))
    shuffled = block(x[order], route([labels[i] for i in order], [5] * 4))
    torch.testing.assert_close(shuffled, out[order])


def test_splitting_the_batch_does_not_matter(block):
    x, labels = torch.randn(4, 5, 6).double(), [2, 0, 1, 0]
    whole = block(x, route(labels, [5] * 4))
    parts = [block(x[i : i + 2], route(labels[i : i + 2], [5] * 2)) for i in (0, 2)]
    torch.testing.assert_close(torch.cat(parts), whole)


def test_sorting_at_the_door_comes_back_in_the_callers_order(block):
    x, labels = torch.randn(4, 5, 6).double(), [2, 0, 1, 0]
    routing = route(labels, [5, 4, 3, 2])
    (sorted_x,) = routing.sort_by_label(x)
    assert routing.labels.order is None
    assert routing.lengths.tolist() == [4, 2, 3, 5]
    inside = routing.unsort(block(sorted_x, routing))
    torch.testing.assert_close(inside, block(x, route(labels, [5] * 4)))


def test_an_idle_expert_keeps_no_gradient(block):
    block(torch.randn(1, 2, 6).double(), route([1], [2])).sum().backward()
    assert block.experts[0].w_1.weight.grad is None
    assert block.experts[1].w_1.weight.grad.abs().sum() > 0


def test_activation_checkpointing_changes_no_gradient(block):
    x = torch.randn(3, 2, 6).double().requires_grad_()
    routing = route([1, 0, 1], [2, 2, 2])
    block(x, routing).square().sum().backward()
    plain, x.grad = x.grad, None
    checkpoint(block, x, routing, use_reentrant=False).square().sum().backward()
    torch.testing.assert_close(x.grad, plain)


def test_autocast_runs_the_experts_in_bfloat16(block):
    block = block.float()
    with torch.autocast("cpu", torch.bfloat16):
        out = block(torch.randn(3, 2, 6), route([1, 0, 1], [2, 2, 2]))
    assert out.dtype == torch.bfloat16


def test_a_compiled_block_equals_the_eager_one(block):
    compiled = torch.compile(block, backend="aot_eager")
    x = torch.randn(3, 2, 6).double()
    for labels in ([1, 0, 1], [0, 0, 0], [2, 1, 0]):
        torch.testing.assert_close(
            compiled(x, route(labels, [2, 2, 2])),
            block(x, route(labels, [2, 2, 2])),
        )


LEARNED = [
    {"gate": "topk", "num_experts": 4},
    {"gate": "topk", "num_experts": 4, "top_k": 2},
    {"gate": "topk", "num_experts": 4, "label_embedding": True},
    {"gate": "label_topk", "num_experts": 6, "top_k": 2},
]


@pytest.mark.parametrize("options", LEARNED)
def test_a_learned_mixture_equals_the_reference_loop(options):
    block, x = make(**options), torch.randn(2, 5, 6).double()
    routing = route([2, 0], [5, 3])
    out = block(x, routing)
    frames = torch.cat([x[0], x[1, :3]])
    decided = block.gate(frames, route([2, 0], [5, 3]))
    expected = reference(frames, decided.experts, block.experts, decided.weights)
    torch.testing.assert_close(torch.cat([out[0], out[1, :3]]), expected)


@pytest.mark.parametrize("options", LEARNED)
def test_learned_routing_sees_no_padding(options):
    block, x = make(**options), torch.randn(2, 5, 6).double()
    routing, other = route([2, 0], [5, 3]), route([2, 0], [5, 3])
    noisy = x.clone()
    noisy[1, 3:] = 1e6
    out = block(noisy, other)
    torch.testing.assert_close(out, block(x, routing))
    assert out[1, 3:].abs().max() == 0
    k = options.get("top_k", 1)
    assert other.loads["encoder.3"].sum() == 8 * k


@pytest.mark.parametrize("options", LEARNED)
def test_learned_routing_does_not_depend_on_the_rest_of_the_batch(options):
    block, x = make(**options), torch.randn(3, 5, 6).double()
    whole = block(x, route([2, 0, 1], [5, 3, 4]))
    for row, (label, length) in enumerate(zip([2, 0, 1], [5, 3, 4])):
        alone = block(x[row : row + 1, :length], route([label], [length]))
        torch.testing.assert_close(whole[row : row + 1, :length], alone)


@pytest.mark.parametrize("options", LEARNED)
def test_a_learned_mixture_has_the_gradient_of_finite_differences(options):
    block = make(**options)
    x = torch.randn(2, 3, 6).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda v: block(v, route([2, 0], [3, 2])), x)


@pytest.mark.parametrize("options", LEARNED)
def test_only_frames_are_dispatched(options):
    block, rows = make(**options), []
    for expert in block.experts:
        expert.register_forward_hook(lambda _, args, __: rows.append(len(args[0])))
    block(torch.randn(2, 5, 6).double(), route([2, 0], [5, 3]))
    assert sum(rows) == 8 * options.get("top_k", 1)


def test_a_batch_of_nothing_but_padding_is_zero():
    block = make("topk", num_experts=4)
    out = block(torch.randn(2, 5, 6).double(), route([0, 1], [0, 0]))
    assert out.shape == (2, 5, 6) and not out.any()


def test_where_the_frames_are_is_computed_once_for_all_layers(monkeypatch):
    block, routing, asked = make("topk", num_experts=4), route([0, 1], [5, 3]), []
    frames = Routing.valid
    monkeypatch.setattr(
        Routing, "valid", lambda self, x: asked.append(1) or frames(self, x)
    )
    x = torch.randn(2, 5, 6).double()
    first = block(x, routing)
    assert torch.equal(block(x, routing), first) and len(asked) == 1
    routing.lengths = torch.tensor([4, 4])
    assert block(x, routing)[0, 4].abs().sum() == 0


@pytest.mark.parametrize("top_k", [1, 2])
def test_a_learned_mixture_under_autocast_is_close_to_float32(top_k):
    block = make("topk", num_experts=4, top_k=top_k).float()
    x = torch.randn(2, 5, 6)
    exact = block(x, route([0, 1], [5, 3]))
    with torch.autocast("cpu", torch.bfloat16):
        out = block(x, route([0, 1], [5, 3]))
        out.float().sum().backward()
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out.float(), exact, rtol=0.05, atol=0.05)
    assert block.gate.router.weight.grad.abs().sum() > 0


class OnlyTensors(nn.Module):
    """A mixture behind tensors, as a model that is exported."""

    def __init__(self, block: MoEFeedForward):
        super().__init__()
        self.block = block

    def forward(
        self, x: torch.Tensor, lengths: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        routing = Routing(lengths)
        y = self.block(x, routing)
        return y, routing.loads["encoder.3"]


def example(frames: list[int], width: int) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(len(frames), width, 6).double(), torch.tensor(frames)


FRAMES = [([5, 3], 5), ([7], 7), ([2, 0, 9, 4], 10), ([3, 3], 3), ([1], 1)]


def partial_mixture(top_k: int) -> OnlyTensors:
    """No frame chooses the last expert."""
    block = make("topk", num_experts=4, top_k=top_k).eval()
    block.gate.logits = lambda x, routing: (
        type(block.gate)
        .logits(block.gate, x, routing)
        .masked_fill(torch.arange(4) == 3, -1e9)
    )
    return OnlyTensors(block)


@pytest.mark.parametrize("top_k", [1, 2])
def test_an_exported_mixture_equals_the_eager_one_at_every_size(top_k):
    mixture = partial_mixture(top_k)
    batch, width = torch.export.Dim("batch"), torch.export.Dim("width")
    program = torch.export.export(
        mixture,
        example([4, 6], 6),
        dynamic_shapes={"x": {0: batch, 1: width}, "lengths": {0: batch}},
    ).module()
    for frames, longest in FRAMES:
        x, lengths = example(frames, longest)
        torch.testing.assert_close(program(x, lengths), mixture(x, lengths))


def test_an_export_keeps_the_experts_that_its_example_did_not_hit():
    block = make("topk", num_experts=4).eval()
    with torch.no_grad():
        block.gate.router.weight.zero_()[:, 0] = torch.tensor([3.0, 1.0, -1.0, -3.0])
    mixture, (x, lengths) = OnlyTensors(block), example([4, 4], 4)
    x[..., 0] = 1.0  # all to expert 0
    program = torch.export.export(mixture, (x, lengths)).module()
    other = x.clone()
    other[..., 0] = -1.0  # all to expert 3
    for given, loads in ((x, [8, 0, 0, 0]), (other, [0, 0, 0, 8])):
        out = program(given, lengths)
        assert out[1].tolist() == loads
        torch.testing.assert_close(out, mixture(given, lengths))


def test_a_mixture_compiles_to_one_graph_for_inference():
    torch._dynamo.reset()
    mixture = OnlyTensors(make("topk", num_experts=4, top_k=2).eval())
    compiled = torch.compile(mixture, backend="eager", fullgraph=True, dynamic=True)
    with torch.no_grad():
        for frames, longest in FRAMES[:2]:
            x, lengths = example(frames, longest)
            torch.testing.assert_close(compiled(x, lengths), mixture(x, lengths))


def test_a_mixture_that_learns_is_compiled_around_its_shares():
    torch._dynamo.reset()
    mixture = OnlyTensors(make("topk", num_experts=4, balance_weight=0.1))
    x, lengths = example([5, 3], 5)
    y, loads = torch.compile(mixture, backend="eager")(x, lengths)
    expected = mixture(x, lengths)
    torch.testing.assert_close((y, loads), expected)
    gradients = [
        torch.autograd.grad(out.square().sum(), mixture.block.gate.router.weight)
        for out in (y, expected[0])
    ]
    torch.testing.assert_close(*gradients)


def test_losses_come_back_by_layer_and_in_training_only():
    block = make("topk", num_experts=4, balance_weight=0.1)
    routing = route([0], [4])
    block(torch.randn(1, 4, 6).double(), routing)
    assert set(routing.losses["encoder.3"]) == {"balance"}
    block.eval()(torch.randn(1, 4, 6).double(), routing)
    assert routing.losses["encoder.3"] == {}


def test_padding_is_known_at_every_width_of_a_batch():
    block, routing = make("topk", num_experts=4), route([0, 1], [9, 7])
    x = torch.randn(2, 9, 6).double()  # more frames than features
    out = block(x, routing)
    assert not out[1, 7:].any() and routing.loads["encoder.3"].sum() == 16
    wider = torch.cat((x, torch.ones(2, 2, 6).double()), dim=1)
    again = block(wider, routing)  # the same routing, as of another layer
    torch.testing.assert_close(again[:, :9], out)
    assert not again[:, 9:].any() and routing.loads["encoder.3"].sum() == 16
