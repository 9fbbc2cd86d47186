"""What a traced graph computes in place of shares: every expert on every row.

`torch.export`, `torch.compile` and tracing record one graph for all batches, so the
number of rows an expert has may not shape it, and no expert may be left out because
the example had nothing for it. The weights are those of the sorted way, the result is
too; the work is that of all experts.
"""

from collections.abc import Sequence

import torch
from torch import nn


def traced() -> bool:
    """Whether a graph is recorded that must fit every batch.

    While a model that is to be trained is compiled the graph breaks instead: there
    the shares are worth more than the graph.
    """
    # not `is_exporting()`, which torch 2.11 answers with true in every compilation
    if torch.compiler._is_exporting_flag or torch.jit.is_tracing():
        return True
    return torch.compiler.is_compiling() and not torch.is_grad_enabled()


def every_expert(
    x: torch.Tensor,
    chosen: torch.Tensor,
    weights: torch.Tensor | None,
    experts: Sequence[nn.Module],
) -> torch.Tensor:
    """Compute all experts and take of each the rows that chose it.

    Args:
        x: ``(N, ..., D)``.
        chosen: ``(N, k)`` experts of each row.
        weights: ``(N, k)``; 1 where None.
        experts: E modules.

    Returns:
        ``(N, ..., D')``.

    Example:
        >>> experts = [nn.Identity(), nn.ReLU()]
        >>> x = torch.tensor([[-1.0], [-1.0]])
        >>> every_expert(x, torch.tensor([[0], [1]]), None, experts)
        tensor([[-1.],
                [ 0.]])
    """
    outputs = []
    for number, expert in enumerate(experts):
        y = expert(x)  # (N, ..., D')
        mine = chosen == number  # (N, k)
        if weights is not None:
            scale = (weights * mine).sum(dim=1).to(y.dtype)  # (N,)
            y = y * _beside(scale, y)
        # not a product: what a foreign expert makes of a row may be infinite
        outputs.append(torch.where(_beside(mine.any(dim=1), y), y, 0.0))
    return torch.stack(outputs).sum(dim=0) if len(outputs) > 1 else outputs[0]


def loads_of(
    chosen: torch.Tensor, frames: torch.Tensor, num_experts: int
) -> torch.Tensor:
    """``(E,)`` frames of each expert, padding left out.

    Args:
        chosen: ``(N, k)`` experts of all rows.
        frames: ``(N,)`` false where a row is padding.
        num_experts: E.
    """
    experts = torch.arange(num_experts, device=chosen.device)
    taken = (chosen[:, :, None] == experts) & frames[:, None, None]  # (N, k, E)
    return taken.sum(dim=(0, 1))


def _beside(rows: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """``(N,)`` with the dimensions of ``y`` ``(N, ..., D')``."""
    return rows.view(-1, *[1] * (y.dim() - 1))
