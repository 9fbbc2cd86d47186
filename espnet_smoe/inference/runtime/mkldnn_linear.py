"""Linear layers with their weights laid out for oneDNN, on CPU.

A search or a chunk of a stream multiplies a handful of rows by large matrices: reading
the weights bounds it, and oneDNN's blocked layout is read in about half the time. On
processors of AMD many rows take less than half the time, too: PyTorch leaves them to
MKL, which uses half of a vector there.
"""

from typing import TypeVar

import torch
from torch import nn

from espnet_smoe.inference.runtime.linear_layers import replace_linear
from espnet_smoe.moe.router import Router

WORTH_IT = 2**16
Module = TypeVar("Module", bound=nn.Module)


class MKLDNNLinear(nn.Module):
    """A linear layer for inference in float32 on CPU.

    Args:
        linear: The layer to take over; its own weights are not kept.
    """

    def __init__(self, linear: nn.Linear):
        super().__init__()
        self.weight = torch.ops.mkldnn._reorder_linear_weight(
            linear.weight.detach().clone(), None
        )
        self.bias = None if linear.bias is None else linear.bias.detach()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map ``(..., I)`` to ``(..., O)``."""
        return torch.ops.mkldnn._linear_pointwise(
            x, self.weight, self.bias, "none", [], ""
        )


def convert_to_mkldnn(module: Module, least_weights: int = WORTH_IT) -> Module:
    """Replace the linear layers inside a module, where that can be done.

    Nothing changes elsewhere than in float32 on a CPU for which PyTorch has oneDNN.

    Args:
        module: Changed in place; it cannot be trained or saved any more.
        least_weights: Of a layer; in a smaller one the call is what costs.
    """
    ops = ("_reorder_linear_weight", "_linear_pointwise")
    if not torch.backends.mkldnn.is_available() or not all(
        hasattr(torch.ops.mkldnn, name) for name in ops
    ):
        return module
    like = next(module.parameters(), None)
    if like is None or like.device.type != "cpu" or like.dtype != torch.float32:
        return module
    kinds = nn.Linear, Router  # the latter stays exact
    replace_linear(module, MKLDNNLinear, kinds, least_weights)
    return module
