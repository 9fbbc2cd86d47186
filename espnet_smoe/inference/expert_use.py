"""Which experts of a model an utterance went to: those of its labels, or a router's."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

import torch
from torch import nn

from espnet_smoe.moe import Assignment, Gate, LabelGate, MoEFeedForward, Routing

PARTS = ("encoder", "decoder")


@dataclass(frozen=True)
class ExpertUse:
    """The experts of a layer that an utterance went to.

    Attributes:
        layer: Its name; ``encoder`` or ``decoder`` where a label chooses the same
            expert in all layers.
        experts: How many there are.
        chosen: Expert of each encoder frame, one after the other over the utterance;
            of several the one with the largest weight. A single one where a label
            chooses for all frames.
        label: That chooses; None where a router does.
        task: Whose text the decoder writes; None in the encoder.
    """

    layer: str
    experts: int
    chosen: tuple[int, ...]
    label: str | None = None
    task: str | None = None


class ExpertWatch:
    """Sees where the utterances go that are encoded within its block.

    Threads that use the model beside it are not seen. Of a decoder only experts that a
    label chooses are told.

    Args:
        model: With an encoder; it is given hooks, which stay.
    """

    def __init__(self, model: nn.Module):
        self._thread = threading.local()
        self._decoder = _decoder_uses(model)
        for layer in mixtures_by_part(model).get("encoder", ()):
            layer.gate.register_forward_hook(partial(self._add, layer.name))

    def __enter__(self) -> Self:
        self._thread.uses, self._thread.looks = {}, True
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.looks = False

    def uses_of(self, number: int, task: str) -> tuple[ExpertUse, ...]:
        """What this thread's last block has seen.

        Args:
            number: Of the utterance, in the order of the batch.
            task: Whose text was written.
        """
        seen = [of_layer[number] for of_layer in self._thread.uses.values()]
        encoder = {use.layer: use for use in seen}  # label gates: one for all layers
        decoder = self._decoder.get(task)
        return (*encoder.values(), *([decoder] if decoder else []))

    def _add(
        self, name: str, gate: Gate, args: tuple[Any, Routing], found: Assignment
    ) -> None:
        if not getattr(self._thread, "looks", False):
            return
        routing = args[1]
        first = found.experts[:, 0].cpu()  # (N,) of frames, or (B,) of utterances
        sizes = routing.lengths.tolist() if gate.per_frame else [1] * len(first)
        rows = [tuple(row.tolist()) for row in first.split(sizes)]
        numbers = torch.arange(len(rows), device=found.experts.device)
        by_label = isinstance(gate, LabelGate)
        self._thread.uses.setdefault(name, []).extend(
            ExpertUse(
                "encoder" if by_label else name,
                found.num_experts,
                rows[i],
                _plain(gate.labels[rows[i][0]]) if by_label else None,
            )
            for i in routing.unsort(numbers).tolist()
        )


def _decoder_uses(model: nn.Module) -> Mapping[str, ExpertUse]:
    """The expert that the decoder's label gates give to each task."""
    own = own_experts(model).get("decoder", {})
    names = model.decoder.labels.names if own else ()
    return {
        task: ExpertUse("decoder", len(names), (n,), _plain(names[n]), task)
        for task, n in own.items()
    }


def _plain(label: str) -> str:
    """A label without the signs of a special token."""
    return "|".join(token.strip("<|>") for token in label.split(">|<"))


def mixtures_by_part(model: nn.Module) -> dict[str, list[MoEFeedForward]]:
    """The mixtures of each part of a model that has any, of two experts at least."""
    found = {
        part: [m for m in getattr(model, part).modules() if _is_mixture(m)]
        for part in PARTS
        if getattr(model, part, None) is not None
    }
    return {part: layers for part, layers in found.items() if layers}


def _is_mixture(module: nn.Module) -> bool:
    return isinstance(module, MoEFeedForward) and len(module.experts) > 1


def own_experts(model: nn.Module) -> dict[str, dict[str, int]]:
    """The expert that a label gate gives to each group, by part; others are left out.

    A group is a bandwidth in the encoder and a task in the decoder.
    """
    own, tasks = {}, getattr(model, "tasks", {})
    for part, layers in mixtures_by_part(model).items():
        if not all(isinstance(layer.gate, LabelGate) for layer in layers):
            continue
        labels = getattr(model, part).labels
        if not labels.number_of_token.numel():  # nobody has told it the tokens
            continue
        if part == "encoder":
            groups = {t[1:-1]: [labels.token_list.index(t)] for t in labels.tokens}
        else:
            groups = {name: task.prompt for name, task in tasks.items()}
        numbers = {group: labels.number_of(ids) for group, ids in groups.items()}
        own[part] = {group: n for group, n in numbers.items() if n is not None}
    return own
