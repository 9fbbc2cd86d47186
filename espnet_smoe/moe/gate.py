"""Gates: who decides which expert takes a row.

A gate maps a batch and its `Routing` to an `Assignment`. `LabelGate` reads a label
that is known beforehand (S-MoE, Eq. 1-3). A learned gate is a further class here,
with a line in `GATES`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import nn

from espnet_smoe.moe.dispatch import Assignment
from espnet_smoe.moe.routing import Routing
from espnet_smoe.options import nearest, reject_unknown


@dataclass(frozen=True)
class MoEOptions:
    """What a user may write under ``moe`` in ``encoder_conf`` or ``decoder_conf``.

    Attributes:
        gate: Kind of routing, a key of `GATES`.
        num_experts: E; by default one expert a label.
        labels: Special tokens of the token list, expert 0 first.
    """

    gate: str = "label"
    num_experts: int | None = None
    labels: Sequence[str] = ()

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
            ValueError: Unknown key or gate, or as many experts as labels fails.
        """
        if moe is None:
            return None
        reject_unknown(moe, [f.name for f in fields(cls)], where)
        options = cls(**{"labels": tuple(labels), **moe})
        if options.gate not in GATES:
            raise ValueError(
                f"{where}.gate: '{options.gate}' is not one of {', '.join(GATES)}"
                f"{nearest(options.gate, GATES)}"
            )
        if options.num_experts not in (None, len(options.labels)):
            raise ValueError(
                f"{where}: num_experts is {options.num_experts}, but there are "
                f"{len(options.labels)} labels ({', '.join(options.labels)}); give "
                "one label an expert"
            )
        return options


class Gate(nn.Module):
    """Base of all gates.

    Attributes:
        num_experts: E.
    """

    num_experts: int

    def forward(self, x: torch.Tensor, routing: Routing) -> Assignment:
        """Decide where the rows of ``x`` ``(N, ..., D)`` go."""
        raise NotImplementedError


class LabelGate(Gate):
    """The expert is chosen by a label of the utterance (S-MoE, Eq. 1-3).

    There is nothing to learn and no gating network. Labels are tokens: the gate is
    bound to a token list once, and then maps token ids to experts.

    Args:
        labels: Special tokens, one an expert.

    Example:
        >>> gate = LabelGate(["<wb>", "<nb>"]).bind(["<blank>", "<nb>", "<wb>"])
        >>> gate.experts(torch.tensor([1, 2, 2]))
        tensor([1, 0, 0])
    """

    def __init__(self, labels: Sequence[str]):
        super().__init__()
        if not labels or len(set(labels)) != len(labels):
            raise ValueError(f"labels must be different tokens, got {list(labels)}")
        self.labels = tuple(labels)
        self.num_experts = len(self.labels)
        self.register_buffer("expert_of_token", torch.empty(0, dtype=torch.long), False)

    def bind(self, token_list: Sequence[str]) -> "LabelGate":
        """Learn the ids of the labels.

        Raises:
            ValueError: A label is not in the token list.
        """
        missing = [label for label in self.labels if label not in token_list]
        if missing:
            raise ValueError(
                f"label {', '.join(missing)} is not in the token list; add it as a "
                "special token when the token list is made"
            )
        table = torch.full((len(token_list),), -1)
        for expert, label in enumerate(self.labels):
            table[list(token_list).index(label)] = expert
        self.expert_of_token = table.to(self.expert_of_token.device)
        self.token_list = tuple(token_list)
        return self

    def experts(
        self, label_ids: torch.Tensor, utterances: Sequence[str] | None = None
    ) -> torch.Tensor:
        """Map labels to experts.

        Args:
            label_ids: ``(B,)`` token ids.
            utterances: Their names, for the error message.

        Returns:
            ``(B,)`` experts.

        Raises:
            ValueError: The gate is not bound, or a token is not one of its labels.
        """
        if self.expert_of_token.numel() == 0:
            raise ValueError(
                f"the label gate ({', '.join(self.labels)}) has no token list; use "
                "it in a model that binds it, such as 'model: smoe'"
            )
        experts = self.expert_of_token[label_ids]
        if bool((experts < 0).any()):
            row = int((experts < 0).nonzero()[0])
            who = f"utterance {utterances[row]}" if utterances else f"row {row}"
            raise ValueError(
                f"{who}: {self.token_list[label_ids[row]]} is not a label of this "
                f"gate; known labels: {', '.join(self.labels)}"
            )
        return experts

    def route(
        self,
        label_ids: torch.Tensor,
        lengths: torch.Tensor,
        utterances: Sequence[str] | None = None,
    ) -> Routing:
        """Decide once for all layers.

        Args:
            label_ids: ``(B,)`` token ids.
            lengths: ``(B,)`` frames that are not padding.
            utterances: Names of the utterances, for the error message.
        """
        experts = self.experts(label_ids, utterances)
        return Routing(lengths, Assignment.of(experts, self.num_experts))

    def forward(self, x: torch.Tensor, routing: Routing) -> Assignment:
        """The decision made at the door; the content of ``x`` plays no part."""
        if routing.assignment is None:
            raise ValueError(
                f"no label reached a mixture that is routed by label; give one of "
                f"{', '.join(self.labels)} for each utterance"
            )
        return routing.assignment


GATES: dict[str, type[Gate]] = {"label": LabelGate}


def build_gate(options: MoEOptions) -> Gate:
    """Make the gate that the options ask for."""
    return GATES[options.gate](options.labels)
