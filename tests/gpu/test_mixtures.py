"""The mixture's block on a device: beside a plain loop over rows, in float64."""

import copy
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from espnet_smoe.compat import PositionwiseFeedForward
from espnet_smoe.moe import Assignment, FeedForward, dispatch, reference
from espnet_smoe.moe.grouped import grouped
from tests.gpu.compare import Precision, assert_all_close, assert_close, gradients
from tests.gpu.mixture import (
    MIXED,
    ONE,
    ROUTERS,
    Mixture,
    batch,
    forward_backward,
    smooth,
    valid,
)

PRECISIONS = {
    "float64": Precision(torch.float64, None, 1e-10),
    "float32": Precision(torch.float32, None, 1e-5),
    "bf16 autocast": Precision(torch.float32, torch.bfloat16, 2e-2),
    "fp16 autocast": Precision(torch.float32, torch.float16, 4e-3),
}


def loop_cases():
    """Every gate in every precision; labels also where no sort is due."""
    for precision in PRECISIONS:
        for ids, labels in ((ONE, "one label"), (MIXED, "mixed labels")):
            for first, where in ((True, "encoder"), (False, "block")):
                name = f"{precision}: label, {labels}, sorted in the {where}"
                yield pytest.param("label", precision, ids, first, 64, id=name)
        for kind in list(ROUTERS)[1:]:
            name = f"{precision}: {kind}"
            yield pytest.param(kind, precision, MIXED, True, 64, id=name)
    for precision in ("float32", "bf16 autocast"):
        name = f"{precision}: topk of 2, widths that do not align"
        yield pytest.param("topk of 2", precision, MIXED, True, 36, id=name)


@pytest.mark.parametrize("kind, precision, ids, sort_first, size", list(loop_cases()))
def test_a_mixture_equals_the_loop_over_rows(
    device, kind, precision, ids, sort_first, size
):
    how = PRECISIONS[precision]
    given = batch(size, ids)
    mixture = Mixture(kind, size).double()
    wanted = forward_backward(mixture, mixture.plain, given)
    there = copy.deepcopy(mixture).to(device, how.weights)
    x, lengths, label_ids, e = (t.to(device) for t in given)
    moved = x.to(how.weights), lengths, label_ids, e.to(how.weights)
    with torch.autocast(device.type, how.autocast, enabled=how.autocast is not None):
        run = partial(there, sort_first=sort_first)
        got = forward_backward(there, run, moved)
    assert_all_close(got, wanted, how.bound)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bf16", "fp16"])
@pytest.mark.parametrize("kind", list(ROUTERS)[1:])
def test_weights_of_low_precision_compute_what_their_choice_asks_for(
    device, kind, dtype
):
    mixture = Mixture(kind).to(device, dtype).eval()
    x, lengths, ids, e = (t.to(device) for t in batch(64))
    x, e = x.to(dtype), e.to(dtype)
    gate = mixture.block.gate
    with torch.inference_mode():
        y, _, _ = mixture(x, lengths, ids, e, sort_first=False)
        routing = mixture.route(lengths, ids, e)
        rows = routing.rows(x)
        chosen = gate(rows, routing)
        logits = chosen.logits.double().softmax(dim=1)
    weights, experts = logits.cpu().topk(gate.top_k, dim=1)
    if gate.top_k > 1:
        weights = weights / weights.sum(dim=1, keepdim=True)
    assert_close("weights", chosen.weights, weights, 2e-2)
    copies = copy.deepcopy(mixture.block.experts).cpu().double()
    weights = chosen.weights.cpu().double()
    loop = reference(rows.cpu().double(), chosen.experts.cpu(), copies, weights)
    assert_close("output", routing.rows(y), loop, 2e-2)


@pytest.mark.parametrize("rows", [1, 100, 3000])
@pytest.mark.parametrize("top_k, experts", [(1, 8), (2, 8), (3, 32)])
def test_fused_products_with_half_of_the_rows_padding(device, top_k, experts, rows):
    torch.manual_seed(0)
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    blocks = nn.ModuleList(FeedForward(64, 96) for _ in range(experts)).eval()
    blocks = blocks.to(device, dtype)
    x = torch.randn(2 * rows, 64).to(device, dtype)
    index = torch.arange(0, 2 * rows, 2, device=device)
    logits = torch.randn(rows, experts).to(device)
    weights, chosen = logits.softmax(dim=1).topk(top_k, dim=1)
    assignment = Assignment(chosen, experts, weights)
    with torch.inference_mode():
        y = dispatch(x, assignment, blocks, index)
        every = torch.stack([block(x[index]) for block in blocks], dim=1).double()
    picked = every.gather(1, chosen[..., None].expand(-1, -1, 64))  # (N, k, D)
    wanted = torch.zeros(2 * rows, 64, dtype=torch.float64, device=device)
    wanted[index] = (picked * weights[..., None].double()).sum(dim=1)
    assert_close("output", y, wanted, 2e-2)
    loads = chosen.flatten().bincount(minlength=experts)
    assert_close("loads", assignment.loads, loads, 0.0)


@pytest.mark.parametrize(
    "loads",
    [(9, 11, 8, 9), (0, 21, 0, 16), (0, 0, 37, 0), (20, 17, 0, 0)],
    ids=["even", "none first and third", "all to one", "none last"],
)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
def test_grouped_products_with_experts_that_have_no_rows(device, loads, dtype):
    torch.manual_seed(0)
    experts = nn.ModuleList(smooth(64) for _ in loads).to(dtype)
    exact = copy.deepcopy(experts).double()
    x = torch.randn(sum(loads), 64).to(dtype)
    wanted_x = x.double().requires_grad_()
    slices = wanted_x.split(loads)
    wanted = torch.cat([f(rows) for f, rows in zip(exact, slices)])
    probe = torch.randn_like(x)
    (wanted * probe).sum().backward()
    experts.to(device)
    here = x.to(device).requires_grad_()
    chosen = torch.arange(len(loads)).repeat_interleave(torch.tensor(loads))
    y = grouped(here, Assignment(chosen.to(device), len(loads)), experts)
    (y * probe.to(device)).sum().backward()
    bound = 2e-2 if dtype == torch.bfloat16 else 1e-5
    assert_close("output", y, wanted, bound)
    assert_close("gradient of the input", here.grad, wanted_x.grad, bound)
    for number, (ours, its) in enumerate(zip(experts, exact)):
        name = f"gradients of expert {number}"
        assert_close(name, gradients(ours), gradients(its), bound)


@pytest.mark.parametrize("precision", ["float32", "bf16 autocast"])
@pytest.mark.parametrize(
    "kind, changes",
    [("topk", {"num_experts": 1, "top_k": 1}), ("label", {}), ("topk of 2", {})],
    ids=["one expert", "copies by label", "copies, topk of 2"],
)
def test_experts_that_are_copies_of_a_dense_block_are_that_block(
    device, kind, changes, precision
):
    how = PRECISIONS[precision]
    torch.manual_seed(0)
    dense = PositionwiseFeedForward(64, 128, 0.0).to(device)
    mixture = Mixture(kind, **changes).to(device)
    for expert in mixture.block.experts:
        expert.activation = nn.ReLU()
        expert.load_state_dict(dense.state_dict())
    x, lengths, ids, e = (t.to(device) for t in batch(64))
    x, e = x.float(), e.float()
    with torch.autocast(device.type, how.autocast, enabled=how.autocast is not None):
        wanted, (got, _, _) = dense(x), mixture(x, lengths, ids, e)
    frames = valid(x, lengths)
    assert_close("output", got[frames], wanted[frames], how.bound)


def test_activation_checkpointing_draws_the_same_noise_for_a_router(device):
    mixture = Mixture("topk of 2", jitter=0.1).to(device).train()
    x, *given = (t.to(device) for t in batch(64))
    given[-1] = given[-1].float()

    def recomputed(x: torch.Tensor, *given: torch.Tensor) -> Any:
        return checkpoint(mixture, x, *given, use_reentrant=False)

    results = []
    for run in (mixture, recomputed):
        torch.manual_seed(3)
        results.append(forward_backward(mixture, run, (x.float(), *given)))
    assert_all_close(results[1], results[0], 1e-5)
