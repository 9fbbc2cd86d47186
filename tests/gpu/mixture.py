"""A mixture of any gate, and the same by a loop over rows."""

from typing import Any

import torch
from torch import nn

from espnet_smoe.moe import (
    FeedForward,
    Labels,
    MoEFeedForward,
    MoEOptions,
    Routing,
    build_gate,
    reference,
)
from tests.gpu.compare import gradients

TOKENS = ("<blank>", "<wb>", "<nb>")
LABELS = TOKENS[1:]
LENGTHS = (50, 31, 44, 1)
MIXED, ONE = (2, 1, 2, 1), (2, 2, 2, 2)  # label ids of the utterances
EMBEDDING = 8
ROUTERS: dict[str, dict[str, Any]] = {
    "label": {},
    "topk": {"num_experts": 4},
    "topk of 2": {"gate": "topk", "num_experts": 4, "top_k": 2},
    "topk with a label": {"gate": "topk", "num_experts": 4, "label_embedding": True},
    "label_topk": {"num_experts": 4, "top_k": 2},
    "shared_embedding": {"num_experts": 4, "top_k": 2},
}
LEARNED = {"balance_weight": 0.1, "importance_weight": 0.1, "sparsity_weight": 0.1}
LEARNED["z_weight"] = 0.1


class Mixture(nn.Module):
    """A block whose routing is made inside.

    Args:
        kind: A key of `ROUTERS`.
        size: D; F is twice as wide.
        **changes: Of its `MoEOptions`.
    """

    def __init__(self, kind: str, size: int = 64, **changes: Any):
        super().__init__()
        torch.manual_seed(0)
        given = {"gate": kind, **ROUTERS[kind]}
        reads = given.get("label_embedding") or given["gate"].startswith("label")
        weights = {} if given["gate"] == "label" else LEARNED
        options = MoEOptions(
            **{**given, "labels": LABELS if reads else (), **weights, **changes}
        )
        self.embeds = given["gate"] == "shared_embedding"
        gate = build_gate(options, size, EMBEDDING if self.embeds else 0)
        self.block = MoEFeedForward(gate, lambda: smooth(size), "0")
        self.labels = Labels(LABELS).bind(TOKENS) if reads else None
        if gate.per_frame:  # so sure that rounding decides nothing
            nn.init.normal_(gate.router.weight)
        if getattr(gate, "label_bias", None) is not None:
            nn.init.normal_(gate.label_bias.weight)

    def route(
        self, lengths: torch.Tensor, ids: torch.Tensor, e: torch.Tensor
    ) -> Routing:
        """Labels or an embedding, for a gate that reads them."""
        routing = Routing(lengths)
        if self.labels is not None:
            routing = self.labels.route(ids, lengths)
        if self.embeds:
            routing.embed(e)
        return routing

    def forward(
        self,
        x: torch.Tensor,
        lengths: torch.Tensor,
        ids: torch.Tensor,
        e: torch.Tensor,
        sort_first: bool = True,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Output ``(B, T, D)``, sum of the auxiliary losses, loads.

        ``sort_first`` sorts by label before the block, as an encoder does.
        """
        routing = self.route(lengths, ids, e)
        (entered,) = routing.sort_by_label(x) if sort_first else (x,)
        y = self.block(entered, routing)
        y = routing.unsort(y) if sort_first else y
        return y, cost_of(routing, y), routing.loads["0"]

    def plain(
        self, x: torch.Tensor, lengths: torch.Tensor, ids: torch.Tensor, e: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The same by a loop over rows."""
        routing, block = self.route(lengths, ids, e), self.block
        if not block.gate.per_frame:
            experts = block.gate(x, routing).experts  # (B, 1)
            loads = lengths.new_zeros(block.gate.num_experts)
            loads = loads.index_add(0, experts[:, 0], lengths)
            return reference(x, experts, block.experts), x.new_zeros(()), loads
        rows = routing.rows(x)
        chosen = block.gate(rows, routing)
        y = reference(rows, chosen.experts, block.experts, chosen.weights)
        out = x.new_zeros(x.flatten(0, 1).shape)
        out = out.index_copy(0, routing.valid(x).flatten().nonzero()[:, 0], y)
        routing.sums["0"] = chosen.sums
        return out.view_as(x), cost_of(routing, x), chosen.loads


def smooth(size: int) -> FeedForward:
    """An expert without ReLU, whose gradient leaps where rounding changes a sign."""
    return FeedForward(size, 2 * size, activation=nn.SiLU())


def cost_of(routing: Routing, like: torch.Tensor) -> torch.Tensor:
    """The sum of the auxiliary losses of the one layer."""
    losses = routing.losses.get("0", {}).values()
    dtype = torch.promote_types(like.dtype, torch.float32)
    return sum(losses, like.new_zeros((), dtype=dtype))


def batch(size: int, ids: tuple[int, ...] = MIXED) -> tuple[torch.Tensor, ...]:
    """Frames ``(B, T, D)``, lengths, label ids, an embedding; in float64."""
    torch.manual_seed(1)
    shape = len(LENGTHS), max(LENGTHS)
    x = torch.randn(*shape, size, dtype=torch.float64)
    e = torch.randn(*shape, EMBEDDING, dtype=torch.float64)
    return x, torch.tensor(LENGTHS), torch.tensor(ids), e


def forward_backward(
    mixture: nn.Module, run: Any, given: tuple[torch.Tensor, ...]
) -> dict[str, torch.Tensor]:
    """Outputs at frames, loss, loads and gradients of one pass."""
    x, lengths = given[0].detach().requires_grad_(), given[1]
    y, cost, loads = run(x, *given[1:])
    y = y.masked_fill(~valid(x, lengths)[..., None], 0.0)
    torch.manual_seed(2)
    probe = torch.randn(y.shape, dtype=torch.float64).to(y.device, y.dtype)
    mixture.zero_grad()
    ((y * probe).sum() + cost).backward()
    return {
        "output": y,
        "auxiliary losses": cost,
        "loads": loads,
        "gradient of the input": x.grad,
        "gradients of the weights": gradients(mixture),
    }


def valid(x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Which frames are not padding, ``(B, T)``."""
    return torch.arange(x.size(1), device=x.device) < lengths[:, None]
