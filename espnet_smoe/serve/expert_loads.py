"""Rows that each expert of a model is given, counted while it serves."""

import threading
from functools import partial
from typing import Any

import torch
from torch import nn

from espnet_smoe.moe import Gate, MoEFeedForward, Routing


class ExpertLoads:
    """Rows that each expert of a model was given since the beginning.

    Args:
        model: With mixtures, or none.
    """

    def __init__(self, model: nn.Module):
        self._sums: dict[str, torch.Tensor] = {}
        # streams and recordings have threads of their own
        self._lock, self._thread = threading.Lock(), threading.local()
        for name, module in model.named_modules():
            if isinstance(module, MoEFeedForward):
                # a layer may be called without its routing, a gate is not
                module.gate.register_forward_pre_hook(self._note)
                module.register_forward_hook(partial(self._add, name))

    def loads(self) -> dict[str, list[float]]:
        """Rows of each expert, by layer."""
        with self._lock:
            return {name: loads.tolist() for name, loads in self._sums.items()}

    def _note(self, gate: Gate, args: tuple[Any, Routing]) -> None:
        self._thread.routing = args[1]

    def _add(self, name: str, module: MoEFeedForward, *_: Any) -> None:
        loads = self._thread.routing.loads[module.name]
        with self._lock:  # on the device of the model: nothing waits for it
            before = self._sums.get(name)
            loads = loads.detach().double()
            self._sums[name] = loads if before is None else before + loads
