"""The linear layers of a model, replaced by quicker ones for inference."""

from collections.abc import Callable, Iterator

import torch
from torch import nn

Convert = Callable[[nn.Linear], nn.Module]


class Pointwise(nn.Module):
    """A convolution of one tap, computed as a linear layer of each frame.

    Args:
        convolution: Its weights are taken over.
        convert: Makes what computes it of a linear layer.
    """

    def __init__(self, convolution: nn.Conv1d, convert: Convert):
        super().__init__()
        bias = convolution.bias
        outputs, inputs, _ = convolution.weight.shape
        linear = nn.Linear(inputs, outputs, bias=bias is not None)
        linear.weight = nn.Parameter(convolution.weight.detach()[:, :, 0].contiguous())
        linear.bias = bias
        self.linear = convert(linear)
        self.bias = None if bias is None else bias.detach()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map ``(B, C, T)`` to ``(B, C', T)``."""
        return self.linear(x.transpose(1, 2)).transpose(1, 2)


def replace_linear(
    model: nn.Module,
    convert: Convert,
    kinds: tuple[type, ...] = (nn.Linear,),
    least_weights: int = 0,
) -> None:
    """Replace the linear layers inside a model, and its convolutions of one tap.

    Args:
        model: Changed in place.
        convert: Makes a layer of one.
        kinds: Classes that are replaced, and not their subclasses.
        least_weights: Of a layer; one with fewer stays.
    """
    for parent, name, layer in list(_layers(model, kinds)):
        if layer.weight.numel() < least_weights:
            continue
        linear = isinstance(layer, nn.Linear)
        setattr(parent, name, convert(layer) if linear else Pointwise(layer, convert))


def _layers(
    model: nn.Module, kinds: tuple[type, ...]
) -> Iterator[tuple[nn.Module, str, nn.Module]]:
    for parent in model.modules():
        for name, layer in parent.named_children():
            if type(layer) in kinds or type(layer) is nn.Conv1d and _one_tap(layer):
                yield parent, name, layer


def _one_tap(layer: nn.Conv1d) -> bool:
    sizes = *layer.kernel_size, *layer.stride, layer.groups
    return sizes == (1, 1, 1) and layer.padding == (0,)
