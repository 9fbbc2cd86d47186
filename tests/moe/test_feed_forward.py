"""MoEFeedForward: what every mixture must satisfy."""

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from espnet_smoe.moe import FeedForward, LabelGate, MoEFeedForward, Routing

LABELS = ["<a>", "<b>", "<c>"]


@pytest.fixture
def block() -> MoEFeedForward:
    torch.manual_seed(0)
    gate = LabelGate(LABELS).bind(LABELS)
    return MoEFeedForward(gate, lambda: FeedForward(6, 8), "encoder.3").double()


def route(block: MoEFeedForward, labels: list[int], lengths: list[int]) -> Routing:
    return block.gate.route(torch.tensor(labels), torch.tensor(lengths))


def test_one_expert_is_the_dense_block():
    gate = LabelGate(["<a>"]).bind(["<a>"])
    mixture = MoEFeedForward(gate, lambda: FeedForward(6, 8), "0")
    x = torch.randn(2, 4, 6)
    routing = gate.route(torch.tensor([0, 0]), torch.tensor([4, 4]))
    torch.testing.assert_close(mixture(x, routing), mixture.experts[0](x))


def test_padding_changes_no_frame_and_counts_in_no_load(block):
    x = torch.randn(2, 4, 6).double()
    padded = torch.cat([x, torch.randn(2, 3, 6).double()], dim=1)
    short, long = route(block, [1, 0], [4, 2]), route(block, [1, 0], [4, 2])
    torch.testing.assert_close(block(padded, long)[:, :4], block(x, short))
    assert long.loads["encoder.3"].tolist() == short.loads["encoder.3"].tolist()


def test_loads_count_the_frames_of_each_expert(block):
    routing = route(block, [2, 0, 2], [4, 3, 1])
    (x,) = routing.enter(torch.randn(3, 4, 6).double())
    block(x, routing)
    assert routing.loads["encoder.3"].tolist() == [3, 0, 5]


def test_the_order_of_the_batch_does_not_matter(block):
    x, order = torch.randn(4, 5, 6).double(), [2, 0, 3, 1]
    labels = [2, 0, 1, 0]
    out = block(x, route(block, labels, [5] * 4))
    shuffled = block(x[order], route(block, [labels[i] for i in order], [5] * 4))
    torch.testing.assert_close(shuffled, out[order])


def test_splitting_the_batch_does_not_matter(block):
    x, labels = torch.randn(4, 5, 6).double(), [2, 0, 1, 0]
    whole = block(x, route(block, labels, [5] * 4))
    parts = [
        block(x[i : i + 2], route(block, labels[i : i + 2], [5] * 2)) for i in (0, 2)
    ]
    torch.testing.assert_close(torch.cat(parts), whole)


def test_sorting_at_the_door_comes_back_in_the_callers_order(block):
    x, labels = torch.randn(4, 5, 6).double(), [2, 0, 1, 0]
    routing = route(block, labels, [5, 4, 3, 2])
    (sorted_x,) = routing.enter(x)
    assert routing.assignment.order is None
    assert routing.lengths.tolist() == [4, 2, 3, 5]
    inside = routing.leave(block(sorted_x, routing))
    torch.testing.assert_close(inside, block(x, route(block, labels, [5] * 4)))


def test_an_idle_expert_keeps_no_gradient(block):
    block(torch.randn(1, 2, 6).double(), route(block, [1], [2])).sum().backward()
    assert block.experts[0].w_1.weight.grad is None
    assert block.experts[1].w_1.weight.grad.abs().sum() > 0


def test_activation_checkpointing_changes_no_gradient(block):
    x = torch.randn(3, 2, 6).double().requires_grad_()
    routing = route(block, [1, 0, 1], [2, 2, 2])
    block(x, routing).square().sum().backward()
    plain, x.grad = x.grad, None
    checkpoint(block, x, routing, use_reentrant=False).square().sum().backward()
    torch.testing.assert_close(x.grad, plain)


def test_autocast_runs_the_experts_in_bfloat16(block):
    block = block.float()
    with torch.autocast("cpu", torch.bfloat16):
        out = block(torch.randn(3, 2, 6), route(block, [1, 0, 1], [2, 2, 2]))
    assert out.dtype == torch.bfloat16


def test_a_compiled_block_equals_the_eager_one(block):
    compiled = torch.compile(block, backend="aot_eager")
    x = torch.randn(3, 2, 6).double()
    for labels in ([1, 0, 1], [0, 0, 0], [2, 1, 0]):
        torch.testing.assert_close(
            compiled(x, route(block, labels, [2, 2, 2])),
            block(x, route(block, labels, [2, 2, 2])),
        )
