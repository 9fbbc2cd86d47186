"""Routing: what one forward pass carries to its mixtures and brings back."""

from dataclasses import dataclass, field

import torch

from espnet_smoe.moe.dispatch import Assignment


@dataclass
class Routing:
    """One forward pass, as its mixtures see it.

    Attributes:
        lengths: ``(B,)`` frames of each utterance that are not padding; only
            these count in a load, a loss or a statistic.
        assignment: Share of each expert where a label decided for the whole
            utterance; None where each layer decides for itself.
        loads: Filled by the layers: layer name -> ``(E,)`` frames per expert.
        losses: Filled by the layers: layer name -> auxiliary losses by name.
    """

    lengths: torch.Tensor
    assignment: Assignment | None = None
    loads: dict[str, torch.Tensor] = field(default_factory=dict)
    losses: dict[str, dict[str, torch.Tensor]] = field(default_factory=dict)

    def enter(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Sort a batch by expert once, at the door, for every layer behind it.

        Args:
            *tensors: ``(B, ...)`` each.

        Returns:
            The tensors in the order of their experts.
        """
        if self.assignment is None or self.assignment.order is None:
            return tensors
        order, self._restore = self.assignment.order, self.assignment.restore
        self.assignment = self.assignment.sorted
        self.lengths = self.lengths.index_select(0, order.to(self.lengths.device))
        return tuple(t.index_select(0, order.to(t.device)) for t in tensors)

    def leave(self, x: torch.Tensor) -> torch.Tensor:
        """Undo `enter`: ``(B, ...)`` back in the order of the caller."""
        return x if self._restore is None else x.index_select(0, self._restore)

    def add_load(self, layer: str, counts: list[int]) -> None:
        """Note the frames that each expert's utterances bring to a layer."""
        shares = self.lengths.split(counts)
        self.loads[layer] = torch.stack([share.sum() for share in shares])

    _restore: torch.Tensor | None = field(default=None, repr=False)
