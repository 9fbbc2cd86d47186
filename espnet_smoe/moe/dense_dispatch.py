"""Dense dispatch, for traced graphs: every expert computes every row.

`torch.export`, `torch.compile` and tracing record one graph for all batches, so the
number of rows an expert has may not shape it, and no expert may be left out because
the example had nothing for it. The weights are those of the sparse way
(``dispatch.py``), and the result is too; the work is that of all experts.
"""

from collections.abc import Sequence

import torch
from torch import nn

from espnet_smoe.moe.assignment import Assignment


def traced() -> bool:
    """Whether a graph is recorded that must fit every batch.

    While a model that is to be trained is compiled the graph breaks instead: there
    computing only the chosen experts is worth more than one graph.
    """
    # not `is_exporting()`, which torch 2.11 answers with true in every compilation
    if torch.compiler._is_exporting_flag or torch.jit.is_tracing():
        return True
    return torch.compiler.is_compiling() and not torch.is_grad_enabled()


def dense_dispatch(
    x: torch.Tensor, assignment: Assignment, experts: Sequence[nn.Module]
) -> torch.Tensor:
    """Compute all experts and take of each the rows that chose it.

    Args:
        x: ``(N, ..., D)``.
        assignment: Experts of the N rows.
        experts: E modules.

    Returns:
        ``(N, ..., D')``.

    Example:
        >>> experts = [nn.Identity(), nn.ReLU()]
        >>> assignment = Assignment(torch.tensor([0, 1]), num_experts=2)
        >>> dense_dispatch(torch.tensor([[-1.0], [-1.0]]), assignment, experts)
        tensor([[-1.],
                [ 0.]])
    """
    outputs = []
    for number, expert in enumerate(experts):
        y = expert(x)  # (N, ..., D')
        mine = assignment.experts == number  # (N, k)
        if assignment.weights is not None:
            scale = (assignment.weights * mine).sum(dim=1).to(y.dtype)  # (N,)
            y = y * _broadcast(scale, y)
        # not a product: another row's expert may make it infinite
        outputs.append(torch.where(_broadcast(mine.any(dim=1), y), y, 0.0))
    return torch.stack(outputs).sum(dim=0) if len(outputs) > 1 else outputs[0]


def valid_loads(assignment: Assignment, valid: torch.Tensor) -> torch.Tensor:
    """``(E,)`` rows of each expert, padding left out.

    Args:
        assignment: Experts of N rows.
        valid: ``(N,)`` false where a row is padding.
    """
    chosen = assignment.experts  # (N, k)
    experts = torch.arange(assignment.num_experts, device=chosen.device)
    taken = (chosen[:, :, None] == experts) & valid[:, None, None]  # (N, k, E)
    return taken.sum(dim=(0, 1))


def _broadcast(rows: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """``(N,)`` with the dimensions of ``y`` ``(N, ..., D')``."""
    return rows.view(-1, *[1] * (y.dim() - 1))
