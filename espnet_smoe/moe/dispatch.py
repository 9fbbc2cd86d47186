"""Rows to experts and back: sort by expert, one slice each, put back.

A row is whatever the gate decides about: an utterance for a label, a frame for a
learned gate. Rows are read once, in the order of their experts, and written once;
those that arrive in that order are not copied at all. An expert without rows is not
computed. What is traced for export knows no shares: there every expert sees every
row (``static.py``).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

import torch
from torch import nn

from espnet_smoe.moe.grouped import can_group, grouped
from espnet_smoe.moe.loss import FrameSums
from espnet_smoe.moe.static import every_expert, traced

Expert = Callable[[torch.Tensor], torch.Tensor]  # an nn.Module, mostly


@dataclass(frozen=True)
class Assignment:
    """Which experts each row goes to, k of them.

    Attributes:
        loads: ``(E,)`` rows of each expert; they sum to N * k.
        order: ``(N * k,)`` choices sorted by expert; None where they already are.
        weights: ``(N, k)`` weight of each chosen expert's output; None where the
            output of the one expert is taken as it is.
        sums: What the auxiliary losses need of the rows; None without such losses.
        logits: ``(N, E)`` what a router thought of each expert; None without one.
        by_row: ``(N, k)`` the experts of each row.
        unsorted: The same in place of shares, while a graph is traced, whose shapes
            may not depend on them.
    """

    loads: torch.Tensor
    order: torch.Tensor | None = None
    weights: torch.Tensor | None = None
    sums: FrameSums | None = None
    logits: torch.Tensor | None = None
    by_row: torch.Tensor | None = None
    unsorted: torch.Tensor | None = None

    @classmethod
    def of(
        cls,
        experts: torch.Tensor,
        num_experts: int,
        weights: torch.Tensor | None = None,
        sums: FrameSums | None = None,
        logits: torch.Tensor | None = None,
    ) -> "Assignment":
        """Sort the rows by their experts.

        Args:
            experts: ``(N,)`` or ``(N, k)`` experts of each row, in 0..E-1.
            num_experts: E.
            weights: ``(N, k)``; None for labels, which often come sorted.
            sums: For the auxiliary losses.
            logits: ``(N, E)``.

        Example:
            >>> Assignment.of(torch.tensor([1, 0, 1]), 2).counts
            [1, 2]
        """
        decided = weights, sums, logits
        chosen = experts.flatten()
        loads = chosen.new_zeros(num_experts)
        by_row = experts if experts.dim() == 2 else experts[:, None]  # (N, k)
        if traced():
            return cls(loads, None, *decided, by_row, unsorted=by_row)
        loads.scatter_add_(0, chosen, torch.ones_like(chosen))
        if weights is None and bool((chosen[1:] >= chosen[:-1]).all()):
            return cls(loads, None, *decided, by_row)
        return cls(loads, torch.argsort(chosen, stable=True), *decided, by_row)

    @property
    def losses(self) -> dict[str, torch.Tensor]:
        """The auxiliary losses of these rows, by name."""
        return {} if self.sums is None else self.sums.losses()

    @cached_property
    def counts(self) -> list[int]:
        """`loads` on the host."""
        return self.loads.tolist()

    @property
    def restore(self) -> torch.Tensor | None:
        """``(N * k,)`` the inverse of ``order``; None where ``order`` is."""
        return None if self.order is None else torch.argsort(self.order)

    @property
    def sorted(self) -> "Assignment":
        """The same shares once the rows have been brought into ``order``."""
        if self.order is None:
            return self
        return Assignment(self.loads, by_row=self.by_row.index_select(0, self.order))

    @property
    def traced(self) -> "Assignment":
        """The same for a graph, also where the decision was made outside of it."""
        return (
            self if self.unsorted is not None else replace(self, unsorted=self.by_row)
        )

    @property
    def experts(self) -> torch.Tensor:
        """``(N * k,)`` expert of each choice, as the rows stand."""
        return self.by_row.flatten()


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
        assignment: The share of each expert in N rows.
        experts: E modules that map ``(n, ..., D)`` to ``(n, ..., D')``.
        index: ``(N,)`` which rows of ``x`` the assignment is about; None for all.

    Returns:
        ``(M, ..., D')``, row by row the output of the row's expert, or the weighted
        sum of its k experts' outputs; zero for rows that nobody decided about.
    """
    weights = assignment.weights  # (N, k)
    if assignment.unsorted is not None:
        return every_expert(x, assignment.unsorted, weights, experts)
    source = _source(assignment, index)
    if source is None:
        return _in_place(x, assignment.counts, experts)
    scale = None
    if weights is not None:
        scale = weights.flatten().index_select(0, assignment.order)[:, None]
    if can_group(x, experts):
        every = partial(grouped, loads=assignment.loads, experts=experts)
        return _gather_scatter(x, source, scale, [len(source)], [every])
    return _gather_scatter(x, source, scale, assignment.counts, experts)


def _source(assignment: Assignment, index: torch.Tensor | None) -> torch.Tensor | None:
    """``(N * k,)`` the row that each choice is about, sorted by expert.

    None where that is how the rows stand.
    """
    order, weights = assignment.order, assignment.weights
    if order is None:
        return index
    k = 1 if weights is None else weights.size(1)
    rows = order if k == 1 else order // k
    return rows if index is None else index.index_select(0, rows)


def _in_place(
    x: torch.Tensor, counts: list[int], experts: Sequence[Expert]
) -> torch.Tensor:
    """Rows that stand in the order of their experts: nothing to gather."""
    keep_idle = _keep_idle()
    outputs = [
        expert(share)
        for expert, share in zip(experts, x.split(counts))
        if share.size(0) > 0 or keep_idle
    ]
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
    rows = source.split(counts)
    scales = [None] * len(counts) if scale is None else scale.split(counts)
    if x.requires_grad:  # backward, a gather for each expert is as long as x
        shares = x.index_select(0, source).split(counts)
    else:  # small enough for the cache
        shares = (x.index_select(0, of_expert) for of_expert in rows)
    out = None
    for expert, share, of_expert, factor in zip(experts, shares, rows, scales):
        if not len(of_expert) and not keep_idle:
            continue
        y = expert(share)  # (n, ..., D')
        if factor is not None:
            y = y * factor.to(y.dtype)
        if out is None:
            out = y.new_zeros(len(x), *y.shape[1:])  # (M, ..., D')
        out.index_add_(0, of_expert, y)
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
        sum(w * experts[e](row[None]) for e, w in zip(of_row.tolist(), scale))
        for row, of_row, scale in zip(x, chosen, weights)
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
