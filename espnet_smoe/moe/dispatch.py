"""Rows to experts and back: sort by expert, one slice each, put back.

A row is whatever the gate decides about: an utterance for a label, a frame for a
learned gate. Rows that arrive in the order of their experts are neither gathered
nor copied; an expert without rows is not computed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import nn


@dataclass(frozen=True)
class Assignment:
    """Which experts each row goes to, k of them.

    Attributes:
        counts: Rows of each expert, E numbers that sum to N * k.
        order: ``(N * k,)`` choices sorted by expert; None where they already are.
        restore: ``(N * k,)`` the inverse of ``order``; None where ``order`` is.
        weights: ``(N, k)`` weight of each chosen expert's output; None where the
            output of the one expert is taken as it is.
        losses: What the decision costs beside its use, by name.
        logits: ``(N, E)`` what a router thought of each expert; None without one.
    """

    counts: list[int]
    order: torch.Tensor | None = None
    restore: torch.Tensor | None = None
    weights: torch.Tensor | None = None
    losses: dict[str, torch.Tensor] = field(default_factory=dict)
    logits: torch.Tensor | None = None

    @classmethod
    def of(
        cls,
        experts: torch.Tensor,
        num_experts: int,
        weights: torch.Tensor | None = None,
        losses: dict[str, torch.Tensor] | None = None,
        logits: torch.Tensor | None = None,
    ) -> "Assignment":
        """Sort the rows by their experts.

        Args:
            experts: ``(N,)`` or ``(N, k)`` experts of each row, in 0..E-1.
            num_experts: E.
            weights: ``(N, k)``.
            losses: By name.
            logits: ``(N, E)``.

        Example:
            >>> Assignment.of(torch.tensor([1, 0, 1]), 2).counts
            [1, 2]
        """
        chosen = experts.flatten()
        counts = torch.bincount(chosen, minlength=num_experts).tolist()
        if bool((chosen[1:] >= chosen[:-1]).all()):
            return cls(counts, None, None, weights, losses or {}, logits)
        order = torch.argsort(chosen, stable=True)
        return cls(counts, order, torch.argsort(order), weights, losses or {}, logits)

    @property
    def sorted(self) -> "Assignment":
        """The same shares once the rows have been brought into ``order``."""
        return Assignment(self.counts)

    @property
    def experts(self) -> torch.Tensor:
        """``(N * k,)`` expert of each choice, as the rows stand."""
        by_expert = torch.arange(len(self.counts)).repeat_interleave(
            torch.tensor(self.counts)
        )
        if self.restore is None:
            return by_expert
        return by_expert.to(self.restore.device)[self.restore]


def dispatch(
    x: torch.Tensor, assignment: Assignment, experts: Sequence[nn.Module]
) -> torch.Tensor:
    """Send each row to its experts.

    While gradients are averaged over processes an idle expert still receives its
    empty slice: it costs nothing and takes part in the graph, so that every
    process reduces the same parameters.

    Args:
        x: ``(N, ..., D)``.
        assignment: The share of each expert.
        experts: E modules that map ``(n, ..., D)`` to ``(n, ..., D)``.

    Returns:
        ``(N, ..., D)``, row by row the output of the row's expert, or the weighted
        sum of its k experts' outputs.
    """
    k = 1 if assignment.weights is None else assignment.weights.size(1)
    if k > 1:
        x = x.repeat_interleave(k, dim=0)  # (N * k, ..., D)
    if assignment.order is not None:
        x = x.index_select(0, assignment.order)
    keep_idle = torch.is_grad_enabled() and _gradients_are_shared()
    outputs = [
        expert(share)
        for expert, share in zip(experts, x.split(assignment.counts))
        if share.size(0) > 0 or keep_idle
    ]
    y = outputs[0] if len(outputs) == 1 else torch.cat(outputs)
    if assignment.restore is not None:
        y = y.index_select(0, assignment.restore)
    if assignment.weights is None:
        return y
    weights = assignment.weights.to(y.dtype)
    return (y.unflatten(0, (-1, k)) * weights[:, :, None]).sum(dim=1)


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


def _gradients_are_shared() -> bool:
    distributed = torch.distributed
    return distributed.is_available() and distributed.is_initialized()
