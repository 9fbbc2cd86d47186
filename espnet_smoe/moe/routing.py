"""Routing: what one forward pass carries to its mixtures and brings back."""

import logging
from functools import cached_property

import torch
from torch import nn

from espnet_smoe.moe.assignment import Assignment
from espnet_smoe.moe.dense_dispatch import traced
from espnet_smoe.moe.loss import FrameSums


class BatchLabels:
    """The label of each utterance of a batch, read by `Labels`.

    Args:
        numbers: ``(B,)`` in 0..L-1.
        num_labels: L.
    """

    def __init__(self, numbers: torch.Tensor, num_labels: int):
        self.numbers = numbers
        self.num_labels = num_labels

    @cached_property
    def assignment(self) -> Assignment:
        """Every utterance to the expert of its label, the same for all layers."""
        return Assignment(self.numbers, self.num_labels)

    @property
    def order(self) -> torch.Tensor | None:
        """``(B,)`` utterances sorted by label; None where they already are."""
        return self.assignment.order

    def sorted(self) -> "BatchLabels":
        """The labels of the utterances in their `order`."""
        if self.order is None:
            return self
        return BatchLabels(self.numbers.index_select(0, self.order), self.num_labels)


class Routing:
    """One forward pass through an encoder or a decoder, as its mixtures see it.

    Its life: a model makes it (with labels: `Labels.route`) and hands it to the
    encoder's or decoder's ``forward``. That sets `lengths` once its subsampling is
    done, may sort the batch by label (`sort_by_label`) and gives it to every layer;
    each `MoEFeedForward` reads labels or embedding and writes `loads`, `sums` and
    `logits` under its name. The output goes back in the caller's order (`unsort`), and
    the model makes losses and statistics of what was written. Each pass has its own.

    Not a dataclass: FSDP2 makes new ones of those among a module's inputs, and what
    the layers fill in would be lost.

    Args:
        lengths: ``(B,)`` frames of each utterance that are not padding; only
            these count in a load, a loss or a statistic.
        labels: Of the utterances; None where nothing was labelled.
        embedding: ``(N, De)`` output of an embedding network for the frames that are
            not padding, for the gates that read it (see `rows`).

    Attributes:
        embedding_sequence: ``(B, T, De)`` the same with its gradient, for a loss of
            its own; left by an encoder that has an embedding network.
        loads: Filled by the layers: layer name -> ``(E,)`` frames per expert.
        sums: Filled by the layers: layer name -> what its auxiliary losses need.
        logits: Filled by the layers: layer name -> ``(N, E)`` of a learned gate.
    """

    def __init__(
        self,
        lengths: torch.Tensor,
        labels: BatchLabels | None = None,
        embedding: torch.Tensor | None = None,
    ):
        self.lengths = lengths
        self.labels = labels
        self.embedding = embedding
        self._packed = not traced()  # whether `embedding` is without padding
        self.embedding_sequence: torch.Tensor | None = None
        self.loads: dict[str, torch.Tensor] = {}
        self.sums: dict[str, FrameSums | None] = {}
        self.logits: dict[str, torch.Tensor] = {}
        self._inverse_order: torch.Tensor | None = None
        # lengths and width that `index` was asked for last, and its answer
        self._index: tuple[torch.Tensor | None, int, torch.Tensor | None]
        self._index = None, 0, None

    @property
    def losses(self) -> dict[str, dict[str, torch.Tensor]]:
        """Layer name -> auxiliary losses by name, over the frames of this pass."""
        return {name: sums.losses() if sums else {} for name, sums in self.sums.items()}

    def sort_by_label(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Sort a batch by label, once for all layers.

        Each expert's utterances then are one slice of the batch, which a layer takes
        without copying. A traced graph does not sort: it computes every expert on all.

        Args:
            *tensors: ``(B, ...)`` each.

        Returns:
            The tensors in the order of their labels.
        """
        if self.labels is None or traced() or self.labels.order is None:
            return tensors
        order = self.labels.order  # (B,)
        self._inverse_order = torch.argsort(order)
        self.labels = self.labels.sorted()
        self.lengths = self.lengths.index_select(0, order.to(self.lengths.device))
        return tuple(t.index_select(0, order.to(t.device)) for t in tensors)

    def unsort(self, x: torch.Tensor) -> torch.Tensor:
        """Undo `sort_by_label`: ``(B, ...)`` back in the order of the caller."""
        order = self._inverse_order
        return x if order is None else x.index_select(0, order)

    def valid(self, x: torch.Tensor) -> torch.Tensor:
        """Which positions of ``x`` ``(B, T, D)`` are not padding: ``(B, T)``."""
        positions = torch.arange(x.size(1), device=x.device)
        return positions < self.lengths.to(x.device)[:, None]

    def rows(self, x: torch.Tensor) -> torch.Tensor:
        """The frames of ``x`` ``(B, T, D)`` that are not padding: ``(N, D)``."""
        index = self.index(x)
        flat = x.flatten(0, 1)
        return flat if index is None else flat.index_select(0, index)

    def embed(self, e: torch.Tensor) -> None:
        """Keep an embedding ``(B, T, De)`` for the gates."""
        self.embedding, self._packed = self.rows(e), not traced()

    def embedding_of(self, x: torch.Tensor) -> torch.Tensor:
        """The embedding of the rows ``x`` ``(N, D)`` that a gate sees: ``(N, De)``.

        In a traced graph these are all frames, with padding, while the embedding may
        have been made outside of it, where padding is left out.
        """
        if not (traced() and self._packed):
            return self.embedding
        width = x.size(0) // self.lengths.size(0)
        positions = torch.arange(width, device=x.device)
        valid = positions < self.lengths.to(x.device)[:, None]  # (B, T)
        row = (valid.flatten().cumsum(0) - 1).clamp(min=0)
        return self.embedding.index_select(0, row)

    def index(self, x: torch.Tensor) -> torch.Tensor | None:
        """Where the frames of ``x`` ``(B, T, D)`` that are not padding stand.

        Computed once for all layers. Traced graphs treat padding as frames, whose
        number may not shape them, and clear it at the end.

        Returns:
            ``(N,)`` in 0..B*T-1; None where all are frames.
        """
        if traced():
            return None
        lengths, width, index = self._index
        if lengths is not self.lengths or width != x.size(1):
            index = None
            if int(self.lengths.min()) < x.size(1):  # else nothing is copied
                index = self.valid(x).flatten().nonzero()[:, 0]
            self._index = self.lengths, x.size(1), index
        return index


def own_routing(part: nn.Module, routing: Routing) -> Routing:
    """The routing of a pass whose caller gave none, and so will read none.

    In training a warning says, once, that auxiliary losses are lost.

    Args:
        part: The encoder or decoder, with ``loss_weights``.
        routing: Made by the part itself.
    """
    lost = part.training and torch.is_grad_enabled() and part.loss_weights
    if lost and not getattr(part, "warned_of_lost_losses", False):
        part.warned_of_lost_losses = True
        logging.warning(
            "moe: %s: nothing adds the losses of these routers to the training loss; "
            "build the model with ESPnet's task after espnet_smoe.register(), as "
            "'python3 -m espnet_smoe' does, or give %s a routing",
            ", ".join(f"{name}_weight" for name in part.loss_weights),
            type(part).__name__,
        )
    return routing
