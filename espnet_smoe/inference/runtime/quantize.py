"""int8 weights for inference on a CPU: a quarter of the memory to read.

A chunk of a stream has few rows, so the time goes into reading weights. They are kept
as int8, with a scale for each output; the rows are rounded when they come (dynamic
quantisation), each by its own largest value: with one scale for all, the largest frame
of a batch would leave the others few steps.
"""

import warnings

import torch
from torch import nn

from espnet_smoe.inference.runtime.linear_layers import replace_linear
from espnet_smoe.moe import FeedForward

SMALLEST = 1e-30  # of a row of zeros


def quantize(model: nn.Module) -> nn.Module:
    """Turn the linear layers of a model into int8 ones, and convolutions of one tap.

    All others stay as they are, routers too: their choice is worth more than their few
    weights. So does what `convert_to_mkldnn` has packed.

    Args:
        model: For inference, float32 on CPU. Changed in place; it cannot be trained,
            saved or exported any more.

    Returns:
        The model.

    Raises:
        ValueError: It is not float32 on a CPU, it has no such block, or this PyTorch
            has no int8 kernels.

    Example:
        >>> block = quantize(nn.Sequential(FeedForward(8, 16)))
        >>> block[0].w_1
        Int8Linear(8, 16)
    """
    _check(model)
    if not any(isinstance(m, FeedForward) for m in model.modules()):
        raise ValueError(
            "int8: none of the model's classes is of espnet_smoe; leave int8 out"
        )
    replace_linear(model, Int8Linear)  # no subclass: somebody wants its weights
    return model


class Int8Linear(nn.Module):
    """``x W + b`` with W in int8, a scale for each output, each row of x rounded alone.

    Args:
        layer: Its weights are taken over.
    """

    def __init__(self, layer: nn.Linear):
        super().__init__()
        self.in_features, self.out_features = layer.in_features, layer.out_features
        self.bias = None if layer.bias is None else layer.bias.detach()
        self._packed = _packed(layer.weight)
        # without these instructions sums of products of 8 bits overflow: 7 bits then
        found = torch.cpu.get_capabilities()
        self._seven_bits = not (found.get("avx512_vnni") or found.get("avx_vnni"))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map ``(..., I)`` to ``(..., O)``."""
        # the kernel has one scale for all rows, so all are made as large
        largest = x.abs().amax(-1, keepdim=True).clamp_(min=SMALLEST)  # (..., 1)
        y = torch.ops.quantized.linear_dynamic(
            x / largest, self._packed, self._seven_bits
        )
        return y * largest if self.bias is None else self.bias.addcmul(y, largest)

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}"


def _packed(weight: torch.Tensor) -> torch.ScriptObject:
    from torch.ao.nn.quantized.dynamic import Linear
    from torch.ao.quantization import per_channel_dynamic_qconfig

    layer = nn.Linear(weight.size(1), weight.size(0), bias=False, device="meta")
    layer.weight = nn.Parameter(weight.detach(), requires_grad=False)
    layer.qconfig = per_channel_dynamic_qconfig
    with warnings.catch_warnings():  # of its successor, a package of its own
        warnings.filterwarnings("ignore", "torch.ao.quantization is deprecated")
        warnings.filterwarnings("ignore", "torch.quantize_per_tensor")
        return Linear.from_float(layer)._packed_params._packed_params


def _check(model: nn.Module) -> None:
    for parameter in model.parameters():
        if parameter.device.type != "cpu" or parameter.dtype != torch.float32:
            raise ValueError(
                f"int8 is for models in float32 on the CPU, not {parameter.dtype} on "
                f"{parameter.device.type}; remove int8 or take the device cpu"
            )
    if torch.backends.quantized.engine == "none":
        raise ValueError("this PyTorch has no int8 kernels; remove int8")
