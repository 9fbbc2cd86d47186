"""Upcycling: a trained model's feed-forward blocks become experts, or become wider.

Every expert of a block starts as a copy of the dense block, so that the mixture
computes at first what the dense model did. S-MoE's fine-tuning begins this way (Section
3.2). With the gates of the mixture at hand that holds for learned ones, too: a router
with k = 1 scales its expert's output by a probability, which the copies make up for.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import nn

from espnet_smoe.moe.feed_forward import MoEFeedForward
from espnet_smoe.moe.gate import Gate
from espnet_smoe.moe.router import Router
from espnet_smoe.moe.widen import grows_to, widen

_EXPERT = re.compile(r"(?P<block>.+)\.experts\.(?P<number>\d+)\.(?P<rest>.+)")
_GATE = re.compile(r"(?P<block>.+)\.gate\.(?P<rest>.+)")
# Of routers whose probability scales the output: so small that all experts are as
# likely, so large that float32 still tells which of them a frame likes best.
ROUTER_STD = 1e-6
LISTED = 10  # faults in a message


@dataclass
class Upcycled:
    """What became of a checkpoint.

    Attributes:
        state: The mixture's weights; those of `new` are not among them.
        copied: Block of the mixture -> numbers of the experts that start from a block
            of the trained model.
        widened: Blocks that have more hidden units than the trained model's.
        kept: Tensors taken over as they are.
        new: Tensors that the trained model has no counterpart of, such as a router's.
        drawn: Routers that are drawn here, see `ROUTER_STD`.
        rerouted: Mixtures of the trained model whose experts get a new router, another
            ``top_k``, or for a kept router another order of labels: they no longer
            compute what they did.
    """

    state: dict[str, torch.Tensor] = field(default_factory=dict)
    copied: dict[str, list[int]] = field(default_factory=dict)
    widened: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    new: list[str] = field(default_factory=list)
    drawn: list[str] = field(default_factory=list)
    rerouted: list[str] = field(default_factory=list)

    def describe(self) -> str:
        """A line a block, and counts."""
        lines = [
            f"{block} -> experts {', '.join(map(str, experts))}"
            for block, experts in self.copied.items()
        ]
        if self.widened:
            lines.append(f"made wider: {', '.join(self.widened)}")
        lines.append(f"as they are: {len(self.kept)} tensors")
        if self.drawn:
            lines.append(f"drawn near zero: {', '.join(self.drawn)}")
        if self.new:
            lines.append(f"left to their initialisation: {', '.join(self.new)}")
        if self.rerouted:
            lines.append(
                "trained experts are chosen in another way (router, top_k, labels), so "
                "that the outputs are others than those of the trained model: "
                f"{', '.join(self.rerouted)}"
            )
        return "\n".join(lines)


def gates_of(model: nn.Module) -> dict[str, Gate]:
    """The gates of a model by the names of their blocks."""
    return {
        name: module.gate
        for name, module in model.named_modules()
        if isinstance(module, MoEFeedForward)
    }


def upcycle(
    dense: Mapping[str, torch.Tensor],
    mixture: Mapping[str, torch.Tensor],
    gates: Mapping[str, Gate] | None = None,
    trained_gates: Mapping[str, Gate] | None = None,
    noise: float = 0.0,
    seed: int = 0,
    fresh: Iterable[str] = (),
) -> Upcycled:
    """Make a mixture's weights from a trained model's.

    A block that is a mixture in both, with as many experts, is taken over as it is; of
    labels, each expert goes where its label is, and becomes all experts of the label's
    group where that has several (DLG-MoE). A block with more hidden units than the
    trained one computes the same (`widen`).

    Args:
        dense: State of the trained model.
        mixture: State of the model to begin; only names and shapes are read, so
            it may lie on the meta device.
        gates: Of the mixture, from `gates_of`; without them a mixture whose gates scale
            what comes of their experts does not compute the same.
        trained_gates: Of the trained model, where it is a mixture itself.
        noise: Standard deviation of what is added to the matrices of copied and widened
            blocks, as a share of their own.
        seed: Of all random numbers.
        fresh: Beginnings of the names of tensors that the trained model may lack.

    Raises:
        ValueError: A shape that does not fit, a tensor of the mixture that the trained
            model lacks, or the other way round; all of them are named.

    Example:
        >>> from torch import nn
        >>> dense = nn.ModuleDict({"ff": nn.Linear(2, 2)})
        >>> experts = nn.ModuleList(nn.Linear(2, 2) for _ in range(2))
        >>> mixture = nn.ModuleDict({"ff": nn.ModuleDict({"experts": experts})})
        >>> upcycle(dense.state_dict(), mixture.state_dict()).copied
        {'ff': [0, 1]}
    """
    work = _Upcycling(dense, gates or {}, trained_gates or {}, noise, seed)
    for name, wanted in mixture.items():
        work.make(name, wanted, tuple(fresh))
    work.compare_choices()
    work.faults += [
        f"{name} {_shape(dense[name])} of the checkpoint has no place"
        for name in dense
        if name not in work.used
    ]
    if work.faults:
        listed = "\n  ".join(work.faults[:LISTED])
        others = len(work.faults) - LISTED
        more = f"\n  and {others} more" if others > 0 else ""
        raise ValueError(
            f"the checkpoint does not fit this configuration:\n  {listed}{more}\n"
            "make sizes and vocabulary of the two the same; only feed-forward blocks "
            "may become mixtures or wider"
        )
    return work.result


class _Upcycling:
    """The work under way: what is used of the trained model, what does not fit."""

    def __init__(
        self,
        dense: Mapping[str, torch.Tensor],
        gates: Mapping[str, Gate],
        trained_gates: Mapping[str, Gate],
        noise: float,
        seed: int,
    ):
        self.dense, self.gates, self.trained_gates = dense, gates, trained_gates
        self.noise = noise
        self.random = torch.Generator().manual_seed(seed)
        self.routers: dict[int, dict[str, torch.Tensor]] = {}
        self.result = Upcycled()
        self.used: set[str] = set()
        self.faults: list[str] = []

    def make(self, name: str, wanted: torch.Tensor, fresh: tuple[str, ...]) -> None:
        """Find or make one tensor of the mixture."""
        source = self._source(name)
        if source is None:
            self._make_new(name, wanted, fresh)
            return
        self.used.add(source)
        tensor = self.dense[source]
        is_wider = grows_to(source, tensor.shape, wanted.shape)
        if tensor.shape != wanted.shape and not is_wider:
            self.faults.append(
                f"{name} is {_shape(wanted)}, {source} of the checkpoint "
                f"{_shape(tensor)}"
            )
            return
        expert = _EXPERT.fullmatch(name)
        is_copy = source != name or is_wider
        made = widen(source, tensor, wanted.shape, self.random)
        if expert and name.endswith(("w_2.weight", "w_2.bias")):
            made = made * self._scale(expert["block"])
        if is_copy and self.noise and made.dim() > 1:
            spread = self.noise * made.float().std()
            made = made + spread * torch.randn(made.shape, generator=self.random)
        self.result.state[name] = made.to(tensor.dtype).clone()
        self._note(name, expert, source, is_wider)

    def compare_choices(self) -> None:
        """Note kept routers of another ``top_k`` or another order of labels."""
        for block, gate in self.gates.items():
            trained = self.trained_gates.get(block)
            router = f"{block}.gate."
            is_kept = any(name.startswith(router) for name in self.result.kept)
            if not (trained and is_kept):
                continue
            if (trained.top_k, trained.labels) != (gate.top_k, gate.labels):
                self.result.rerouted.append(block)

    def _note(
        self, name: str, expert: re.Match | None, source: str, is_wider: bool
    ) -> None:
        block = name.rpartition(".w_")[0]
        if is_wider and block not in self.result.widened:
            self.result.widened.append(block)
        if expert and source != name:
            numbers = self.result.copied.setdefault(expert["block"], [])
            if int(expert["number"]) not in numbers:
                numbers.append(int(expert["number"]))
        elif not is_wider:
            self.result.kept.append(name)

    def _source(self, name: str) -> str | None:
        """The trained model's tensor that one of the mixture starts from."""
        expert = _EXPERT.fullmatch(name)
        if expert is None:
            return name if name in self.dense else None
        block, rest = expert["block"], expert["rest"]
        if block in self.trained_gates:
            number = self._trained_expert(block, int(expert["number"]))
            source = f"{block}.experts.{number}.{rest}"
        else:
            source = name if name in self.dense else f"{block}.{rest}"
        return source if source in self.dense else None

    def _trained_expert(self, block: str, number: int) -> int | None:
        """The trained expert that an expert begins as: that of its label, if any."""
        gate, trained = self.gates.get(block), self.trained_gates[block]
        if gate is None or not (gate.experts_per_label and trained.experts_per_label):
            return number
        group, place = divmod(number, gate.experts_per_label)
        label = gate.labels[group]
        if label not in trained.labels:
            return None
        size = trained.experts_per_label
        if size not in (1, gate.experts_per_label):
            return None
        return trained.labels.index(label) * size + place % size

    def _scale(self, block: str) -> float:
        """What the output of a block's experts is multiplied by."""
        scale = self.gates[block].scale_of_copies if block in self.gates else 1.0
        if block in self.trained_gates:
            scale /= self.trained_gates[block].scale_of_copies
        return scale

    def _make_new(
        self, name: str, wanted: torch.Tensor, fresh: tuple[str, ...]
    ) -> None:
        of_gate = _GATE.fullmatch(name)
        if not (of_gate or (fresh and name.startswith(fresh))):
            label = self._label(name)
            weight = f"{name} {_shape(wanted)}{label}"
            self.faults.append(f"{weight}: the checkpoint has none")
            return
        block = of_gate["block"] if of_gate else ""
        gate = self.gates.get(block)
        if self._is_rerouted(block, gate) and block not in self.result.rerouted:
            self.result.rerouted.append(block)
        if gate is None or gate.scale_of_copies == 1.0:
            self.result.new.append(name)
            return
        part, _, rest = of_gate["rest"].partition(".")
        module = getattr(gate, part)
        # layers may share a router
        drawn = self.routers.setdefault(id(module), {})
        if rest not in drawn:
            std = ROUTER_STD if isinstance(module, Router) else 0.0
            drawn[rest] = std * torch.randn(wanted.shape, generator=self.random)
        self.result.state[name] = drawn[rest].clone()
        self.result.drawn.append(name)

    def _is_rerouted(self, block: str, gate: Gate | None) -> bool:
        """Whether a new router chooses among experts that are no copies of one."""
        trained = self.trained_gates.get(block)
        if trained is None:
            return False
        of_labels = gate is not None and gate.experts_per_label
        return not (of_labels and trained.experts_per_label == 1)

    def _label(self, name: str) -> str:
        """Words of whose expert it is, where labels own experts."""
        expert = _EXPERT.fullmatch(name)
        gate = self.gates.get(expert["block"]) if expert else None
        if gate is None or not gate.experts_per_label:
            return ""
        return (
            f" of label {gate.labels[int(expert['number']) // gate.experts_per_label]}"
        )


def shared_parameters(model: nn.Module, result: Upcycled) -> list[str]:
    """What stays outside experts and widened blocks, for ESPnet's ``freeze_param``.

    Args:
        model: The mixture.
        result: Of `upcycle`.

    Returns:
        Names of modules whose parameters all do, and of single parameters.
    """
    blocks = [*gates_of(model), *result.widened]
    kept = {
        name
        for name in result.kept
        if not any(name.startswith(f"{block}.") for block in blocks)
    }

    def shared(prefix: str, module: nn.Module) -> list[str]:
        names = [name for name, _ in module.named_parameters(prefix)]
        if prefix and names and kept.issuperset(names):
            return [prefix]
        own = [n for n, _ in module.named_parameters(prefix, recurse=False)]
        children = [
            name
            for key, child in module.named_children()
            for name in shared(f"{prefix}.{key}".lstrip("."), child)
        ]
        return [name for name in own if name in kept] + children

    return shared("", model)


def _shape(tensor: torch.Tensor) -> str:
    return f"({', '.join(map(str, tensor.shape))})"
