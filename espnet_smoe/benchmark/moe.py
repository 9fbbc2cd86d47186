"""``espnet-smoe benchmark moe``: a mixture over the dense block of its active size.

Labels first; then learned routing, one expert a frame, whose router counts as part of
the mixture. The baselines are the dense block and the loops of public code.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from espnet_smoe.benchmark.comparison import Comparison, option, quick
from espnet_smoe.benchmark.measure import Sides
from espnet_smoe.compat import PositionwiseFeedForward
from espnet_smoe.moe import (
    FeedForward,
    LabelGate,
    Labels,
    MoEFeedForward,
    MoEOptions,
    Routing,
    TopKGate,
)
from espnet_smoe.moe.dense_dispatch import dense_dispatch
from espnet_smoe.moe.grouped import grouped

ROUNDS = 21
DENSE = "ESPnet's dense block"
ONE_LABEL = "one label in the batch"
MIXED = "labels mixed, sorted in the encoder"
UNSORTED = "labels mixed, sorted in the block"
MASKED = "every expert computed, masked"
LEARNED = "learned mixture"
LOOP = "masked loop over experts, as in WeNet"
SLICES = "a slice of the sorted rows for each expert"
GROUPED = "grouped products"
EVERY = "every expert on every row, as exported"


@dataclass(frozen=True)
class Sizes:
    """What is timed: the block of one layer, float32."""

    size: int = option(512, "D, width of the model", quick=8)
    hidden: int = option(2048, "F, width of an expert", quick=16)
    experts: int = option(2, "E, routed by label")
    few_experts: int = option(8, "E, learned", quick=3)
    many_experts: int = option(32, "E, learned, at most", quick=5)
    utterances: int = option(16, "B", quick=4)
    more_utterances: int = option(64, "B of large batches", quick=6)
    frames: int = option(256, "T, frames an utterance", quick=6)
    chunk: int = option(16, "frames of a streaming chunk", quick=4)


QUICK = quick(Sizes)


def comparisons(sizes: Sizes) -> list[Comparison]:
    """Forward alone, and forward and backward: by label, then learned."""
    goals = {ONE_LABEL: 1.02, MIXED: 1.06}
    by_label = [
        Comparison(
            name, partial(blocks, sizes, backward), DENSE, goals, check=same_outputs
        )
        for name, backward in (("forward", False), ("forward and backward", True))
    ]
    return by_label + beside_dense(sizes) + beside_loop(sizes)


def beside_dense(sizes: Sizes) -> list[Comparison]:
    """Learned mixtures and the dense block: at most so much of its time."""
    few, many = sizes.few_experts, sizes.many_experts
    batch = sizes.utterances, sizes.frames
    large = sizes.more_utterances, sizes.frames
    goals = [
        (few, batch, False, 1.1),
        (few, batch, True, 1.2),
        (few, large, False, 1.05),
        (few, large, True, 1.1),
        (many, large, False, 1.05),
        (many, large, True, 1.15),
    ]
    return [
        Comparison(
            name_of(experts, shape, backward),
            partial(learned, sizes, experts, shape, backward, (DENSE, LEARNED)),
            DENSE,
            {LEARNED: goal},
        )
        for experts, shape, backward, goal in goals
    ]


def beside_loop(sizes: Sizes) -> list[Comparison]:
    """Learned mixtures and the masked loop: at least so many times its speed."""
    few, many = sizes.few_experts, sizes.many_experts
    chunk, large = (1, sizes.chunk), (sizes.more_utterances, sizes.frames)
    goals = [
        (few, chunk, False, 1.25),
        (few, large, True, 1.25),
        (many, large, True, 2.0),
    ]
    return [
        Comparison(
            f"{name_of(experts, shape, backward)}, beside the loop",
            partial(learned, sizes, experts, shape, backward, (LOOP, LEARNED)),
            LOOP,
            {LEARNED: goal},
            faster=True,
            check=same_outputs,
        )
        for experts, shape, backward, goal in goals
    ]


def name_of(experts: int, shape: tuple[int, int], backward: bool) -> str:
    """The name of a comparison of learned mixtures."""
    what = "forward and backward" if backward else "forward"
    return f"{what}, learned, {experts} experts, {shape[0] * shape[1]:,} frames"


class MaskedLoop(nn.Module):
    """The baseline in public code: every expert sees every frame."""

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


class RowLoop(nn.Module):
    """The better baseline, of WeNet: each expert looks for its frames.

    Backward, each expert's reading by index costs a gradient as long as the batch.
    """

    def __init__(self, mixture: MoEFeedForward):
        super().__init__()
        self.router = mixture.gate.router
        self.experts = mixture.experts

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map ``(B, T, D)`` to ``(B, T, D)``."""
        rows = x.flatten(0, 1)  # (N, D)
        weights, chosen = self.router(rows).softmax(dim=1).topk(1, dim=1)  # (N, 1)
        out = torch.zeros_like(rows)
        for number, expert in enumerate(self.experts):
            mine, nth = torch.where(chosen == number)
            out[mine] += weights[mine, nth, None] * expert(rows[mine])
        return out.view_as(x)


class Unpadded(nn.Module):
    """A learned mixture behind the call of a dense block."""

    def __init__(self, mixture: MoEFeedForward):
        super().__init__()
        self.mixture = mixture

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map ``(B, T, D)`` to ``(B, T, D)``, all frames speech."""
        return self.mixture(x, Routing(torch.full((x.size(0),), x.size(1))))


class Slice(FeedForward):
    """An expert that no grouped product takes: it is computed apart from the others."""


class Slices(Unpadded):
    """The mixture with a slice of the sorted rows for each expert."""

    def __init__(self, mixture: MoEFeedForward):
        super().__init__(mixture)
        for expert in mixture.experts:
            expert.__class__ = Slice


class Grouped(Unpadded):
    """All experts in two grouped products, whatever the precision."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map ``(B, T, D)`` to ``(B, T, D)``."""
        flat = x.flatten(0, 1)  # (N, D)
        chosen = self.mixture.gate(flat, Routing(torch.tensor([len(flat)])))
        return grouped(flat, chosen, self.mixture.experts).view(*x.shape[:2], -1)


class EveryExpert(Unpadded):
    """What an exported graph computes: all experts on all rows."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map ``(B, T, D)`` to ``(B, T, D)``."""
        flat = x.flatten(0, 1)  # (N, D)
        chosen = self.mixture.gate(flat, Routing(torch.tensor([len(flat)])))
        y = dense_dispatch(flat, chosen, self.mixture.experts)
        return y.view(*x.shape[:2], -1)


MAKE: dict[str, Callable[[MoEFeedForward], nn.Module]] = {
    LEARNED: Unpadded,
    LOOP: RowLoop,
    SLICES: Slices,
    GROUPED: Grouped,
    EVERY: EveryExpert,
}


def blocks(sizes: Sizes, backward: bool) -> Sides:
    """The sides routed by label, all with the same weights in every expert.

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

    def routed(label_ids: torch.Tensor) -> Callable[[], torch.Tensor]:
        return partial(step, x, backward, mixture, labels.route(label_ids, lengths))

    return {
        DENSE: partial(step, x, backward, dense),
        ONE_LABEL: routed(torch.zeros_like(mixed)),
        MIXED: routed(mixed.sort()[0]),
        UNSORTED: routed(mixed),
        MASKED: partial(step, x, backward, masked),
    }


def learned(
    sizes: Sizes,
    num_experts: int,
    shape: tuple[int, int],
    backward: bool,
    sides: Sequence[str],
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Sides:
    """The sides that are asked for; those with experts have weights of the same values.

    No two share their memory: each reads its own from where the others have driven it,
    as the layers of a model do.

    Args:
        sizes: D and F.
        num_experts: E.
        shape: B and T; no frame is padding.
        backward: Time the backward pass too.
        sides: Their names, keys of `MAKE`, or of `DENSE`.
        device: Where they are.
        dtype: Of weights and frames.
    """
    torch.manual_seed(0)
    size, hidden = sizes.size, sizes.hidden
    with torch.device(device):
        x = torch.randn(*shape, size, dtype=dtype)
        gate = TopKGate(MoEOptions("topk", num_experts), size)
        mixture = MoEFeedForward(gate, lambda: FeedForward(size, hidden), "0")
        mixture = mixture.to(dtype)
        dense = PositionwiseFeedForward(size, hidden, 0.0).to(dtype)
    made = {
        name: dense if name == DENSE else MAKE[name](copy.deepcopy(mixture))
        for name in sides
    }
    return {name: partial(step, x, backward, block) for name, block in made.items()}


def step(
    x: torch.Tensor, backward: bool, block: nn.Module, *routing: Routing
) -> torch.Tensor:
    """One pass through a block, or one there and back."""
    if not backward:
        with torch.inference_mode():
            return block(x, *routing)
    block.zero_grad()
    y = block(x.detach().requires_grad_(), *routing)
    y.backward(x)
    return y.detach()


def same_outputs(results: Mapping[str, torch.Tensor]) -> str:
    """The largest difference to the baseline, whose weights are the same."""
    baseline = next(iter(results.values()))
    off = max(float((y - baseline).abs().max()) for y in results.values())
    return f"the outputs differ by {off:.1e} at most"
