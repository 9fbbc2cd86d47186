"""Gates that learn: a router chooses k experts for each frame (Switch, U2++ MoE).

`TopKGate` reads the frame, `SharedEmbeddingGate` an embedding of the speech as well
(SpeechMoE, Eq. 8); `LabelTopKGate` chooses among the experts of a label (DLG-MoE).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from espnet_smoe.config.options import options_of
from espnet_smoe.config.typed import Count, Rate, Weight
from espnet_smoe.moe.assignment import Assignment
from espnet_smoe.moe.fused import can_choose, choose
from espnet_smoe.moe.gate import Gate, MoEOptions, register_gate
from espnet_smoe.moe.router import Router
from espnet_smoe.moe.routing import Routing

# U2++ MoE's where a section does not say otherwise, as in WeNet
U2PP_DEFAULTS = {"gate": "topk", "num_experts": 8, "top_k": 2}


@options_of("")
@dataclass(frozen=True)
class TopKOptions(MoEOptions):
    """Options of ``gate: topk``.

    Attributes:
        gate: The kind of routing.
        num_experts: E.
        labels: Special tokens of the token list, for ``label_embedding``.
        top_k: Experts a frame.
        label_embedding: Let the router see the label of the utterance as well.
        shared_router: One router for all layers of the same width (Omni-router).
        jitter: In training the router sees its input times a number from
            1 - jitter to 1 + jitter (Switch), 0 for none.
        balance_weight: Weight of the load balancing loss in the training loss.
        importance_weight: Weight of the mean importance loss.
        sparsity_weight: Weight of the sparsity L1 loss.
        z_weight: Weight of the z-loss.
    """

    gate: str = "topk"
    top_k: Count = 1
    label_embedding: bool = False
    shared_router: bool = False
    jitter: Rate = 0.0
    balance_weight: Weight = 0.0
    importance_weight: Weight = 0.0
    sparsity_weight: Weight = 0.0
    z_weight: Weight = 0.0

    def problem(self) -> str:
        """At least as many experts as are chosen."""
        if self.num_experts is None:
            return f"'gate: {self.gate}' needs num_experts"
        if self.top_k > self.num_experts:
            return f"top_k is {self.top_k}; choose 1 to {self.num_experts}"
        if self.label_embedding and not self.labels:
            return "label_embedding needs labels"
        return ""

    @property
    def reads_labels(self) -> bool:
        """Only for an embedding of the label."""
        return self.label_embedding


@register_gate("topk")
class TopKGate(Gate):
    """A router chooses k experts for each frame, by the frame itself.

    ``logits = W x`` in float32, plus a learned bias of the label with
    ``label_embedding`` (the same as appending a vector of the label to ``x``). With
    k = 1 the output is scaled by the expert's probability (Switch, SpeechMoE), or the
    router would have no gradient; with more, by a softmax over the chosen logits (U2++
    MoE).
    """

    Options = TopKOptions
    per_frame = True

    def __init__(
        self,
        options: TopKOptions,
        size: int,
        embedding_size: int = 0,
        router: nn.Module | None = None,
    ):
        super().__init__(options, size)
        self.router = router or self.new_router(options, size, embedding_size)
        self.label_bias = None
        if options.label_embedding:
            self.label_bias = nn.Embedding(len(options.labels), self.num_experts)
            nn.init.zeros_(self.label_bias.weight)  # as if there were no label
        self.jitter = options.jitter
        self.register_load_state_dict_pre_hook(_rename_label_bias)

    @classmethod
    def router_size(cls, size: int, embedding_size: int) -> int:
        """The width of the router's input: the frame."""
        return size

    @classmethod
    def new_router(cls, options: TopKOptions, size: int, embedding_size: int) -> Router:
        """A linear map to the logits of the experts."""
        width = cls.router_size(size, embedding_size)
        return Router(width, options.num_experts, bias=False)

    @classmethod
    def shared_router(
        cls, options: TopKOptions, size: int, embedding_size: int
    ) -> Router | None:
        """One where the options ask for it."""
        if not options.shared_router:
            return None
        return cls.new_router(options, size, embedding_size)

    @property
    def scale_of_copies(self) -> float:
        """With k = 1 the number of experts: at first a probability is 1 / E."""
        return float(self.experts_per_label or self.num_experts) ** (self.top_k == 1)

    def forward(self, x: torch.Tensor, routing: Routing) -> Assignment:
        """Decide about the frames ``x`` ``(N, D)``."""
        logits = self.logits(x, routing)  # (N, E)
        losses = self.training and self.loss_weights
        if not losses and can_choose(logits):  # it keeps no probabilities for losses
            weights, chosen = choose(logits, self.top_k)  # (N, k)
            return Assignment(chosen, self.num_experts, weights, logits)
        probabilities = logits.softmax(dim=1)
        weights, chosen = probabilities.topk(self.top_k, dim=1)  # (N, k)
        if self.top_k > 1:  # the same as a softmax over the chosen logits
            weights = weights / weights.sum(dim=1, keepdim=True)
        sums = self.frame_sums(logits, probabilities, chosen)
        return Assignment(chosen, self.num_experts, weights, logits, sums)

    def logits(self, x: torch.Tensor, routing: Routing) -> torch.Tensor:
        """``(N, E)`` in float32, or float64 for a model in float64."""
        x = x.to(self.router.weight.dtype)
        if self.training and self.jitter:
            x = x * torch.empty_like(x).uniform_(1 - self.jitter, 1 + self.jitter)
        # rounded to bfloat16, close experts would change places
        with torch.autocast(x.device.type, enabled=False):
            logits = self.router(x)
        if self.label_bias is not None:
            logits = logits + self.label_bias(self.frame_labels(x, routing))
        return logits


def _rename_label_bias(
    gate: TopKGate, state: Mapping[str, Any], prefix: str, *_: Any
) -> None:
    """Checkpoints of earlier versions have the bias of the label as ``of_label``."""
    old = f"{prefix}of_label.weight"
    if old in state:
        state[f"{prefix}label_bias.weight"] = state.pop(old)


@options_of("")
@dataclass(frozen=True)
class SharedEmbeddingOptions(TopKOptions):
    """Options of ``gate: shared_embedding``: those of ``topk``."""

    gate: str = "shared_embedding"


@register_gate("shared_embedding")
class SharedEmbeddingGate(TopKGate):
    """The router reads the frame and the output of an embedding network for it.

    ``logits = W Concat(e; x)`` (SpeechMoE, Eq. 8); ``e`` is computed once and stands in
    `Routing.embedding` for the gates of all layers.
    """

    Options = SharedEmbeddingOptions
    reads_embedding = True

    @classmethod
    def router_size(cls, size: int, embedding_size: int) -> int:
        """The width of ``Concat(e; x)``."""
        if not embedding_size:
            raise ValueError(
                "'gate: shared_embedding' needs an encoder with an embedding network, "
                "such as 'encoder: speech_moe' with an 'embedding' section; or take "
                "'gate: topk'"
            )
        return embedding_size + size

    def logits(self, x: torch.Tensor, routing: Routing) -> torch.Tensor:
        """``(N, E)`` from ``x`` ``(N, D)`` and the embedding ``(N, De)``."""
        return super().logits(torch.cat((routing.embedding_of(x), x), 1), routing)


@options_of("")
@dataclass(frozen=True)
class LabelTopKOptions(TopKOptions):
    """Options of ``gate: label_topk``: those of ``topk``, with labels."""

    gate: str = "label_topk"

    def problem(self) -> str:
        """Every label has the same number of experts, at least k."""
        problem = super().problem()
        if problem:
            return problem
        if not self.labels:
            return "'gate: label_topk' needs labels; name one a group of experts"
        if self.num_experts % len(self.labels):
            return (
                f"num_experts is {self.num_experts}; make it a multiple of the "
                f"{len(self.labels)} labels"
            )
        if self.top_k > self.num_experts // len(self.labels):
            return (
                f"top_k is {self.top_k}, but a label has only "
                f"{self.num_experts // len(self.labels)} experts"
            )
        return ""

    @property
    def reads_labels(self) -> bool:
        """The label names the group."""
        return True


@register_gate("label_topk")
class LabelTopKGate(TopKGate):
    """The label chooses a group of experts, the router inside it (DLG-MoE).

    Each label has as many experts as any other: of E experts and L labels the first
    E / L belong to the first label.
    """

    Options = LabelTopKOptions

    @property
    def experts_per_label(self) -> int:
        """The size of a group, E / L."""
        return self.num_experts // len(self.labels)

    def logits(self, x: torch.Tensor, routing: Routing) -> torch.Tensor:
        """``(N, E)``; minus infinity for the experts of other labels."""
        labels = self.frame_labels(x, routing)  # (N,)
        numbers = torch.arange(self.num_experts, device=x.device)
        group = numbers // self.experts_per_label  # (E,)
        foreign = group != labels[:, None]  # (N, E)
        return super().logits(x, routing).masked_fill(foreign, -torch.inf)
