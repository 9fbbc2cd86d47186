"""Frames to experts and back: equal to the reference loop, whatever the labels."""

import pytest
import torch
from torch import nn

from espnet_smoe.moe import Assignment, FeedForward, dispatch, reference


def make_experts(number: int, size: int = 6) -> nn.ModuleList:
    torch.manual_seed(0)
    return nn.ModuleList(FeedForward(size, 8) for _ in range(number)).double()


@pytest.mark.parametrize(
    "chosen", [[0, 1], [1, 0, 1], [2, 2, 2], [0], [3, 1, 0, 2, 1], [0, 0, 1, 3]]
)
def test_dispatch_equals_the_reference_loop(chosen):
    experts = make_experts(4)
    x = torch.randn(len(chosen), 5, 6, dtype=torch.double)
    labels = torch.tensor(chosen)
    out = dispatch(x, Assignment.of(labels, 4), experts)
    torch.testing.assert_close(out, reference(x, labels, experts))


def test_gradients_equal_finite_differences():
    experts = make_experts(3)
    x = torch.randn(4, 2, 6, dtype=torch.double, requires_grad=True)
    assignment = Assignment.of(torch.tensor([2, 0, 2, 1]), 3)
    assert torch.autograd.gradcheck(lambda v: dispatch(v, assignment, experts), x)


def test_an_expert_with_nothing_to_do_is_not_computed():
    experts = make_experts(3)
    called = []
    for number, expert in enumerate(experts):
        expert.register_forward_hook(lambda *_, n=number: called.append(n))
    dispatch(
        torch.randn(2, 5, 6).double(), Assignment.of(torch.tensor([2, 0]), 3), experts
    )
    assert sorted(called) == [0, 2]


def test_rows_in_the_order_of_their_experts_are_not_gathered():
    assignment = Assignment.of(torch.tensor([0, 0, 1, 2]), 3)
    assert assignment.order is None and assignment.counts == [2, 1, 1]


def test_one_expert_for_all_gets_the_very_tensor():
    experts = make_experts(2)
    seen = []
    experts[1].register_forward_hook(lambda m, args, out: seen.append(args[0]))
    x = torch.randn(3, 5, 6).double()
    dispatch(x, Assignment.of(torch.tensor([1, 1, 1]), 2), experts)
    assert seen[0].data_ptr() == x.data_ptr()
