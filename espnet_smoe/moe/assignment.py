"""Assignment: the experts that a gate has chosen for each row."""

from dataclasses import dataclass
from functools import cached_property

import torch

from espnet_smoe.moe.loss import FrameSums


@dataclass(frozen=True)
class Assignment:
    """Which experts each row goes to, k of them.

    A row is whatever the gate decides about: an utterance for a label, a frame for a
    learned gate. What dispatching needs beside the choice is computed when it is first
    asked for, so that a graph that is traced, where it is not needed, does without.

    Attributes:
        experts: ``(N, k)`` experts of each row, in 0..E-1; ``(N,)`` where k is 1.
        num_experts: E.
        weights: ``(N, k)`` weight of each chosen expert's output; None where the
            output of the one expert is taken as it is.
        logits: ``(N, E)`` of a router; None without one.
        sums: What the auxiliary losses need of the rows; None without such losses.

    Example:
        >>> Assignment(torch.tensor([1, 0, 1]), 2).counts
        [1, 2]
    """

    experts: torch.Tensor
    num_experts: int
    weights: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    sums: FrameSums | None = None

    def __post_init__(self) -> None:
        if self.experts.dim() == 1:
            object.__setattr__(self, "experts", self.experts[:, None])

    @property
    def top_k(self) -> int:
        """k."""
        return self.experts.size(1)

    @property
    def losses(self) -> dict[str, torch.Tensor]:
        """The auxiliary losses of these rows, by name."""
        return {} if self.sums is None else self.sums.losses()

    @cached_property
    def loads(self) -> torch.Tensor:
        """``(E,)`` rows of each expert; they sum to N * k."""
        chosen = self.experts.flatten()
        loads = chosen.new_zeros(self.num_experts)
        return loads.scatter_add_(0, chosen, torch.ones_like(chosen))

    def set_loads(self, loads: torch.Tensor) -> None:
        """Take `loads` from a kernel that has counted anyway."""
        self.__dict__["loads"] = loads

    @cached_property
    def counts(self) -> list[int]:
        """`loads` on the host."""
        return self.loads.tolist()

    @cached_property
    def order(self) -> torch.Tensor | None:
        """``(N * k,)`` choices sorted by expert; None where they already are."""
        chosen = self.experts.flatten()
        # a router's choices never come sorted; to look would make a GPU's host wait
        if self.weights is None and bool((chosen[1:] >= chosen[:-1]).all()):
            return None
        return torch.argsort(chosen, stable=True)
