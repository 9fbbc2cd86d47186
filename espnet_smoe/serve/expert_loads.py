"""Rows that each expert of a model is given, counted while it serves."""

import threading
from functools import partial
from typing import Any

import torch
from torch import nn

from espnet_smoe.moe import MoEFeedForward


class ExpertLoads:
    """Rows that each expert of a model was given since the beginning.

    Args:
        model: With mixtures, or none.
    """

    def __init__(self, model: nn.Module):
        self._sums: dict[str, torch.Tensor] = {}
        self._lock = (
            threading.Lock()
        )  # streams and recordings have threads of their own
        for name, module in model.named_modules():
            if isinstance(module, MoEFeedForward):
                count = partial(self._add, name)
                module.register_forward_hook(count, with_kwargs=True)

    def loads(self) -> dict[str, list[float]]:
        """Rows of each expert, by layer."""
        with self._lock:
            return {name: loads.tolist() for name, loads in self._sums.items()}

    def _add(
        self, name: str, module: MoEFeedForward, args: Any, kwargs: Any, _: Any
    ) -> None:
        routing = kwargs.get("routing", args[1] if len(args) > 1 else None)
        loads = None if routing is None else routing.loads.get(module.name)
        if loads is None:
            return
        with self._lock:  # on the device of the model: nothing waits for it
            before = self._sums.get(name)
            loads = loads.detach().double()
            self._sums[name] = loads if before is None else before + loads
