"""All experts in two grouped products: bfloat16 on a GPU.

Few kernels in place of a few for each expert, and the host need not wait for the
shares. The weights are those of the single experts, stacked at each call.
"""

from collections.abc import Sequence

import torch
from torch import nn

from espnet_smoe.moe.experts import FeedForward

ALIGNED = 8  # rows of 16 bytes, which the kernels ask for


def can_group(x: torch.Tensor, experts: Sequence[nn.Module]) -> bool:
    """Whether the experts are to be computed as grouped products.

    Args:
        x: ``(N, ..., D)`` rows sorted by expert.
        experts: E modules.
    """
    if not x.is_cuda or x.dim() != 2 or _dtype(x) != torch.bfloat16:
        return False
    if any(type(expert) is not FeedForward for expert in experts):
        return False
    first = experts[0]
    widths = x.size(1), first.w_1.out_features, first.w_2.out_features
    return all(width % ALIGNED == 0 for width in widths)


def grouped(
    x: torch.Tensor, loads: torch.Tensor, experts: Sequence[FeedForward]
) -> torch.Tensor:
    """Each share through its expert.

    Args:
        x: ``(N, D)`` rows sorted by expert.
        loads: ``(E,)`` rows of each expert.
        experts: E experts of the same shape.

    Returns:
        ``(N, D')``.
    """
    x = x.to(_dtype(x))
    ends = loads.cumsum(0).to(torch.int32)  # (E,)
    rows = torch.arange(len(x), device=x.device)
    expert = torch.searchsorted(ends, rows, right=True, out_int32=True)  # (N,)
    hidden = _linear(x, [e.w_1 for e in experts], ends, expert)  # (N, F)
    hidden = experts[0].dropout(experts[0].activation(hidden))
    return _linear(hidden, [e.w_2 for e in experts], ends, expert)


def _linear(
    x: torch.Tensor,
    layers: Sequence[nn.Linear],
    ends: torch.Tensor,
    expert: torch.Tensor,
) -> torch.Tensor:
    """``(N, I)`` to ``(N, O)``; the products know no bias."""
    weight = torch.stack([layer.weight for layer in layers]).to(x.dtype)  # (E, O, I)
    bias = torch.stack([layer.bias for layer in layers]).to(x.dtype)  # (E, O)
    product = nn.functional.grouped_mm(x, weight.transpose(1, 2), offs=ends)
    return product + bias.index_select(0, expert)


def _dtype(x: torch.Tensor) -> torch.dtype:
    """What the products are computed in."""
    device = x.device.type
    if torch.is_autocast_enabled(device):
        return torch.get_autocast_dtype(device)
    return x.dtype
