"""One expert: the position-wise feed-forward block of a Transformer layer."""

import torch
from torch import nn


class FeedForward(nn.Module):
    """Two matrices with an activation between them (Vaswani et al. 2017, Eq. 2).

    The parameter names are those of ESPnet's ``PositionwiseFeedForward``, so a
    dense checkpoint fits as it is.

    Args:
        size: Width of input and output, D.
        hidden_size: Width between the two matrices, F.
        dropout_rate: Dropout after the activation.
        activation: Module applied between the matrices; ReLU when None.
        output_size: Width of the output, where it is not D.

    Example:
        >>> FeedForward(4, 8)(torch.zeros(2, 3, 4)).shape
        torch.Size([2, 3, 4])
    """

    def __init__(
        self,
        size: int,
        hidden_size: int,
        dropout_rate: float = 0.0,
        activation: nn.Module | None = None,
        output_size: int | None = None,
    ):
        super().__init__()
        self.w_1 = nn.Linear(size, hidden_size)
        self.w_2 = nn.Linear(hidden_size, output_size or size)
        self.dropout = nn.Dropout(dropout_rate)
        self.activation = activation if activation is not None else nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map ``(..., D)`` to ``(..., D)`` or ``(..., output_size)``."""
        return self.w_2(self.dropout(self.activation(self.w_1(x))))
