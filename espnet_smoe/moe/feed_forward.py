"""MoEFeedForward: a feed-forward block that is a mixture of experts."""

from collections.abc import Callable

import torch
from torch import nn

from espnet_smoe.moe.dispatch import dispatch
from espnet_smoe.moe.experts import FeedForward
from espnet_smoe.moe.gate import Gate
from espnet_smoe.moe.routing import Routing


class MoEFeedForward(nn.Module):
    """Drop-in for a position-wise feed-forward block: gate, experts, dispatch.

    Args:
        gate: Decides where the rows go; layers may share one.
        make_expert: Makes one expert; called E times.
        name: The layer's name in `Routing.loads`.

    Example:
        >>> from espnet_smoe.moe import LabelGate
        >>> gate = LabelGate(["<wb>", "<nb>"]).bind(["<wb>", "<nb>"])
        >>> block = MoEFeedForward(gate, lambda: FeedForward(4, 8), "encoder.0")
        >>> routing = gate.route(torch.tensor([0, 1]), lengths=torch.tensor([3, 2]))
        >>> block(torch.zeros(2, 3, 4), routing).shape
        torch.Size([2, 3, 4])
        >>> routing.loads
        {'encoder.0': tensor([3, 2])}
    """

    def __init__(self, gate: Gate, make_expert: Callable[[], nn.Module], name: str):
        super().__init__()
        self.gate = gate
        self.experts = nn.ModuleList(make_expert() for _ in range(gate.num_experts))
        self.name = name

    def forward(self, x: torch.Tensor, routing: Routing) -> torch.Tensor:
        """Map ``(B, T, D)`` to ``(B, T, D)``, each row by its own expert."""
        assignment = self.gate(x, routing)
        routing.add_load(self.name, assignment.counts)
        return dispatch(x, assignment, self.experts)


class DenseFeedForward(FeedForward):
    """The dense block behind the same call as the mixture."""

    def forward(self, x: torch.Tensor, routing: Routing | None = None) -> torch.Tensor:
        """Map ``(..., D)`` to ``(..., D)``; a dense block reads no routing."""
        return super().forward(x)


def build_feed_forward(
    gate: Gate | None, size: int, hidden_size: int, dropout_rate: float, name: str
) -> nn.Module:
    """A mixture where there is a gate, else the dense block.

    Args:
        gate: Gate of the layer; None for a dense block.
        size: D.
        hidden_size: F.
        dropout_rate: Dropout after the activation.
        name: The layer's name in `Routing.loads`.
    """
    if gate is None:
        return DenseFeedForward(size, hidden_size, dropout_rate)
    return MoEFeedForward(
        gate, lambda: FeedForward(size, hidden_size, dropout_rate), name
    )
