"""The gate of S-MoE: the expert is chosen by a label that is known beforehand."""

from dataclasses import dataclass

import torch

from espnet_smoe.config.options import options_of
from espnet_smoe.moe.assignment import Assignment
from espnet_smoe.moe.gate import Gate, MoEOptions, register_gate
from espnet_smoe.moe.labels import name_of
from espnet_smoe.moe.routing import Routing


@options_of("")
@dataclass(frozen=True)
class LabelOptions(MoEOptions):
    """Options of ``gate: label``: labels, and nothing that only a learned gate has."""

    def problem(self) -> str:
        """One expert a label."""
        if not self.labels:
            return "'gate: label' needs labels; name one an expert"
        if self.num_experts not in (None, len(self.labels)):
            return (
                f"num_experts is {self.num_experts}, but there are "
                f"{len(self.labels)} labels ({', '.join(map(name_of, self.labels))}); "
                "give one label an expert"
            )
        return ""

    @property
    def reads_labels(self) -> bool:
        """Always."""
        return True


@register_gate("label")
class LabelGate(Gate):
    """The expert is chosen by a label of the utterance (S-MoE, Eq. 1-3).

    There is nothing to learn and no gating network: the experts are the labels. Rows
    are whole utterances, with their padding: to compute it costs less than to copy the
    frames without it.
    """

    Options = LabelOptions
    experts_per_label = 1

    def forward(self, x: torch.Tensor, routing: Routing) -> Assignment:
        """The experts of the labels; the content of ``x`` plays no part."""
        return self.require_labels(routing).assignment
