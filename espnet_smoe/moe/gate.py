"""Gates: who decides which expert takes a row.

Each layer has a gate, which maps a batch and its `Routing` to an `Assignment`.
`LabelGate` follows a label that is known beforehand (S-MoE, Eq. 1-3). `TopKGate`
learns to choose for each frame (Switch, U2++ MoE); `SharedEmbeddingGate` looks at an
embedding of the speech as well (SpeechMoE, Eq. 8), `LabelTopKGate` chooses among the
experts of a label (DLG-MoE). A further kind is a class here with a line in `GATES`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import nn

from espnet_smoe.config.options import make, options_of, section
from espnet_smoe.config.typed import Count, OneOf, Rate, Weight
from espnet_smoe.moe.dispatch import Assignment
from espnet_smoe.moe.labels import Labels
from espnet_smoe.moe.loss import LOSSES, FrameSums
from espnet_smoe.moe.router import Router
from espnet_smoe.moe.routing import Routing
from espnet_smoe.moe.static import traced

GATE_NAMES = ("label", "topk", "shared_embedding", "label_topk")


@options_of("")
@dataclass(frozen=True)
class MoEOptions:
    """What a user may write under ``moe`` in ``encoder_conf`` or ``decoder_conf``.

    Attributes:
        gate: Kind of routing, a key of `GATES`: ``label`` (the label's own expert),
            ``topk`` (learned, frame by frame), ``shared_embedding`` (learned, from the
            frame and an embedding network's output) or ``label_topk`` (the label's own
            group of experts, learned inside it).
        num_experts: E; by default one expert a label.
        labels: Special tokens of the token list, expert 0 first.
        top_k: Experts a frame, for learned gates.
        label_embedding: Let the router of ``topk`` see the label as well.
        shared_router: One router for all layers of the same width (Omni-router).
        jitter: In training the router sees its input times a number from
            1 - jitter to 1 + jitter (Switch), 0 for none.
        balance_weight: Weight of the load balancing loss in the training loss.
        importance_weight: Weight of the mean importance loss.
        sparsity_weight: Weight of the sparsity L1 loss.
        z_weight: Weight of the z-loss.
    """

    gate: Annotated[str, OneOf(GATE_NAMES)] = "label"
    num_experts: Count | None = None
    labels: Sequence[str] = ()
    top_k: Count = 1
    label_embedding: bool = False
    shared_router: bool = False
    jitter: Rate = 0.0
    balance_weight: Weight = 0.0
    importance_weight: Weight = 0.0
    sparsity_weight: Weight = 0.0
    z_weight: Weight = 0.0

    @classmethod
    def parse(
        cls, moe: Mapping[str, Any] | None, where: str, labels: Sequence[str]
    ) -> "MoEOptions | None":
        """Read the ``moe`` section of a YAML file.

        Args:
            moe: The section; None means a dense model.
            where: Its place, for error messages, such as ``encoder_conf.moe``.
            labels: Labels to use where the section names none.

        Raises:
            ValueError: Unknown key or gate, or numbers that do not fit together.
        """
        if moe is None:
            return None
        options = make(cls, {"labels": tuple(labels), **section(moe, where)}, where)
        if len(set(options.labels)) < len(options.labels):
            raise ValueError(
                f"{where}.labels: {', '.join(options.labels)}: write each label once"
            )
        problem = GATES[options.gate].fault_of(options)
        if problem:
            raise ValueError(f"{where}: {problem}")
        return options

    @property
    def loss_weights(self) -> dict[str, float]:
        """Weights of the auxiliary losses that are in use, by name."""
        weights = {name: getattr(self, f"{name}_weight") for name in LOSSES}
        return {name: weight for name, weight in weights.items() if weight}


class Gate(nn.Module):
    """Base of all gates.

    Args:
        options: What the user asked for.
        size: D, for gates that look at the frames.
        embedding_size: Width of the embedding network's output, 0 where there is none.
        router: The one that all layers share; None for a router of its own.

    Attributes:
        num_experts: E.
        top_k: Experts a row.
        per_frame: Rows are frames, ``(N, D)`` without padding; else they are
            utterances, ``(B, T, D)``.
    """

    per_frame = False

    def __init__(
        self,
        options: MoEOptions,
        size: int,
        embedding_size: int = 0,
        router: nn.Linear | None = None,
    ):
        super().__init__()
        self.num_experts = options.num_experts or len(options.labels)
        self.top_k = options.top_k
        self.labels = tuple(self.labels_of(options))

    @classmethod
    def fault_of(cls, options: MoEOptions) -> str:
        """What is wrong with the options, and the cure; empty where nothing is."""
        raise NotImplementedError

    @classmethod
    def labels_of(cls, options: MoEOptions) -> Sequence[str]:
        """The labels that the gate reads."""
        return options.labels

    def forward(self, x: torch.Tensor, routing: Routing) -> Assignment:
        """Decide where the rows of ``x`` ``(N, ..., D)`` go."""
        raise NotImplementedError

    def labelled(self, routing: Routing) -> Assignment:
        """Which utterances have which label.

        Raises:
            ValueError: Nobody labelled them.
        """
        if routing.labels is None:
            raise ValueError(
                "no label reached a mixture that is routed by label; give one of "
                f"{', '.join(self.labels)} for each utterance"
            )
        return routing.labels

    def label_of_frames(self, x: torch.Tensor, routing: Routing) -> torch.Tensor:
        """``(N,)`` label of each frame in ``x`` ``(N, D)``, utterance by utterance."""
        labels = self.labelled(routing).experts.to(x.device)  # (B,)
        if traced():  # there the frames of all utterances are as many, with padding
            return labels.repeat_interleave(x.size(0) // labels.size(0))
        return labels.repeat_interleave(routing.lengths.to(x.device))


class LabelGate(Gate):
    """The expert is chosen by a label of the utterance (S-MoE, Eq. 1-3).

    There is nothing to learn and no gating network: the experts are the labels.
    """

    @classmethod
    def fault_of(cls, options: MoEOptions) -> str:
        """One expert a label, and nothing that only a learned gate has."""
        if not options.labels:
            return "'gate: label' needs labels; name one an expert"
        if options.num_experts not in (None, len(options.labels)):
            return (
                f"num_experts is {options.num_experts}, but there are "
                f"{len(options.labels)} labels ({', '.join(options.labels)}); give "
                "one label an expert"
            )
        learned = (options.label_embedding, options.shared_router, options.jitter)
        if options.top_k != 1 or any(learned) or options.loss_weights:
            return (
                "top_k, label_embedding, shared_router, jitter and the weights of "
                "losses belong to a learned gate; remove them or write 'gate: topk'"
            )
        return ""

    def forward(self, x: torch.Tensor, routing: Routing) -> Assignment:
        """The decision made at the door; the content of ``x`` plays no part."""
        labels = self.labelled(routing)
        return labels.traced if traced() else labels


class TopKGate(Gate):
    """A router chooses k experts for each frame, by the frame itself.

    ``logits = W x`` in float32, plus a learned bias of the label with
    ``label_embedding`` (the same as appending a vector of the label to ``x``). With
    k = 1 the output is scaled by the expert's probability (Switch, SpeechMoE), or the
    router would have no gradient; with more, by a softmax over the chosen logits (U2++
    MoE).
    """

    per_frame = True

    def __init__(
        self,
        options: MoEOptions,
        size: int,
        embedding_size: int = 0,
        router: nn.Linear | None = None,
    ):
        super().__init__(options, size)
        self.router = router or new_router(options, size, embedding_size)
        self.of_label = None
        if options.label_embedding:
            self.of_label = nn.Embedding(len(options.labels), self.num_experts)
            nn.init.zeros_(self.of_label.weight)
        self.jitter = options.jitter
        self.losses = tuple(options.loss_weights)

    @classmethod
    def fault_of(cls, options: MoEOptions) -> str:
        """At least as many experts as are chosen."""
        if options.num_experts is None:
            return f"'gate: {options.gate}' needs num_experts"
        if options.top_k > options.num_experts:
            return f"top_k is {options.top_k}; choose 1 to {options.num_experts}"
        if options.label_embedding and not options.labels:
            return "label_embedding needs labels"
        return ""

    @classmethod
    def labels_of(cls, options: MoEOptions) -> Sequence[str]:
        """Only an embedding of the label needs one."""
        return options.labels if options.label_embedding else ()

    @classmethod
    def router_size(cls, size: int, embedding_size: int) -> int:
        """The width of what the router looks at: the frame."""
        return size

    def forward(self, x: torch.Tensor, routing: Routing) -> Assignment:
        """Decide about the frames ``x`` ``(N, D)``."""
        logits = self.logits(x, routing)  # (N, E)
        probabilities = logits.softmax(dim=1)
        weights, chosen = probabilities.topk(self.top_k, dim=1)  # (N, k)
        if self.top_k > 1:  # the same as a softmax over the chosen logits
            weights = weights / weights.sum(dim=1, keepdim=True)
        said = self.losses, logits, probabilities, chosen
        sums = FrameSums.of(*said) if self.training and self.losses else None
        return Assignment.of(chosen, self.num_experts, weights, sums, logits)

    def logits(self, x: torch.Tensor, routing: Routing) -> torch.Tensor:
        """``(N, E)`` in float32, or float64 for a model in float64."""
        x = x.to(self.router.weight.dtype)
        if self.training and self.jitter:
            x = x * torch.empty_like(x).uniform_(1 - self.jitter, 1 + self.jitter)
        with torch.autocast(x.device.type, enabled=False):
            logits = self.router(x)
        if self.of_label is not None:
            logits = logits + self.of_label(self.label_of_frames(x, routing))
        return logits


class SharedEmbeddingGate(TopKGate):
    """The router sees the frame and what an embedding network made of it.

    ``logits = W Concat(e; x)`` (SpeechMoE, Eq. 8); ``e`` is computed once and stands in
    `Routing.embedding` for the gates of all layers.
    """

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


class LabelTopKGate(TopKGate):
    """The label chooses a group of experts, the router inside it (DLG-MoE).

    Experts are shared out evenly: of E experts and L labels the first E / L belong to
    the first label.
    """

    @classmethod
    def fault_of(cls, options: MoEOptions) -> str:
        """Every label has the same number of experts, at least k."""
        fault = super().fault_of(options)
        if fault:
            return fault
        if not options.labels:
            return "'gate: label_topk' needs labels; name one a group of experts"
        if options.num_experts % len(options.labels):
            return (
                f"num_experts is {options.num_experts}; make it a multiple of the "
                f"{len(options.labels)} labels"
            )
        if options.top_k > options.num_experts // len(options.labels):
            return (
                f"top_k is {options.top_k}, but a label has only "
                f"{options.num_experts // len(options.labels)} experts"
            )
        return ""

    @classmethod
    def labels_of(cls, options: MoEOptions) -> Sequence[str]:
        """The label names the group."""
        return options.labels

    def logits(self, x: torch.Tensor, routing: Routing) -> torch.Tensor:
        """``(N, E)``; minus infinity for the experts of other labels."""
        labels = self.label_of_frames(x, routing)  # (N,)
        group_size = self.num_experts // len(self.labels)
        group = torch.arange(self.num_experts, device=x.device) // group_size  # (E,)
        foreign = group != labels[:, None]  # (N, E)
        return super().logits(x, routing).masked_fill(foreign, -torch.inf)


GATES: dict[str, type[Gate]] = {
    "label": LabelGate,
    "topk": TopKGate,
    "shared_embedding": SharedEmbeddingGate,
    "label_topk": LabelTopKGate,
}


def build_gate(
    options: MoEOptions,
    size: int,
    embedding_size: int = 0,
    router: nn.Linear | None = None,
) -> Gate:
    """Make the gate of one layer.

    Args:
        options: What the user asked for.
        size: D.
        embedding_size: Width of the embedding network's output, 0 where there is none.
        router: From `build_router`, for layers that share one.

    Example:
        >>> options = MoEOptions("topk", num_experts=4, top_k=2)
        >>> gate = build_gate(options, size=8)
        >>> gate(torch.zeros(3, 8), Routing(torch.tensor([3]))).weights.shape
        torch.Size([3, 2])
    """
    return GATES[options.gate](options, size, embedding_size, router)


def build_router(
    options: MoEOptions | None, size: int, embedding_size: int = 0
) -> Router | None:
    """The router that all layers share; None where each has its own.

    Args:
        options: What the user asked for; None for a dense model.
        size: D.
        embedding_size: Width of the embedding network's output, 0 where there is none.
    """
    if options is None or not options.shared_router:
        return None
    return new_router(options, size, embedding_size)


def new_router(options: MoEOptions, size: int, embedding_size: int) -> Router:
    """A linear map to the logits of the experts."""
    width = GATES[options.gate].router_size(size, embedding_size)
    return Router(width, options.num_experts, bias=False)


def build_labels(options: MoEOptions | None) -> Labels | None:
    """What reads the labels for all layers; None where no gate asks for one."""
    tokens = GATES[options.gate].labels_of(options) if options else ()
    return Labels(tokens) if tokens else None
