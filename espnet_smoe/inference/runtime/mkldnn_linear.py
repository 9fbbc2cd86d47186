"""Linear layers with their weights laid out for few rows, on CPU.

A search multiplies a handful of rows by large matrices: reading the weights bounds
it. oneDNN's blocked layout reads them in about half the time that the usual one takes.
"""

import torch
from torch import nn

from espnet_smoe.moe.router import Router


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


def convert_to_mkldnn(module: nn.Module) -> nn.Module:
    """Replace the linear layers inside a module, where that can be done.

    Nothing changes elsewhere than in float32 on a CPU for which PyTorch has oneDNN.

    Args:
        module: Changed in place; it cannot be trained or saved any more.
    """
    ops = ("_reorder_linear_weight", "_linear_pointwise")
    if not torch.backends.mkldnn.is_available() or not all(
        hasattr(torch.ops.mkldnn, name) for name in ops
    ):
        return module
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            weight = getattr(child, "weight", None)
            if (
                type(child) in (nn.Linear, Router)  # the latter's weights stay exact
                and weight.device.type == "cpu"
                and weight.dtype == torch.float32
            ):
                setattr(parent, name, MKLDNNLinear(child))
    return module
