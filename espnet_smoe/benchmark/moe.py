"""``espnet-smoe benchmark moe``: a mixture over the dense block of its active size."""

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import nn

from espnet_smoe.benchmark.measure import Sides
from espnet_smoe.benchmark.race import Race
from espnet_smoe.compat import PositionwiseFeedForward
from espnet_smoe.moe import (
    FeedForward,
    LabelGate,
    Labels,
    MoEFeedForward,
    MoEOptions,
)

ROUNDS = 21
DENSE = "ESPnet's dense block"
ONE_LABEL = "one label in the batch"
MIXED = "labels mixed, sorted at the door"
UNSORTED = "labels mixed, sorted in the block"
MASKED = "every expert computed, masked"


@dataclass(frozen=True)
class Sizes:
    """What is timed: the block of one layer, float32."""

    size: int = field(default=512, metadata={"help": "D, width of the model"})
    hidden: int = field(default=2048, metadata={"help": "F, width of an expert"})
    experts: int = field(default=2, metadata={"help": "E"})
    utterances: int = field(default=16, metadata={"help": "B"})
    frames: int = field(default=256, metadata={"help": "T, frames an utterance"})


QUICK = Sizes(size=8, hidden=16, utterances=4, frames=6)


def races(sizes: Sizes) -> list[Race]:
    """Forward alone, and forward and backward."""
    goals = {ONE_LABEL: 1.02, MIXED: 1.06}
    return [
        Race(name, partial(blocks, sizes, backward), DENSE, goals, check=same_outputs)
        for name, backward in (("forward", False), ("forward and backward", True))
    ]


class MaskedLoop(nn.Module):
    """The rival in public code: every expert sees every frame."""

    def __init__(self, experts: nn.ModuleList, chosen: torch.Tensor):
        super().__init__()
        self.experts = experts
        self.chosen = chosen

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map ``(B, T, D)`` to ``(B, T, D)``."""
        out = torch.zeros_like(x)
        for number, expert in enumerate(self.experts):
            mine = (self.chosen == number)[:, None, None]
            out = out + expert(x) * mine
        return out


def blocks(sizes: Sizes, backward: bool) -> Sides:
    """The sides, all with the same weights in every expert.

    Args:
        sizes: Their sizes.
        backward: Time the backward pass too.
    """
    torch.manual_seed(0)
    tokens = [f"<{e}>" for e in range(sizes.experts)]
    labels = Labels(tokens).bind(tokens)
    dense = PositionwiseFeedForward(sizes.size, sizes.hidden, 0.0)
    mixture = MoEFeedForward(
        LabelGate(MoEOptions(labels=tokens), sizes.size),
        lambda: FeedForward(sizes.size, sizes.hidden, 0.0),
        "0",
    )
    for expert in mixture.experts:
        expert.load_state_dict(dense.state_dict())
    x = torch.randn(sizes.utterances, sizes.frames, sizes.size)
    lengths = torch.full((sizes.utterances,), sizes.frames)
    mixed = torch.arange(sizes.utterances) % sizes.experts
    masked = MaskedLoop(mixture.experts, mixed)

    def step(block: nn.Module, *routing: Any) -> torch.Tensor:
        if not backward:
            with torch.inference_mode():
                return block(x, *routing)
        block.zero_grad()
        y = block(x.detach().requires_grad_(), *routing)
        y.backward(x)
        return y.detach()

    def routed(label_ids: torch.Tensor) -> partial:
        return partial(step, mixture, labels.route(label_ids, lengths))

    return {
        DENSE: partial(step, dense),
        ONE_LABEL: routed(torch.zeros_like(mixed)),
        MIXED: routed(mixed.sort()[0]),
        UNSORTED: routed(mixed),
        MASKED: partial(step, masked),
    }


def same_outputs(results: dict[str, torch.Tensor]) -> str:
    """The largest difference to the dense block; the experts have its weights."""
    off = max(float((y - results[DENSE]).abs().max()) for y in results.values())
    return f"largest difference between the outputs {off:.1e}"
