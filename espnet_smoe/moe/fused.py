"""All experts in four kernels: inference on a GPU in bfloat16 or float16.

The host never waits for the loads, and launches four kernels where PyTorch's
operators are fifty: choices are sorted by counting, the first product reads its rows
where they stand, the second writes its outputs where they belong. Weights are read
where the single experts have them, through a table of their addresses. Training takes
`grouped.py`, a traced graph no dispatch at all.
"""

import importlib.util
from collections.abc import Sequence
from functools import cache, lru_cache
from typing import Any

import torch
from torch import nn

from espnet_smoe.moe.dense_dispatch import traced
from espnet_smoe.moe.experts import FeedForward

ACTIVATIONS = {nn.Identity: 0, nn.ReLU: 1, nn.SiLU: 2}  # as `kernels.first` numbers
DTYPES = (torch.bfloat16, torch.float16)
MOST_EXPERTS = 128  # a row of registers counts them
ALIGNED = 16  # bytes of an address, and widths: the products read whole words
BLOCK = 64, 1024  # choices that one program sorts, at least and at most
BLOCKS = 64  # that each program adds up, about


def can_choose(logits: torch.Tensor) -> bool:
    """Whether `choose` serves: on a GPU with Triton, without gradients or a graph."""
    return (
        logits.is_cuda
        and not torch.is_grad_enabled()
        and not traced()
        and 0 < logits.numel() < 2**31
        and logits.size(1) <= MOST_EXPERTS
        and _triton()
    )


def choose(logits: torch.Tensor, top_k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Softmax and top-k in one kernel.

    Args:
        logits: ``(N, E)``.
        top_k: k.

    Returns:
        ``(N, k)`` weights in float32, of one expert its softmax over all, of more over
        the chosen; ``(N, k)`` experts.
    """
    n, num_experts = logits.shape
    weights = torch.empty(n, top_k, device=logits.device)
    chosen = torch.empty(n, top_k, dtype=torch.int64, device=logits.device)
    with torch.cuda.device_of(logits):
        _kernels().choose[(_blocks(n, BLOCK[0]),)](
            *(logits.contiguous(), weights, chosen, n, num_experts),
            K=top_k,
            BLOCK=BLOCK[0],
            WIDTH=_width(num_experts),
        )
    return weights, chosen


def can_fuse(x: torch.Tensor, experts: Sequence[nn.Module]) -> bool:
    """Whether `fused` serves.

    Args:
        x: ``(N, D)`` rows.
        experts: E modules.
    """
    if torch.is_grad_enabled() or not x.is_cuda or x.dim() != 2 or not len(x):
        return False
    if x.dtype not in DTYPES or x.stride(1) != 1 or len(experts) > MOST_EXPERTS:
        return False
    if any(type(expert) is not FeedForward for expert in experts):
        return False
    first = experts[0]
    hidden_size, size = first.w_1.weight.shape
    return (
        type(first.activation) in ACTIVATIONS
        and not (first.training and first.dropout.p)
        and first.w_1.weight.dtype == x.dtype  # else autocast has them converted
        and not (size % ALIGNED or hidden_size % ALIGNED or x.stride(0) % ALIGNED)
        and not x.data_ptr() % ALIGNED
        and all(_readable(e.w_1) and _readable(e.w_2) for e in experts)
        and _triton()
    )


def fused(
    x: torch.Tensor,
    chosen: torch.Tensor,
    weights: torch.Tensor | None,
    experts: Sequence[FeedForward],
    index: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Each row through its experts.

    Args:
        x: ``(M, D)``.
        chosen: ``(N, k)`` experts of each row.
        weights: ``(N, k)`` weights of their outputs; 1 where None.
        experts: E experts of the same shape.
        index: ``(N,)`` which rows of ``x`` are meant; None for all.

    Returns:
        ``(M, D')``, zero for rows that are not meant, and ``(E,)`` choices of each
        expert.
    """
    with torch.cuda.device_of(x):  # a kernel runs where the process stands
        return _fused(x, chosen, weights, experts, index)


def _fused(
    x: torch.Tensor,
    chosen: torch.Tensor,
    weights: torch.Tensor | None,
    experts: Sequence[FeedForward],
    index: torch.Tensor | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    kernels = _kernels()
    (n, top_k), num_experts = chosen.shape, len(experts)
    width, choices = _width(num_experts), n * top_k
    hidden_size, size = experts[0].w_1.weight.shape
    out_size = experts[0].w_2.out_features
    table = _addresses(experts, x.device)  # (4, E)
    work, loads = _sorted(chosen, num_experts)

    grid, tile = _tiles(choices, num_experts, size, hidden_size)
    hidden = torch.empty(choices, hidden_size, dtype=x.dtype, device=x.device)
    kernels.first[grid](
        *(x, x if index is None else index, table, work, hidden),
        *(size, hidden_size, x.stride(0), num_experts),
        ACTIVATION=ACTIVATIONS[type(experts[0].activation)],
        INDEXED=index is not None,
        K=top_k,
        WIDTH=width,
        **tile,
    )
    # one expert's output goes where its row stands; k are put beside each other first
    in_place = index is not None and top_k == 1
    make = torch.zeros if in_place else torch.empty
    shape = len(x) if in_place else choices, out_size
    out = make(*shape, dtype=x.dtype, device=x.device)
    grid, tile = _tiles(choices, num_experts, hidden_size, out_size)
    kernels.second[grid](
        *(hidden, index if in_place else work, work if weights is None else weights),
        *(table, work, out, hidden_size, out_size, num_experts),
        INDEXED=in_place,
        WEIGHTED=weights is not None,
        WIDTH=width,
        **tile,
    )
    if top_k > 1:
        out = out.view(n, top_k, out_size).sum(dim=1)
    if index is not None and not in_place:
        out = out.new_zeros(len(x), out_size).index_copy_(0, index, out)
    return out, loads


def _sorted(
    chosen: torch.Tensor, num_experts: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """What the products need of the choices (see `kernels`), and ``(E,)`` loads."""
    kernels, choices, width = _kernels(), chosen.numel(), _width(num_experts)
    block = min(max(BLOCK[0], _power_of_2(_blocks(choices, BLOCKS))), BLOCK[1])
    if choices <= BLOCK[1]:
        block = max(BLOCK[0], _power_of_2(choices))
    blocks = _blocks(choices, block)
    chosen = chosen.contiguous()
    size = width + choices + blocks * width
    work = torch.empty(size, dtype=torch.int32, device=chosen.device)
    loads = torch.empty(width, dtype=torch.int64, device=chosen.device)
    sizes = {"BLOCK": block, "WIDTH": width}
    if blocks > 1:
        kernels.count[(blocks,)](chosen, work, choices, **sizes)
    kernels.sort[(blocks,)](
        *(chosen, work, loads, choices, blocks), SINGLE=blocks == 1, **sizes
    )
    return work, loads[:num_experts]


def _tiles(
    choices: int, num_experts: int, depth: int, columns: int
) -> tuple[tuple[int], dict[str, int | bool]]:
    """Grid and tile of a product of ``choices`` rows of ``depth`` with all experts.

    The tiles were the quickest of ten on an H200, with D 512 and F 2048.
    """
    rows = choices / num_experts
    if rows <= 16:
        bm, bn, bk, warps, stages = 16, 64, 128, 4, 4
    elif rows <= 256:
        bm, bn, bk, warps, stages = 64, 64, 64, 4, 5
    elif columns % 256:
        bm, bn, bk, warps, stages = 128, 128, 64, 4, 3
    else:
        bm, bn, bk, warps, stages = 128, 256, 64, 8, 4
    tile = {"BM": bm, "BN": bn, "BK": bk, "EVEN": depth % bk == 0}
    tiles = _blocks(choices, bm) + min(num_experts, choices)  # at most
    grid = (tiles * _blocks(columns, bn),)
    return grid, tile | {"num_warps": warps, "num_stages": stages}


def _readable(layer: nn.Linear) -> bool:
    """Whether its weights lie as the products read them; views need not."""
    return layer.weight.is_contiguous() and layer.weight.data_ptr() % ALIGNED == 0


def _width(num_experts: int) -> int:
    return max(16, _power_of_2(num_experts))


def _power_of_2(number: int) -> int:
    """The smallest that is not below ``number``."""
    return 1 << max(0, number - 1).bit_length()


def _blocks(number: int, of: int) -> int:
    """How many blocks hold ``number`` things."""
    return -(-number // of)


def _addresses(experts: Sequence[FeedForward], device: torch.device) -> torch.Tensor:
    """``(4, E)`` where each expert has its weights and biases."""
    addresses = []
    for expert in experts:
        for layer in (expert.w_1, expert.w_2):
            addresses += layer.weight.data_ptr(), layer.bias.data_ptr()
    return _table(tuple(addresses), device)


@lru_cache(maxsize=4096)  # layers
def _table(addresses: tuple[int, ...], device: torch.device) -> torch.Tensor:
    """``(4, E)`` on the device: first weights, first biases, second ones."""
    return torch.tensor(addresses, device=device).view(-1, 4).t().contiguous()


@cache
def _triton() -> bool:
    """PyTorch for Linux with CUDA brings it."""
    return importlib.util.find_spec("triton") is not None


def _kernels() -> Any:
    from espnet_smoe.moe import kernels

    return kernels
