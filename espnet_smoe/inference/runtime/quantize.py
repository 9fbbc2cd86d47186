"""int8 weights for inference on a CPU: a quarter of the memory to read.

A chunk of a stream has few rows, so the time goes into reading weights. They are kept
as int8, with a scale for each output; the rows are rounded when they come (dynamic
quantisation), by the range of the rows that a layer or an expert gets together. So
results differ a little with what shares a batch.
"""

import warnings

import torch
from torch import nn

from espnet_smoe.inference.runtime.linear_layers import replace_linear
from espnet_smoe.moe import FeedForward


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
        >>> type(block[0].w_1).__module__
        'torch.ao.nn.quantized.dynamic.modules.linear'
    """
    _check(model)
    if not any(isinstance(m, FeedForward) for m in model.modules()):
        raise ValueError("int8: none of the model's classes is of espnet_smoe")
    replace_linear(model, _int8)  # no subclass: somebody wants its weights
    return model


def _int8(layer: nn.Linear) -> nn.Module:
    from torch.ao.nn.quantized.dynamic import Linear
    from torch.ao.quantization import per_channel_dynamic_qconfig

    layer.qconfig = per_channel_dynamic_qconfig
    with warnings.catch_warnings():  # of its successor, a package of its own
        warnings.filterwarnings("ignore", "torch.ao.quantization is deprecated")
        warnings.filterwarnings("ignore", "torch.quantize_per_tensor")
        return Linear.from_float(layer)


def _check(model: nn.Module) -> None:
    for parameter in model.parameters():
        if parameter.device.type != "cpu" or parameter.dtype != torch.float32:
            raise ValueError(
                f"int8 is for models in float32 on the CPU, not {parameter.dtype} on "
                f"{parameter.device.type}; remove int8 or take the device cpu"
            )
    if torch.backends.quantized.engine == "none":
        raise ValueError("this PyTorch has no int8 kernels; remove int8")
