"""Frames to experts and back: equal to the reference loop, whatever the choices."""

from importlib import import_module

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from espnet_smoe.moe import Assignment, BatchLabels, FeedForward, dispatch, reference
from espnet_smoe.moe.dense_dispatch import dense_dispatch
from espnet_smoe.moe.grouped import can_group, grouped


def make_experts(number: int, size: int = 6, hidden: int = 8) -> nn.ModuleList:
    torch.manual_seed(0)
    return nn.ModuleList(FeedForward(size, hidden) for _ in range(number)).double()


def decide(rows: int, num_experts: int, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """k different experts for each row, and their weights."""
    chosen = torch.rand(rows, num_experts).topk(k, dim=1)[1]
    return chosen, torch.rand(rows, k, dtype=torch.double)


@pytest.mark.parametrize(
    "chosen",
    [[0, 1], [1, 0, 1], [2, 2, 2], [0], [3, 1, 0, 2, 1], [0, 0, 1, 3], [0, 2, 1]],
)
def test_dispatch_equals_the_reference_loop(chosen):
    experts = make_experts(4)
    x = torch.randn(len(chosen), 5, 6, dtype=torch.double)
    labels = torch.tensor(chosen)
    out = dispatch(x, Assignment(labels, 4), experts)
    torch.testing.assert_close(out, reference(x, labels, experts))


@settings(max_examples=30, deadline=None)
@given(data=st.data(), k=st.integers(1, 3), learns=st.booleans())
def test_weighted_choices_about_some_of_the_rows_equal_the_reference_loop(
    data, k, learns
):
    rows = data.draw(st.lists(st.integers(0, 8), unique=True).map(sorted))
    experts, x = make_experts(4), torch.randn(9, 6, dtype=torch.double)
    x.requires_grad_(learns)
    index = torch.tensor(rows, dtype=torch.long)
    chosen, weights = decide(len(rows), 4, k)
    out = dispatch(x, Assignment(chosen, 4, weights), experts, index)
    expected = torch.zeros(9, 6, dtype=torch.double)
    if rows:
        expected[index] = reference(x[index], chosen, experts, weights)
    torch.testing.assert_close(out, expected)


def test_gradients_equal_finite_differences():
    experts = make_experts(3)
    x = torch.randn(4, 2, 6, dtype=torch.double, requires_grad=True)
    assignment = Assignment(torch.tensor([2, 0, 2, 1]), 3)
    assert torch.autograd.gradcheck(lambda v: dispatch(v, assignment, experts), x)


@pytest.mark.parametrize("k", [1, 2])
def test_gradients_of_rows_and_weights_equal_finite_differences(k):
    experts, index = make_experts(3), torch.tensor([0, 2, 3])
    x = torch.randn(5, 6, dtype=torch.double, requires_grad=True)
    chosen, weights = decide(3, 3, k)

    def run(rows: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        return dispatch(rows, Assignment(chosen, 3, scale), experts, index)

    assert torch.autograd.gradcheck(run, (x, weights.requires_grad_()))


@pytest.mark.parametrize("learns", [False, True])
def test_each_expert_sees_its_own_rows_and_no_others(learns):
    experts, seen = make_experts(4), {}
    for number, expert in enumerate(experts):
        expert.register_forward_hook(
            lambda _, args, __, n=number: seen.update({n: args[0].detach()})
        )
    x = torch.randn(6, 6, dtype=torch.double, requires_grad=learns)
    index = torch.tensor([0, 1, 3, 5])
    chosen = torch.tensor([[2], [0], [2], [3]])
    weights = torch.ones(4, 1, dtype=torch.double)
    dispatch(x, Assignment(chosen, 4, weights), experts, index)
    assert set(seen) == {0, 2, 3}
    for expert, rows in {0: [1], 2: [0, 3], 3: [5]}.items():
        assert torch.equal(seen[expert], x[rows])


def test_a_foreign_expert_may_not_spoil_a_row_by_infinity():
    experts = make_experts(2)
    nn.init.constant_(experts[1].w_2.bias, torch.inf)
    x, chosen = torch.randn(3, 6).double(), torch.zeros(3, 1, dtype=torch.long)
    out = dense_dispatch(x, Assignment(chosen, 2), experts)
    torch.testing.assert_close(out, experts[0](x))


def test_idle_experts_are_in_the_graph_while_gradients_are_shared(monkeypatch):
    monkeypatch.setattr("torch.distributed.is_initialized", lambda: True)
    for weights in (None, torch.ones(3, 1).double()):
        experts = make_experts(3)
        chosen = torch.tensor([2, 0, 2])
        x = torch.randn(3, 6).double()
        dispatch(x, Assignment(chosen, 3, weights), experts).sum().backward()
        assert experts[1].w_1.weight.grad.abs().sum() == 0


def test_an_expert_with_nothing_to_do_is_not_computed():
    experts = make_experts(3)
    called = []
    for number, expert in enumerate(experts):
        expert.register_forward_hook(lambda *_, n=number: called.append(n))
    dispatch(
        torch.randn(2, 5, 6).double(), Assignment(torch.tensor([2, 0]), 3), experts
    )
    assert sorted(called) == [0, 2]


def test_rows_in_the_order_of_their_experts_are_not_gathered():
    assignment = Assignment(torch.tensor([0, 0, 1, 2]), 3)
    assert assignment.order is None and assignment.counts == [2, 1, 1]


def test_one_expert_for_all_gets_the_very_tensor():
    experts = make_experts(2)
    seen = []
    experts[1].register_forward_hook(lambda m, args, out: seen.append(args[0]))
    x = torch.randn(3, 5, 6).double()
    dispatch(x, Assignment(torch.tensor([1, 1, 1]), 2), experts)
    assert seen[0].data_ptr() == x.data_ptr()


@pytest.mark.parametrize("chosen", [[2, 0, 2, 1], [0, 1, 1, 2]])
def test_an_assignment_remembers_who_went_where(chosen):
    assignment = Assignment(torch.tensor(chosen), 3)
    assert assignment.experts[:, 0].tolist() == chosen
    assert (
        assignment.loads.tolist()
        == assignment.counts
        == [chosen.count(e) for e in range(3)]
    )
    labels = BatchLabels(torch.tensor(chosen), 3).sorted()
    assert labels.numbers.tolist() == sorted(chosen) and labels.order is None


@pytest.mark.parametrize("k", [1, 2])
def test_grouped_products_equal_the_experts_one_by_one(k, monkeypatch):
    experts = make_experts(4, 16, 24).bfloat16()
    x = torch.randn(12, 16).bfloat16().requires_grad_()
    chosen = torch.randint(3, (12, 1)).add(torch.arange(k)) % 4
    weights = torch.rand(12, k)
    module = import_module("espnet_smoe.moe.dispatch")
    results = []
    for together in (False, True):
        monkeypatch.setattr(module, "can_group", lambda *_, t=together: t)
        experts.zero_grad()
        x.grad = None
        out = dispatch(x, Assignment(chosen, 4, weights), experts)
        out.backward(torch.ones_like(out))
        gradients = [p.grad for p in experts.parameters() if p.grad is not None]
        results.append([out, x.grad, *(g for g in gradients if g.any())])
    assert len(results[0]) == len(results[1])
    for one_by_one, grouping in zip(*results):
        torch.testing.assert_close(grouping, one_by_one, rtol=0.05, atol=0.05)


def test_grouped_products_leave_out_experts_without_rows():
    experts = make_experts(3, 8, 16).bfloat16()
    x = torch.randn(4, 8).bfloat16()
    out = grouped(x, Assignment(torch.tensor([0, 0, 0, 2]), 3), experts)
    expected = torch.cat([experts[0](x[:3]), experts[2](x[3:])])
    torch.testing.assert_close(out, expected, rtol=0.02, atol=0.02)


def test_nothing_is_grouped_on_a_cpu():
    experts = make_experts(2, 8, 8)
    assert not can_group(torch.zeros(2, 8), experts)
    assert not can_group(torch.zeros(2, 8).bfloat16(), experts.bfloat16())


class Rows:
    """Looks like rows on a GPU, where there may be none."""

    is_cuda, device = True, torch.device("cpu")

    def __init__(self, *shape: int, dtype: torch.dtype = torch.bfloat16):
        self.shape, self.dtype = shape, dtype

    def dim(self) -> int:
        return len(self.shape)

    def size(self, axis: int) -> int:
        return self.shape[axis]


def test_what_the_kernels_of_a_gpu_can_take_is_grouped():
    experts = make_experts(2, 16, 24)
    assert can_group(Rows(3, 16), experts)
    assert not can_group(Rows(3, 5, 16), experts)
    assert can_group(Rows(3, 16, dtype=torch.float32), experts)
    assert not can_group(Rows(3, 16, dtype=torch.float64), experts)
    with torch.autocast("cpu", torch.bfloat16):
        assert can_group(Rows(3, 16, dtype=torch.float32), experts)


def test_float32_is_not_grouped_where_a_compiler_traces(monkeypatch):
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    experts = make_experts(2, 16, 24)
    assert can_group(Rows(3, 16), experts)
    assert not can_group(Rows(3, 16, dtype=torch.float32), experts)
    assert not can_group(Rows(3, 16), [experts[0], nn.Linear(16, 16)])


@pytest.mark.parametrize("widths", [(12, 24, 16), (16, 12, 16), (16, 24, 12)])
def test_rows_that_are_not_aligned_are_not_grouped(widths):
    size, hidden, output = widths
    expert = FeedForward(size, hidden, output_size=output)
    assert not can_group(Rows(3, size), [expert])


def test_a_mixture_of_one_expert_takes_a_batch_of_padding():
    (expert,) = experts = make_experts(1)
    nobody = torch.zeros(0, 1, dtype=torch.long)
    assignment = Assignment(nobody, 1, torch.zeros(0, 1).double())
    x = torch.randn(4, 6).double()
    out = dispatch(x, assignment, experts, torch.zeros(0, dtype=torch.long))
    assert out.shape == expert(x).shape and not out.any()


def test_a_single_expert_can_be_grouped():
    (expert,) = experts = make_experts(1, 8, 16).bfloat16()
    x = torch.randn(4, 8).bfloat16()
    out = grouped(x, Assignment(torch.zeros(4, dtype=torch.long), 1), experts)
    torch.testing.assert_close(out, expert(x), rtol=0.02, atol=0.02)
