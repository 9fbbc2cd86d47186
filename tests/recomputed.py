"""How often the layers of a part run in a step."""

from collections.abc import Callable

import torch
from torch import nn


def runs_of(layers: nn.ModuleList, step: Callable[[], torch.Tensor]) -> list[int]:
    """Forward passes of each layer, those of the backward pass included.

    Args:
        layers: Of the part.
        step: Makes a forward pass and returns what is learned from.
    """
    runs = [0] * len(layers)

    def count(number: int) -> Callable:
        return lambda *_: runs.__setitem__(number, runs[number] + 1)

    hooks = [
        layer.register_forward_pre_hook(count(n)) for n, layer in enumerate(layers)
    ]
    step().square().sum().backward()
    for hook in hooks:
        hook.remove()
    return runs
