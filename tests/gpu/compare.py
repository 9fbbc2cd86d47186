"""Comparing what two devices computed."""

from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class Precision:
    """How a block is computed.

    Attributes:
        weights: Their type.
        autocast: The type of products, None for that of the weights.
        bound: Of the relative error.
    """

    weights: torch.dtype
    autocast: torch.dtype | None
    bound: float


def assert_close(what: str, got: Any, wanted: Any, bound: float) -> None:
    """Compare tensors, or numbers, by the norm of their difference.

    Args:
        what: They are, for the message.
        got: On any device, in any precision.
        wanted: Of the same shape; where it is all zeros, so must ``got`` be.
        bound: Of the relative error.
    """
    got, wanted = (
        torch.as_tensor(x).detach().to("cpu", torch.float64) for x in (got, wanted)
    )
    assert got.shape == wanted.shape, what
    relative = float((got - wanted).norm() / (wanted.norm() or 1.0))
    assert relative <= bound, f"{what}: off by {relative:.1e}, at most {bound:.0e}"


def assert_all_close(got: dict[str, Any], wanted: dict[str, Any], bound: float) -> None:
    """Compare results by their names."""
    for name, value in got.items():
        assert_close(name, value, wanted[name], bound)


def gradients(module: torch.nn.Module) -> torch.Tensor:
    """Of all parameters, one after the other, on the CPU; zeros for those without."""
    return torch.cat(
        [
            (torch.zeros_like(p) if p.grad is None else p.grad).flatten().cpu().double()
            for p in module.parameters()
        ]
    )
