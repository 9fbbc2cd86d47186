"""Slicing: of each mixture one expert stays, as the dense block that it was.

The way back from `espnet_smoe.moe.upcycle`: what a label gate sends to one expert alone
needs no gate.
"""

import re
from collections.abc import Mapping

import torch

_PART = re.compile(
    r"(?P<block>.+?)\.(?:experts\.(?P<number>\d+)\.(?P<rest>.+)|gate\..+)"
)


def slice_experts(
    state: Mapping[str, torch.Tensor], experts: Mapping[str, int]
) -> dict[str, torch.Tensor]:
    """Weights with a dense block in the place of each mixture that is named.

    Args:
        state: Of the model.
        experts: Block -> number of the expert that stays.

    Example:
        >>> state = {"ff.experts.0.w": 0, "ff.experts.1.w": 1, "norm.w": 2}
        >>> slice_experts(state, {"ff": 1})
        {'ff.w': 1, 'norm.w': 2}
    """
    kept = {}
    for name, tensor in state.items():
        part = _PART.fullmatch(name)
        if part is None or part["block"] not in experts:
            kept[name] = tensor
        elif part["number"] == str(experts[part["block"]]):
            kept[f"{part['block']}.{part['rest']}"] = tensor
    return kept
