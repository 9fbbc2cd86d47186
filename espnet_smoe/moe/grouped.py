"""All experts in two grouped products: training on a GPU.

Few kernels in place of a few for each expert, and the host need not wait for the
loads. The weights are those of the single experts, stacked at each call. Rows are
sorted and put back by reading alone, also backward, where adding rows to each other
would be slow and not repeatable.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from espnet_smoe.moe.assignment import Assignment
from espnet_smoe.moe.experts import FeedForward

ALIGNED = 8  # rows of 16 bytes, which the kernels ask for
DTYPES = (torch.bfloat16, torch.float32)


def can_group(x: torch.Tensor, experts: Sequence[nn.Module]) -> bool:
    """Whether the experts are to be computed as grouped products.

    Args:
        x: ``(N, ..., D)`` rows.
        experts: E modules.
    """
    if not x.is_cuda or x.dim() != 2 or _dtype(x) not in DTYPES:
        return False
    if _dtype(x) is torch.float32 and torch.compiler.is_compiling():
        return False  # eager alone has grouped products of float32
    if any(type(expert) is not FeedForward for expert in experts):
        return False
    first = experts[0]
    widths = x.size(1), first.w_1.out_features, first.w_2.out_features
    return all(width % ALIGNED == 0 for width in widths)


def grouped(
    x: torch.Tensor, assignment: Assignment, experts: Sequence[FeedForward]
) -> torch.Tensor:
    """Each row through its experts.

    Args:
        x: ``(N, D)``.
        assignment: Experts of the N rows.
        experts: E experts of the same shape.

    Returns:
        ``(N, D')``.
    """
    x = x.to(_dtype(x))
    order, weights, top_k = assignment.order, assignment.weights, assignment.top_k
    if order is None:  # as the rows stand
        return _all_experts(x, assignment.loads, experts)
    inverse = torch.empty_like(order)
    inverse[order] = torch.arange(len(order), device=order.device)
    slices = _Sort.apply(x, order, inverse, top_k)  # (N * k, D)
    y = _Unsort.apply(_all_experts(slices, assignment.loads, experts), order, inverse)
    y = y.unflatten(0, (-1, top_k))  # (N, k, D')
    if weights is not None:
        y = y * weights.to(y.dtype)[..., None]
    return y[:, 0] if top_k == 1 else y.sum(dim=1)


class _Sort(torch.autograd.Function):
    """``(N, D)`` to ``(N * k, D)``, sorted by expert."""

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        order: torch.Tensor,
        inverse: torch.Tensor,
        top_k: int,
    ) -> torch.Tensor:
        ctx.save_for_backward(inverse)
        ctx.top_k = top_k
        return x.index_select(0, order if top_k == 1 else order // top_k)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (inverse,) = ctx.saved_tensors
        grad = grad.index_select(0, inverse)
        if ctx.top_k > 1:
            grad = grad.unflatten(0, (-1, ctx.top_k)).sum(dim=1)
        return grad, None, None, None


class _Unsort(torch.autograd.Function):
    """``(N * k, D')`` back in the order of the choices."""

    @staticmethod
    def forward(
        ctx: Any, y: torch.Tensor, order: torch.Tensor, inverse: torch.Tensor
    ) -> torch.Tensor:
        ctx.save_for_backward(order)
        return y.index_select(0, inverse)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (order,) = ctx.saved_tensors
        return grad.index_select(0, order), None, None


def _all_experts(
    x: torch.Tensor, loads: torch.Tensor, experts: Sequence[FeedForward]
) -> torch.Tensor:
    """``(N * k, D)`` sorted by expert to ``(N * k, D')``."""
    ends = loads.cumsum(0).to(torch.int32)  # (E,)
    rows = torch.arange(len(x), device=x.device, dtype=torch.int32)
    first = ends - loads.to(torch.int32)
    # one column an expert, as many as the products want, to add biases by a product:
    # the gradient of a bias is one, too, and no sum of rows one after the other
    mine = (rows[:, None] >= first) & (rows[:, None] < ends)  # (N * k, E)
    mine = nn.functional.pad(mine.to(x.dtype), (0, -len(experts) % ALIGNED))
    hidden = _linear(x, [e.w_1 for e in experts], ends, mine)  # (N * k, F)
    hidden = experts[0].dropout(experts[0].activation(hidden))
    return _linear(hidden, [e.w_2 for e in experts], ends, mine)


def _linear(
    x: torch.Tensor,
    layers: Sequence[nn.Linear],
    ends: torch.Tensor,
    mine: torch.Tensor,
) -> torch.Tensor:
    """``(N, I)`` to ``(N, O)``; the products know no bias."""
    weight = torch.stack([layer.weight for layer in layers]).to(x.dtype)  # (E, O, I)
    bias = torch.stack([layer.bias for layer in layers]).to(x.dtype)  # (E, O)
    bias = nn.functional.pad(bias, (0, 0, 0, mine.size(1) - len(layers)))
    product = nn.functional.grouped_mm(x, weight.transpose(1, 2), offs=ends)
    return torch.addmm(product, mine, bias)


def _dtype(x: torch.Tensor) -> torch.dtype:
    """What the products are computed in."""
    device = x.device.type
    if torch.is_autocast_enabled(device):
        return torch.get_autocast_dtype(device)
    return x.dtype
