"""Float32 products of a training on a CPU, by oneDNN where that is quicker.

PyTorch leaves them to MKL, which uses the half of an AMD processor's vector width
(AVX2, where there is AVX-512): oneDNN takes less than half the time. Its convolutions
are quicker with channels last, but not the gradients of their weights. Results differ
by rounding. Under autocast, on other devices and in compiled graphs nothing changes.
"""

import functools
from typing import Any

import torch
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from espnet_smoe.compat import trainer
from espnet_smoe.processes import keep_freed_memory

LEAST_ROWS = 4  # with fewer, reading the weights is what takes the time
STRIDED = torch.contiguous_format
CHANNELS_LAST = torch.channels_last


def train_quickly_on_cpu() -> None:
    """Let ESPnet's trainer do so where it trains without a GPU; idempotent.

    It also keeps the memory that a step has freed for the next one.
    """
    cls = trainer.Trainer
    run = cls.run.__func__
    if hasattr(run, "quick_on_cpu"):
        return

    @functools.wraps(run)
    def run_quickly(
        cls: type, model: nn.Module, *args: Any, trainer_options: Any, **given: Any
    ) -> None:
        if trainer_options.ngpu == 0:
            keep_freed_memory()
            if pays():
                use_onednn(model)
        run(cls, model, *args, trainer_options=trainer_options, **given)

    run_quickly.quick_on_cpu = True
    cls.run = classmethod(run_quickly)


def pays() -> bool:
    """Whether this processor has vectors that MKL leaves half unused."""
    found = torch.cpu.get_capabilities()
    return (
        bool(found.get("avx512_f"))
        and "intel" not in str(found.get("cpu_name", "intel")).lower()
        and torch.backends.mkl.is_available()
        and torch.backends.mkldnn.is_available()
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    )


def use_onednn(model: nn.Module) -> nn.Module:
    """Let the linear layers and 2-D convolutions of a model train by oneDNN.

    Parameters and their names stay. Subclasses of PyTorch's layers stay as they are.

    Args:
        model: Changed in place.

    Returns:
        The model.
    """
    for module in model.modules():
        if type(module) is nn.Linear:
            module.__class__ = _Linear
        elif type(module) is nn.Conv2d and module.padding_mode == "zeros":
            module.__class__ = _Conv2d
        elif type(module) is nn.Conv1d and _is_pointwise(module):
            module.__class__ = _PointwiseConv1d
    return model


class _Linear(nn.Linear):
    """A linear layer by oneDNN."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map ``(..., I)`` to ``(..., O)``."""
        rows = x.numel() // max(1, x.size(-1))
        if rows < LEAST_ROWS or not _takes(x, self.weight):
            return super().forward(x)
        y = _Product.apply(x.reshape(rows, -1), self.weight, self.bias)
        return y.view(*x.shape[:-1], -1)


class _PointwiseConv1d(nn.Conv1d):
    """A convolution of one tap by oneDNN: a linear layer of each frame."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map ``(B, C, T)`` to ``(B, C', T)``."""
        if x.dim() != 3 or x.numel() == 0 or not _takes(x, self.weight):
            return super().forward(x)
        rows = x.transpose(1, 2).reshape(-1, x.size(1))  # (B * T, C)
        y = _Product.apply(rows, self.weight[:, :, 0], self.bias)
        return y.view(len(x), x.size(2), -1).transpose(1, 2)


def _is_pointwise(module: nn.Conv1d) -> bool:
    sizes = *module.kernel_size, *module.stride, module.groups
    return sizes == (1, 1, 1) and module.padding in ((0,), "valid", "same")


class _Conv2d(nn.Conv2d):
    """A convolution by oneDNN, channels last."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map ``(B, C, T, F)`` to ``(B, C', T', F')``."""
        takes = x.dim() == 4 and not isinstance(self.padding, str)
        if not takes or x.numel() == 0 or not _takes(x, self.weight):
            return super().forward(x)
        options = self.stride, self.padding, self.dilation, self.groups
        return _Convolution.apply(x, self.weight, self.bias, *options)


def _takes(x: torch.Tensor, weight: torch.Tensor) -> bool:
    """Whether a product of these is one for here."""
    return (
        x.device.type == weight.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()
    )


def _product(x: torch.Tensor, weight: torch.Tensor, bias: Any = None) -> torch.Tensor:
    """``(N, I)`` and ``(O, I)`` to ``(N, O)``."""
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


class _Product(torch.autograd.Function):
    """``x W^T + b``."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None
    ) -> torch.Tensor:
        ctx.save_for_backward(x, weight)
        return _product(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        of_x, of_weight, of_bias = ctx.needs_input_grad
        return (
            _product(grad, weight.t()) if of_x else None,
            _product(grad.t(), x.t()) if of_weight else None,
            grad.sum(dim=0) if of_bias else None,
        )


class _Convolution(torch.autograd.Function):
    """A 2-D convolution: channels last, but for the gradient of the weights."""

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        *options: Any,
    ) -> torch.Tensor:
        if x.size(1) == 1:  # the same numbers, named otherwise
            x = x.contiguous()[:, 0, :, :, None].permute(0, 3, 1, 2)
        x = x.contiguous(memory_format=CHANNELS_LAST)
        ctx.save_for_backward(x, weight)
        ctx.options = options
        return functional.conv2d(x, weight, bias, *options)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        of_x, of_weight, of_bias = ctx.needs_input_grad[:3]
        found: list[torch.Tensor | None] = [None, None, None]
        if of_x:
            found[0] = _gradients(ctx, grad, x, weight, CHANNELS_LAST, (1, 0, 0))[0]
        if of_weight or of_bias:
            wanted = 0, of_weight, of_bias
            found[1:] = _gradients(ctx, grad, x, weight, STRIDED, wanted)[1:]
        return *found, None, None, None, None


def _gradients(
    ctx: Any,
    grad: torch.Tensor,
    x: torch.Tensor,
    weight: torch.Tensor,
    layout: torch.memory_format,
    wanted: tuple[bool, bool, bool],
) -> tuple[torch.Tensor | None, ...]:
    stride, padding, dilation, groups = ctx.options
    return torch.ops.aten.convolution_backward(
        grad.contiguous(memory_format=layout),
        x.contiguous(memory_format=layout),
        weight,
        [len(weight)],
        stride,
        padding,
        dilation,
        False,
        [0, 0],
        groups,
        [bool(of) for of in wanted],
    )
