"""What a gate is, its options, and the table of gates by their YAML names.

A layer's gate turns its input and the `Routing` of the pass into an `Assignment`. The
gates that come with the package are in ``label_gate.py`` and ``topk_gate.py``; a
further one is a subclass of `Gate` with `register_gate` above it, anywhere.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Annotated, Any, TypeVar

import torch
from torch import nn

from espnet_smoe.config.options import make, options_of, section
from espnet_smoe.config.typed import Count, OneOf, convert
from espnet_smoe.moe.assignment import Assignment
from espnet_smoe.moe.dense_dispatch import traced
from espnet_smoe.moe.labels import Label, Labels, entries_of, name_of
from espnet_smoe.moe.loss import LOSSES, FrameSums
from espnet_smoe.moe.routing import BatchLabels, Routing

GATES: "dict[str, type[Gate]]" = {}


@options_of("")
@dataclass(frozen=True)
class MoEOptions:
    """What every gate lets a user write under ``moe`` in ``encoder_conf`` and so on.

    Each gate has a subclass with what it has beyond this; `MoEOptions` with the name
    of a gate makes the options of that gate.

    Attributes:
        gate: Kind of routing, a key of `GATES`: ``label`` (the label's own expert),
            ``topk`` (learned, frame by frame), ``shared_embedding`` (learned, from the
            frame and an embedding network's output) or ``label_topk`` (the label's own
            group of experts, learned inside it).
        num_experts: E; by default one expert a label.
        labels: Special tokens of the token list, expert 0 first. Several share an
            expert as a list, ``[["<asr>"], ["<st_eng>", "<st_kor>"]]``, or by a
            pattern, ``["<asr>", "<st_*>"]``.

    Example:
        >>> MoEOptions("topk", num_experts=4, top_k=2).top_k
        2
    """

    gate: str = "label"
    num_experts: Count | None = None
    labels: Sequence[Label] = ()

    def __new__(cls, gate: str = "label", *_: Any, **__: Any) -> "MoEOptions":
        """The options of the gate; a subclass makes its own."""
        # callers name a gate as YAML does, and need not know the class of its options
        return object.__new__(gate_class(gate).Options if cls is MoEOptions else cls)

    @classmethod
    def parse(
        cls,
        moe: Mapping[str, Any] | None,
        where: str,
        labels: Sequence[Label] | None = None,
        **defaults: Any,
    ) -> "MoEOptions | None":
        """Read the ``moe`` section of a YAML file.

        Args:
            moe: The section; None means a dense model.
            where: Its place, for error messages, such as ``encoder_conf.moe``.
            labels: Labels to use where the section names none; None where nothing
                brings labels to these gates.
            **defaults: Options to use where the section has none; those that the gate
                does not know are left out.

        Raises:
            ValueError: Unknown key or gate, numbers that do not fit together, or a gate
                that reads labels where there are none.
        """
        if moe is None:
            return None
        given = section(moe, where)
        name = given.get("gate", defaults.get("gate", cls.gate))
        kind = gate_class(name, f"{where}.gate").Options
        known = {field.name for field in fields(kind)}
        defaults = {k: v for k, v in defaults.items() if k in known}
        # so that a file can go from one gate to another by one word
        given = _without_foreign(given, kind, where)
        values = {**defaults, "labels": tuple(labels or ()), **given, "gate": name}
        options = make(kind, values, where)
        if labels is None and (options.labels or options.reads_labels):
            raise ValueError(
                f"{where}: experts are chosen here by frame, not by label; remove "
                "labels and label_embedding and write 'gate: topk'"
            )
        entries = [entry for label in options.labels for entry in entries_of(label)]
        if len({*entries}) < len(entries):
            raise ValueError(
                f"{where}.labels: {', '.join(entries)}: write each label once"
            )
        if not all(map(entries_of, options.labels)):
            raise ValueError(
                f"{where}.labels: one of them is empty; name a token in it"
            )
        problem = options.problem()
        if problem:
            raise ValueError(f"{where}: {problem}")
        return options

    def problem(self) -> str:
        """What is wrong with the options, and the cure; empty where nothing is."""
        return ""

    @property
    def reads_labels(self) -> bool:
        """Whether the gate reads the label of an utterance."""
        return False

    @property
    def loss_weights(self) -> dict[str, float]:
        """Weights of the auxiliary losses that are in use, by name.

        They are the options ``<loss>_weight``, ``<loss>`` a key of `LOSSES`.
        """
        weights = {name: getattr(self, f"{name}_weight", 0.0) for name in LOSSES}
        return {name: weight for name, weight in weights.items() if weight}


class Gate(nn.Module):
    """Base of all gates.

    A subclass has `Options` of its own and decides in `forward`.

    Args:
        options: What the user asked for.
        size: D, for gates that look at the frames.
        embedding_size: Width of the embedding network's output, 0 where there is none.
        router: The one that all layers share; None for a router of its own.

    Attributes:
        Options: The dataclass of the gate's options.
        num_experts: E.
        top_k: Experts a row.
        labels: Those that the gate reads; none where it reads no label.
        loss_weights: Weights of the auxiliary losses in use, by name.
        per_frame: Rows are frames, ``(N, D)`` without padding; else they are
            utterances, ``(B, T, D)``.
        reads_embedding: It needs the output of an embedding network.
    """

    Options: type[MoEOptions] = MoEOptions
    per_frame = False
    reads_embedding = False

    def __init__(
        self,
        options: MoEOptions,
        size: int,
        embedding_size: int = 0,
        router: nn.Module | None = None,
    ):
        super().__init__()
        self.num_experts = options.num_experts or len(options.labels)
        self.top_k = getattr(options, "top_k", 1)
        names = tuple(map(name_of, options.labels))
        self.labels = names if options.reads_labels else ()
        self.loss_weights = options.loss_weights

    @classmethod
    def shared_router(
        cls, options: MoEOptions, size: int, embedding_size: int
    ) -> nn.Module | None:
        """The router that all layers share; None where each gate has its own."""
        return None

    @property
    def scale_of_copies(self) -> float:
        """What equal experts are multiplied by, so that the mixture is one of them.

        1, unless the gate scales what comes of them even where it decides nothing yet.
        """
        return 1.0

    @property
    def experts_per_label(self) -> int | None:
        """Experts that a label has for itself; None where no label owns experts."""
        return None

    def forward(self, x: torch.Tensor, routing: Routing) -> Assignment:
        """Decide where the rows of ``x`` ``(N, ..., D)`` go."""
        raise NotImplementedError

    def frame_sums(
        self, logits: torch.Tensor, probabilities: torch.Tensor, chosen: torch.Tensor
    ) -> FrameSums | None:
        """What the auxiliary losses need, for `Assignment.sums`; None without losses.

        Args:
            logits: ``(N, E)``, frames that are not padding.
            probabilities: ``(N, E)``.
            chosen: ``(N, k)`` experts.
        """
        if not (self.training and self.loss_weights):
            return None
        return FrameSums.of(tuple(self.loss_weights), logits, probabilities, chosen)

    def require_labels(self, routing: Routing) -> BatchLabels:
        """The labels of the utterances.

        Raises:
            ValueError: Nobody labelled them.
        """
        if routing.labels is None:
            raise ValueError(
                "no label reached a mixture that is routed by label; give one of "
                f"{', '.join(self.labels)} for each utterance"
            )
        return routing.labels

    def frame_labels(self, x: torch.Tensor, routing: Routing) -> torch.Tensor:
        """``(N,)`` label of each frame in ``x`` ``(N, D)``, utterance by utterance."""
        labels = self.require_labels(routing).numbers.to(x.device)  # (B,)
        if traced():  # there the frames of all utterances are as many, with padding
            return labels.repeat_interleave(x.size(0) // labels.size(0))
        return labels.repeat_interleave(routing.lengths.to(x.device))


GateClass = TypeVar("GateClass", bound=type[Gate])


def register_gate(name: str) -> Callable[[GateClass], GateClass]:
    """Give a gate the name that a YAML file calls it by: ``moe: {gate: <name>}``.

    Args:
        name: Not taken by another gate.

    Returns:
        A decorator of a subclass of `Gate`.

    Raises:
        ValueError: The name is taken.
    """

    def add(gate: GateClass) -> GateClass:
        present = GATES.setdefault(name, gate)
        if present is not gate:
            raise ValueError(
                f"the gate '{name}' is already {present.__module__}."
                f"{present.__qualname__}; give yours another name"
            )
        return gate

    return add


def gate_class(name: Any, where: str = "gate") -> type[Gate]:
    """The gate of a name.

    Args:
        name: A key of `GATES`.
        where: The name's place, for the error message.

    Raises:
        ValueError: There is none; names the nearest.
    """
    try:
        return GATES[convert(name, Annotated[str, OneOf(GATES)], where)]
    except ValueError as error:
        raise ValueError(
            f"{error}; for a gate of your own name its module in ESPNET_SMOE_PLUGINS"
        ) from error


def build_gate(
    options: MoEOptions,
    size: int,
    embedding_size: int = 0,
    router: nn.Module | None = None,
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
) -> nn.Module | None:
    """The router that all layers share; None where each has its own.

    Args:
        options: What the user asked for; None for a dense model.
        size: D.
        embedding_size: Width of the embedding network's output, 0 where there is none.
    """
    if options is None:
        return None
    return GATES[options.gate].shared_router(options, size, embedding_size)


def build_labels(options: MoEOptions | None) -> Labels | None:
    """What reads the labels for all layers; None where no gate asks for one."""
    if options is None or not options.reads_labels:
        return None
    return Labels(options.labels)


def _without_foreign(
    given: Mapping[str, Any], kind: type[MoEOptions], where: str
) -> dict[str, Any]:
    """A section without what only other gates have, as long as it changes nothing.

    Raises:
        ValueError: It would change something there.
    """
    own = {field.name for field in fields(kind)}
    kept = dict(given)
    for key, value in given.items():
        owners = {
            name: field.default
            for name, gate in GATES.items()
            for field in fields(gate.Options)
            if field.name == key
        }
        if key in own or not owners:
            continue
        if value not in owners.values():
            raise ValueError(
                f"{where}: {key} belongs to the gates {', '.join(owners)}; remove it "
                f"or write 'gate: {next(iter(owners))}'"
            )
        del kept[key]
    return kept
