"""Upcycling: a trained dense model's feed-forward blocks become experts.

Every expert of a block starts as a copy of the dense block, so that the mixture
computes at first what the dense model did (with a label gate, exactly). S-MoE's
fine-tuning begins this way (Section 3.2).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

_EXPERT = re.compile(r"(?P<block>.+)\.experts\.(?P<number>\d+)\.(?P<rest>.+)")
_ROUTER = re.compile(r"(?P<block>.+)\.gate\..+")


@dataclass
class Upcycled:
    """What became of a checkpoint.

    Attributes:
        state: The mixture's weights; those of `new` are not among them.
        copied: Block of the dense model -> numbers of the experts that start from it.
        kept: Tensors taken over as they are.
        new: Tensors that the dense model has no counterpart of, such as a router's.
    """

    state: dict[str, torch.Tensor] = field(default_factory=dict)
    copied: dict[str, list[int]] = field(default_factory=dict)
    kept: list[str] = field(default_factory=list)
    new: list[str] = field(default_factory=list)

    def describe(self) -> str:
        """A line a block, and counts."""
        lines = [
            f"{block} -> experts {', '.join(map(str, experts))}"
            for block, experts in self.copied.items()
        ]
        lines.append(f"as they are: {len(self.kept)} tensors")
        if self.new:
            lines.append(f"left to their initialisation: {', '.join(self.new)}")
        return "\n".join(lines)


def upcycle(
    dense: Mapping[str, torch.Tensor], mixture: Mapping[str, torch.Tensor]
) -> Upcycled:
    """Make a mixture's weights from a dense model's.

    A block that is a mixture in both, with as many experts, is taken over as it is.

    Args:
        dense: State of the trained model.
        mixture: State of the model to begin; only names and shapes are read, so
            it may lie on the meta device.

    Raises:
        ValueError: A shape that does not fit, a tensor of the mixture that the dense
            model lacks, or the other way round; all of them are named.

    Example:
        >>> from torch import nn
        >>> dense = nn.ModuleDict({"ff": nn.Linear(2, 2)})
        >>> experts = nn.ModuleList(nn.Linear(2, 2) for _ in range(2))
        >>> mixture = nn.ModuleDict({"ff": nn.ModuleDict({"experts": experts})})
        >>> upcycle(dense.state_dict(), mixture.state_dict()).copied
        {'ff': [0, 1]}
    """
    result = Upcycled()
    faults = []
    used = set()
    for name, wanted in mixture.items():
        source = _source_of(name, dense)
        if source is None:
            if _ROUTER.fullmatch(name):
                result.new.append(name)
            else:
                faults.append(f"{name} {_shape(wanted)}: the checkpoint has none")
            continue
        used.add(source)
        tensor = dense[source]
        if tensor.shape != wanted.shape:
            faults.append(
                f"{name} is {_shape(wanted)}, {source} of the checkpoint "
                f"{_shape(tensor)}"
            )
            continue
        result.state[name] = tensor.clone()
        if source == name:
            result.kept.append(name)
        else:
            _note_copy(result, name)
    faults += [
        f"{name} {_shape(dense[name])} of the checkpoint has no place"
        for name in dense
        if name not in used
    ]
    if faults:
        listed = "\n  ".join(faults[:10])
        more = f"\n  and {len(faults) - 10} more" if len(faults) > 10 else ""
        raise ValueError(
            f"the checkpoint does not fit this configuration:\n  {listed}{more}\n"
            "make sizes and vocabulary of the two the same; only feed-forward blocks "
            "may become mixtures"
        )
    return result


def _source_of(name: str, dense: Mapping[str, torch.Tensor]) -> str | None:
    """The dense model's tensor that ``name`` starts from."""
    if name in dense:
        return name
    expert = _EXPERT.fullmatch(name)
    source = f"{expert['block']}.{expert['rest']}" if expert else None
    return source if source in dense else None


def _note_copy(result: Upcycled, name: str) -> None:
    expert = _EXPERT.fullmatch(name)
    numbers = result.copied.setdefault(expert["block"], [])
    if int(expert["number"]) not in numbers:
        numbers.append(int(expert["number"]))


def _shape(tensor: torch.Tensor) -> str:
    return f"({', '.join(map(str, tensor.shape))})"
