"""Rows to experts and back: sort by expert, one slice each, put back.

A row is whatever the gate decides about: an utterance for a label, a frame for a
learned gate. Rows that arrive in the order of their experts are neither gathered
nor copied; an expert without rows is not computed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True)
class Assignment:
    """Which expert each row goes to.

    Attributes:
        counts: Rows of each expert, E numbers that sum to N.
        order: ``(N,)`` rows sorted by expert; None where they already are.
        restore: ``(N,)`` the inverse of ``order``; None where ``order`` is.
    """

    counts: list[int]
    order: torch.Tensor | None = None
    restore: torch.Tensor | None = None

    @classmethod
    def of(cls, experts: torch.Tensor, num_experts: int) -> "Assignment":
        """Sort the rows by their expert.

        Args:
            experts: ``(N,)`` expert of each row, in 0..E-1.
            num_experts: E.

        Example:
            >>> Assignment.of(torch.tensor([1, 0, 1]), 2).counts
            [1, 2]
        """
        chosen = experts.tolist()
        counts = [chosen.count(e) for e in range(num_experts)]
        if all(a <= b for a, b in zip(chosen, chosen[1:])):
            return cls(counts)
        order = torch.argsort(experts, stable=True)
        return cls(counts, order, torch.argsort(order))

    @property
    def sorted(self) -> "Assignment":
        """The same shares once the rows have been brought into ``order``."""
        return Assignment(self.counts)


def dispatch(
    x: torch.Tensor, assignment: Assignment, experts: Sequence[nn.Module]
) -> torch.Tensor:
    """Send each row to its expert.

    While gradients are averaged over processes an idle expert still receives its
    empty slice: it costs nothing and takes part in the graph, so that every
    process reduces the same parameters.

    Args:
        x: ``(N, ..., D)``.
        assignment: The share of each expert.
        experts: E modules that map ``(n, ..., D)`` to ``(n, ..., D)``.

    Returns:
        ``(N, ..., D)``, row by row the output of the row's expert.
    """
    if assignment.order is not None:
        x = x.index_select(0, assignment.order)
    keep_idle = torch.is_grad_enabled() and _gradients_are_shared()
    outputs = [
        expert(share)
        for expert, share in zip(experts, x.split(assignment.counts))
        if share.size(0) > 0 or keep_idle
    ]
    y = outputs[0] if len(outputs) == 1 else torch.cat(outputs)
    return y if assignment.restore is None else y.index_select(0, assignment.restore)


def reference(
    x: torch.Tensor, chosen: torch.Tensor, experts: Sequence[nn.Module]
) -> torch.Tensor:
    """What `dispatch` must equal: every row through its expert, one at a time.

    Args:
        x: ``(N, ..., D)``.
        chosen: ``(N,)`` expert of each row.
        experts: E modules.
    """
    rows = [experts[e](row[None]) for row, e in zip(x, chosen.tolist())]
    return torch.cat(rows)


def _gradients_are_shared() -> bool:
    distributed = torch.distributed
    return distributed.is_available() and distributed.is_initialized()
