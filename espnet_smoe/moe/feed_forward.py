"""MoEFeedForward: a feed-forward block that is a mixture of experts."""

from collections.abc import Callable

import torch
from torch import distributed, nn

from espnet_smoe.moe.assignment import Assignment
from espnet_smoe.moe.dense_dispatch import dense_dispatch, traced, valid_loads
from espnet_smoe.moe.dispatch import dispatch
from espnet_smoe.moe.expert_parallel import SpreadExperts
from espnet_smoe.moe.experts import FeedForward
from espnet_smoe.moe.gate import Gate, MoEOptions, build_gate
from espnet_smoe.moe.routing import Routing


class MoEFeedForward(nn.Module):
    """Drop-in for a position-wise feed-forward block: gate, experts, dispatch.

    Args:
        gate: Decides where the rows go.
        make_expert: Makes one expert; called E times.
        name: The layer's name in `Routing.loads` and `Routing.sums`.

    Example:
        >>> from espnet_smoe.moe import Labels, LabelGate, MoEOptions
        >>> labels = Labels(["<wb>", "<nb>"]).bind(["<wb>", "<nb>"])
        >>> gate = LabelGate(MoEOptions(labels=labels.tokens), size=4)
        >>> block = MoEFeedForward(gate, lambda: FeedForward(4, 8), "encoder.0")
        >>> routing = labels.route(torch.tensor([0, 1]), lengths=torch.tensor([3, 2]))
        >>> block(torch.zeros(2, 3, 4), routing).shape
        torch.Size([2, 3, 4])
        >>> routing.loads
        {'encoder.0': tensor([3, 2])}
    """

    def __init__(self, gate: Gate, make_expert: Callable[[], nn.Module], name: str):
        super().__init__()
        self.gate = gate
        self.experts = nn.ModuleList(make_expert() for _ in range(gate.num_experts))
        self.name = name

    def forward(self, x: torch.Tensor, routing: Routing) -> torch.Tensor:
        """Map ``(B, T, D)`` to ``(B, T, D)``, each row by its own experts.

        A gate that decides by frame does not see padding, whose output is zero.
        """
        if traced():
            return self._traced(x, routing)
        if self.gate.per_frame:
            return self._by_frame(x, routing)
        assignment = self.gate(x, routing)
        routing.loads[self.name] = self._frames_of_utterances(assignment, routing)
        return self._dispatch(x, assignment)

    def spread(self, group: distributed.ProcessGroup) -> None:
        """Keep this process's share of the experts, see `SpreadExperts`.

        Args:
            group: Processes that share them.

        Raises:
            ValueError: They cannot have the same number of experts.
        """
        if len(self.experts) % group.size():
            raise ValueError(
                f"{self.name} has {len(self.experts)} experts, which "
                f"{group.size()} processes cannot share evenly"
            )
        self.experts = SpreadExperts(self.experts, group)

    def _by_frame(self, x: torch.Tensor, routing: Routing) -> torch.Tensor:
        index = routing.index(x)  # (N,)
        flat = x.flatten(0, 1)  # (B * T, D)
        rows = flat if index is None else flat.index_select(0, index)  # (N, D)
        assignment = self.gate(rows, routing)
        y = self._dispatch(flat, assignment, index)  # (B * T, D')
        routing.loads[self.name] = assignment.loads
        routing.sums[self.name] = assignment.sums
        if assignment.logits is not None:
            routing.logits[self.name] = assignment.logits.detach()
        return y.unflatten(0, x.shape[:2])

    def _traced(self, x: torch.Tensor, routing: Routing) -> torch.Tensor:
        """The same in a traced graph: padding is computed, and cleared at the end."""
        if not self.gate.per_frame:
            assignment = self.gate(x, routing)
            routing.loads[self.name] = self._frames_of_utterances(assignment, routing)
            return dense_dispatch(x, assignment, self.experts)
        flat = x.flatten(0, 1)  # (B * T, D)
        assignment = self.gate(flat, routing)
        y = dense_dispatch(flat, assignment, self.experts).unflatten(0, x.shape[:2])
        valid = routing.valid(x)  # (B, T)
        routing.loads[self.name] = valid_loads(assignment, valid.flatten())
        return torch.where(valid[..., None], y, 0.0)

    def _dispatch(
        self, x: torch.Tensor, assignment: Assignment, index: torch.Tensor | None = None
    ) -> torch.Tensor:
        if isinstance(self.experts, SpreadExperts):
            return self.experts(x, assignment, index)
        return dispatch(x, assignment, self.experts, index)

    def _frames_of_utterances(
        self, assignment: Assignment, routing: Routing
    ) -> torch.Tensor:
        """``(E,)`` frames of each expert, whose rows are utterances."""
        lengths = routing.lengths  # (B,)
        experts = assignment.experts[:, 0].to(lengths.device)
        loads = lengths.new_zeros(self.gate.num_experts)
        return loads.index_add_(0, experts, lengths)


class DenseFeedForward(FeedForward):
    """The dense block behind the same call as the mixture."""

    def forward(self, x: torch.Tensor, routing: Routing | None = None) -> torch.Tensor:
        """Map ``(..., D)`` to ``(..., D)``; a dense block reads no routing."""
        return super().forward(x)


def build_feed_forward(
    options: MoEOptions | None,
    size: int,
    hidden_size: int,
    dropout_rate: float,
    name: str,
    output_size: int | None = None,
    embedding_size: int = 0,
    router: nn.Module | None = None,
    activation: nn.Module | None = None,
) -> nn.Module:
    """A mixture where options ask for one, else the dense block.

    Args:
        options: Of the mixture; None for a dense block.
        size: D.
        hidden_size: F.
        dropout_rate: Dropout after the activation.
        name: The layer's name in `Routing.loads`.
        output_size: Width of the output, where it is not D.
        embedding_size: Width of the embedding network's output, 0 where there is none.
        router: From `build_router`, for layers that share one.
        activation: Between the two matrices of a block; ReLU when None.
    """
    block = {
        "dropout_rate": dropout_rate,
        "activation": activation,
        "output_size": output_size,
    }
    if options is None:
        return DenseFeedForward(size, hidden_size, **block)
    return MoEFeedForward(
        build_gate(options, size, embedding_size, router),
        lambda: FeedForward(size, hidden_size, **block),
        name,
    )
