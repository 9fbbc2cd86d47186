"""Rows to experts and back: sort by expert, one slice each, put back.

Rows are read once, in the order of their experts, and written once; those that arrive
in that order are not copied at all. An expert without rows is not computed. On a GPU
all experts are computed at once (``fused.py``, ``grouped.py``). A traced graph knows no
slices and takes ``dense_dispatch.py``.
"""

from collections.abc import Callable, Sequence

import torch
from torch import nn

from espnet_smoe.moe.assignment import Assignment
from espnet_smoe.moe.fused import can_fuse, fused
from espnet_smoe.moe.grouped import can_group, grouped

Expert = Callable[[torch.Tensor], torch.Tensor]  # an nn.Module, mostly


def dispatch(
    x: torch.Tensor,
    assignment: Assignment,
    experts: Sequence[nn.Module],
    index: torch.Tensor | None = None,
) -> torch.Tensor:
    """Send each row to its experts.

    While gradients are averaged over processes an idle expert still receives its
    empty slice: it costs nothing and takes part in the graph, so that every
    process reduces the same parameters.

    Args:
        x: ``(M, ..., D)``.
        assignment: Experts of N rows.
        experts: E modules that map ``(n, ..., D)`` to ``(n, ..., D')``.
        index: ``(N,)`` which rows of ``x`` the assignment is about; None for all.

    Returns:
        ``(M, ..., D')``, row by row the output of the row's expert, or the weighted
        sum of its k experts' outputs; zero for rows that nobody decided about.
    """
    if can_fuse(x, experts):
        y, loads = fused(x, assignment.experts, assignment.weights, experts, index)
        assignment.set_loads(loads)
        return y
    if can_group(x, experts):
        rows = x if index is None else x.index_select(0, index)  # (N, D)
        y = grouped(rows, assignment, experts)
        if index is None:
            return y
        return y.new_zeros(len(x), y.size(1)).index_copy(0, index, y)
    source = sorted_rows(assignment, index)
    if source is None:
        return _in_place(x, assignment.counts, experts)
    scale = None
    if assignment.weights is not None:
        weights = assignment.weights.flatten()  # (N * k,)
        scale = weights.index_select(0, assignment.order)[:, None]
    return _gather_scatter(x, source, scale, assignment.counts, experts)


def sorted_rows(
    assignment: Assignment, index: torch.Tensor | None
) -> torch.Tensor | None:
    """``(N * k,)`` the row that each choice is about, sorted by expert.

    None where that is how the rows stand.
    """
    order, k = assignment.order, assignment.top_k
    if order is None:
        return index
    rows = order if k == 1 else order // k
    return rows if index is None else index.index_select(0, rows)


def _in_place(
    x: torch.Tensor, counts: list[int], experts: Sequence[Expert]
) -> torch.Tensor:
    """Rows that stand in the order of their experts: nothing to gather."""
    keep_idle = _keep_idle()
    outputs = [
        expert(rows)
        for expert, rows in zip(experts, x.split(counts))
        if rows.size(0) > 0 or keep_idle
    ] or [experts[0](x)]
    return outputs[0] if len(outputs) == 1 else torch.cat(outputs)


def _gather_scatter(
    x: torch.Tensor,
    source: torch.Tensor,
    scale: torch.Tensor | None,
    counts: list[int],
    experts: Sequence[Expert],
) -> torch.Tensor:
    """Read the rows by expert, add the outputs where they belong.

    Args:
        x: ``(M, ..., D)``.
        source: ``(N * k,)`` rows of ``x``, sorted by expert.
        scale: ``(N * k, 1)`` of the outputs, sorted too; 1 where None.
        counts: Rows of each expert.
        experts: E functions of rows.
    """
    keep_idle = _keep_idle()
    sources = source.split(counts)
    scales = [None] * len(counts) if scale is None else scale.split(counts)
    # The gradient of a gather is as long as x: where there is one, gather once for all
    # experts. Without, gather for each: its rows are small enough for the cache.
    if x.requires_grad:
        slices = x.index_select(0, source).split(counts)
    else:
        slices = (x.index_select(0, rows) for rows in sources)
    out = None
    for expert, inputs, rows, factor in zip(experts, slices, sources, scales):
        if not len(rows) and not keep_idle:
            continue
        y = expert(inputs)  # (n, ..., D')
        if factor is not None:
            y = y * factor.to(y.dtype)
        if out is None:
            out = y.new_zeros(len(x), *y.shape[1:])  # (M, ..., D')
        out.index_add_(0, rows, y)
    if out is None:  # all is padding
        y = experts[0](x[:0])
        out = y.new_zeros(len(x), *y.shape[1:])
    return out


def reference(
    x: torch.Tensor,
    chosen: torch.Tensor,
    experts: Sequence[nn.Module],
    weights: torch.Tensor | None = None,
) -> torch.Tensor:
    """What `dispatch` must equal: every row through its experts, one at a time.

    Args:
        x: ``(N, ..., D)``.
        chosen: ``(N,)`` or ``(N, k)`` experts of each row.
        experts: E modules.
        weights: ``(N, k)``; 1 where None.
    """
    chosen = chosen.view(len(x), -1)  # (N, k)
    weights = torch.ones_like(chosen, dtype=x.dtype) if weights is None else weights
    rows = [
        sum(w * experts[e](row[None]) for e, w in zip(row_experts.tolist(), scale))
        for row, row_experts, scale in zip(x, chosen, weights)
    ]
    return torch.cat(rows)


def _keep_idle() -> bool:
    """Whether experts without rows must be in the graph: every process has all."""
    distributed = torch.distributed
    return (
        torch.is_grad_enabled()
        and distributed.is_available()
        and distributed.is_initialized()
    )
