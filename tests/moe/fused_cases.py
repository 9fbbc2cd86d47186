"""The kernels for a GPU, interpreted on the CPU; `test_fused.py` runs these."""

import pytest
import torch
from torch import nn

from espnet_smoe.moe import FeedForward, fused, reference


def experts_of(number, size=32, hidden_size=48, activation=None):
    torch.manual_seed(0)
    return [
        FeedForward(size, hidden_size, activation=activation).eval()
        for _ in range(number)
    ]


def chosen_of(rows, top_k, number):
    generator = torch.Generator().manual_seed(rows)
    rows = [torch.randperm(number, generator=generator)[:top_k] for _ in range(rows)]
    return torch.stack(rows)


def check(x, chosen, weights, experts, index=None):
    with torch.no_grad():
        y, loads = fused.fused(x, chosen, weights, experts, index)
        rows = x if index is None else x[index]
        wanted = reference(rows, chosen, experts, weights)
    if index is not None:
        wanted = torch.zeros(len(x), wanted.size(1)).index_copy(0, index, wanted)
    torch.testing.assert_close(y, wanted, atol=1e-5, rtol=1e-5)
    assert loads.tolist() == chosen.flatten().bincount(minlength=len(experts)).tolist()


@pytest.mark.parametrize("rows", [1, 37, 300])
@pytest.mark.parametrize("top_k", [1, 2])
@pytest.mark.parametrize("padded", [False, True])
def test_fused_experts_equal_a_loop_over_rows(rows, top_k, padded):
    experts = experts_of(4)
    x = torch.randn(rows + 9, 32)
    index = torch.randperm(rows + 9)[:rows].sort().values if padded else None
    x = x if padded else x[:rows]
    check(x, chosen_of(rows, top_k, 4), torch.rand(rows, top_k), experts, index)


def test_choices_of_many_blocks_are_sorted_as_those_of_one(monkeypatch):
    monkeypatch.setattr(fused, "BLOCK", (64, 64))
    check(torch.randn(200, 32), chosen_of(200, 2, 5), torch.rand(200, 2), experts_of(5))


def test_an_expert_may_have_no_row_and_one_all_of_them():
    experts, x = experts_of(3), torch.randn(20, 32)
    for expert in range(3):
        check(x, torch.full((20, 1), expert), torch.rand(20, 1), experts)


@pytest.mark.parametrize("activation", [nn.Identity, nn.ReLU, nn.SiLU])
@pytest.mark.parametrize("size", [(16, 32), (64, 144)])
def test_any_width_and_each_activation_is_computed(activation, size):
    experts = experts_of(3, *size, activation=activation())
    check(torch.randn(11, size[0]), chosen_of(11, 1, 3), None, experts)


@pytest.mark.parametrize(("number", "top_k"), [(2, 1), (5, 2), (17, 3)])
def test_choosing_is_softmax_and_top_k(number, top_k):
    logits = torch.randn(130, number)
    weights, chosen = fused.choose(logits, top_k)
    wanted, experts = logits.softmax(dim=1).topk(top_k, dim=1)
    if top_k > 1:
        wanted = wanted / wanted.sum(dim=1, keepdim=True)
    assert chosen.tolist() == experts.tolist()
    torch.testing.assert_close(weights, wanted)


def test_experts_of_another_group_are_never_chosen():
    logits = torch.randn(50, 4).index_fill(1, torch.tensor([0, 3]), -torch.inf)
    weights, chosen = fused.choose(logits, 2)
    assert set(chosen.flatten().tolist()) == {1, 2}
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(50))


def test_a_cpu_and_a_training_take_other_ways():
    experts, x = experts_of(2), torch.randn(5, 32)
    assert not fused.can_choose(torch.randn(5, 2))
    with torch.no_grad():
        assert not fused.can_fuse(x, experts)
