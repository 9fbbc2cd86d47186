"""The mixture's block on a device: beside a plain loop over rows, in float64."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from espnet_smoe.benchmark.gpu.guard import Check, Compared, Site, gradients
from espnet_smoe.compat import PositionwiseFeedForward
from espnet_smoe.moe import (
    Assignment,
    FeedForward,
    Labels,
    MoEFeedForward,
    MoEOptions,
    Routing,
    build_gate,
    dispatch,
    reference,
)
from espnet_smoe.moe.grouped import grouped

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


@dataclass(frozen=True)
class Precision:
    """How a block is computed.

    Attributes:
        weights: Their type.
        autocast: The type of products, None for that of the weights.
        bound: Of the relative error.
    """

    weights: torch.dtype
    autocast: torch.dtype | None
    bound: float


PRECISIONS = {
    "float64": Precision(torch.float64, None, 1e-10),
    "float32": Precision(torch.float32, None, 1e-5),
    "bf16 autocast": Precision(torch.float32, torch.bfloat16, 2e-2),
    "fp16 autocast": Precision(torch.float32, torch.float16, 4e-3),
}


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
        at_door: bool = True,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Output ``(B, T, D)``, sum of the auxiliary losses, loads.

        ``at_door`` sorts by label before the block, as an encoder does.
        """
        routing = self.route(lengths, ids, e)
        (entered,) = routing.sort_by_label(x) if at_door else (x,)
        y = self.block(entered, routing)
        y = routing.unsort(y) if at_door else y
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


def passed(
    mixture: nn.Module, run: Any, given: tuple[torch.Tensor, ...]
) -> dict[str, torch.Tensor]:
    """One pass there and back: outputs at frames, loss, loads, gradients."""
    x, lengths = given[0].detach().requires_grad_(), given[1]
    y, cost, loads = run(x, *given[1:])
    frames = torch.arange(x.size(1), device=x.device) < lengths[:, None]
    y = y.masked_fill(~frames[..., None], 0.0)
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


def beside_the_loop(
    kind: str, precision: str, ids: tuple[int, ...], at_door: bool, size: int
) -> Check:
    """Forward and gradients of a gate's mixture."""
    how = PRECISIONS[precision]

    def check(site: Site, compared: Compared) -> None:
        given = batch(size, ids)
        mixture = Mixture(kind, size).double()
        wanted = passed(mixture, mixture.plain, given)
        there = copy.deepcopy(mixture).to(site.device, how.weights)
        x, lengths, label_ids, e = (t.to(site.device) for t in given)
        moved = x.to(how.weights), lengths, label_ids, e.to(how.weights)
        cast = how.autocast is not None
        with torch.autocast(site.device.type, how.autocast, enabled=cast):
            got = passed(there, partial(there, at_door=at_door), moved)
        for name, value in got.items():
            compared.close(name, value, wanted[name], how.bound)

    return check


def low_precision_weights(kind: str, dtype: torch.dtype) -> Check:
    """Inference in it throughout: the loop follows the choice made on the device."""

    def check(site: Site, compared: Compared) -> None:
        mixture = Mixture(kind).to(site.device, dtype).eval()
        x, lengths, ids, e = (t.to(site.device) for t in batch(64))
        x, e = x.to(dtype), e.to(dtype)
        gate = mixture.block.gate
        with torch.inference_mode():
            y, _, _ = mixture(x, lengths, ids, e, at_door=False)
            routing = mixture.route(lengths, ids, e)
            rows = routing.rows(x)
            chosen = gate(rows, routing)
            logits = chosen.logits.double().softmax(dim=1)
        weights, experts = logits.cpu().topk(gate.top_k, dim=1)
        if gate.top_k > 1:
            weights = weights / weights.sum(dim=1, keepdim=True)
        compared.close("weights", chosen.weights, weights, 2e-2)
        copies = copy.deepcopy(mixture.block.experts).cpu().double()
        weights = chosen.weights.cpu().double()
        loop = reference(rows.cpu().double(), chosen.experts.cpu(), copies, weights)
        compared.close("output", routing.rows(y), loop, 2e-2)

    return check


def fused_products(top_k: int, rows: int, experts: int) -> Check:
    """`fused` alone, large enough for many blocks, half of the rows padding."""

    def check(site: Site, compared: Compared) -> None:
        torch.manual_seed(0)
        dtype = torch.bfloat16 if site.device.type == "cuda" else torch.float32
        blocks = nn.ModuleList(FeedForward(64, 96) for _ in range(experts)).eval()
        blocks = blocks.to(site.device, dtype)
        x = torch.randn(2 * rows, 64).to(site.device, dtype)
        index = torch.arange(0, 2 * rows, 2, device=site.device)
        logits = torch.randn(rows, experts).to(site.device)
        weights, chosen = logits.softmax(dim=1).topk(top_k, dim=1)
        assignment = Assignment(chosen, experts, weights)
        with torch.inference_mode():
            y = dispatch(x, assignment, blocks, index)
            every = torch.stack([block(x[index]) for block in blocks], dim=1).double()
        picked = every.gather(1, chosen[..., None].expand(-1, -1, 64))  # (N, k, D)
        wanted = torch.zeros(2 * rows, 64, dtype=torch.float64, device=site.device)
        wanted[index] = (picked * weights[..., None].double()).sum(dim=1)
        compared.close("output", y, wanted, 2e-2)
        compared.close(
            "loads", assignment.loads, chosen.flatten().bincount(minlength=experts), 0.0
        )

    return check


def grouped_products(loads: tuple[int, ...], dtype: torch.dtype) -> Check:
    """`grouped` alone, with experts that have no rows."""

    def check(site: Site, compared: Compared) -> None:
        torch.manual_seed(0)
        experts = nn.ModuleList(smooth(64) for _ in loads).to(dtype)
        exact = copy.deepcopy(experts).double()
        x = torch.randn(sum(loads), 64).to(dtype)
        wanted_x = x.double().requires_grad_()
        shares = wanted_x.split(loads)
        wanted = torch.cat([f(share) for f, share in zip(exact, shares)])
        probe = torch.randn_like(x)
        (wanted * probe).sum().backward()
        experts.to(site.device)
        here = x.to(site.device).requires_grad_()
        chosen = torch.arange(len(loads)).repeat_interleave(torch.tensor(loads))
        chosen = Assignment(chosen.to(site.device), len(loads))
        y = grouped(here, chosen, experts)
        (y * probe.to(site.device)).sum().backward()
        bound = 2e-2 if dtype == torch.bfloat16 else 1e-5
        compared.close("output", y, wanted, bound)
        compared.close("gradient of the input", here.grad, wanted_x.grad, bound)
        for number, (ours, its) in enumerate(zip(experts, exact)):
            name = f"gradients of expert {number}"
            compared.close(name, gradients(ours), gradients(its), bound)

    return check


def equals_dense(kind: str, changes: Mapping[str, Any], precision: str) -> Check:
    """Experts that are copies of a dense block are that block."""
    how = PRECISIONS[precision]

    def check(site: Site, compared: Compared) -> None:
        torch.manual_seed(0)
        dense = PositionwiseFeedForward(64, 128, 0.0).to(site.device)
        mixture = Mixture(kind, **changes).to(site.device)
        for expert in mixture.block.experts:
            expert.activation = nn.ReLU()
            expert.load_state_dict(dense.state_dict())
        x, lengths, ids, e = (t.to(site.device) for t in batch(64))
        x, e = x.float(), e.float()
        frames = torch.arange(x.size(1), device=x.device) < lengths[:, None]
        cast = how.autocast is not None
        with torch.autocast(site.device.type, how.autocast, enabled=cast):
            wanted, (got, _, _) = dense(x), mixture(x, lengths, ids, e)
        compared.close("output", got[frames], wanted[frames], how.bound)

    return check


def recomputed(site: Site, compared: Compared) -> None:
    """Activation checkpointing, with a router that is given noise."""
    mixture = Mixture("topk of 2", jitter=0.1).to(site.device).train()
    x, *given = (t.to(site.device) for t in batch(64))
    given[-1] = given[-1].float()

    def kept(x: torch.Tensor, *given: torch.Tensor) -> Any:
        return checkpoint(mixture, x, *given, use_reentrant=False)

    results = []
    for run in (mixture, kept):
        torch.manual_seed(3)
        results.append(passed(mixture, run, (x.float(), *given)))
    for name, value in results[1].items():
        compared.close(name, value, results[0][name], 1e-5)


def _all_gates() -> dict[str, Check]:
    checks: dict[str, Check] = {}
    for precision in PRECISIONS:
        for ids, batch_name in ((ONE, "one label"), (MIXED, "mixed labels")):
            for at_door, where in ((True, "at the door"), (False, "in the block")):
                name = f"{precision}: label, {batch_name}, sorted {where}"
                given = "label", precision, ids, at_door, 64
                checks[name] = beside_the_loop(*given)
        for kind in list(ROUTERS)[1:]:
            given = kind, precision, MIXED, True, 64
            checks[f"{precision}: {kind}"] = beside_the_loop(*given)
    for precision in ("float32", "bf16 autocast"):
        name = f"{precision}: topk of 2, widths that do not align"
        checks[name] = beside_the_loop("topk of 2", precision, MIXED, True, 36)
    return checks


SHARES = {
    "even": (9, 11, 8, 9),
    "none first and third": (0, 21, 0, 16),
    "all to one": (0, 0, 37, 0),
    "none last": (20, 17, 0, 0),
}
COPIES: dict[str, tuple[str, dict[str, Any]]] = {
    "one expert": ("topk", {"num_experts": 1, "top_k": 1}),
    "copies by label": ("label", {}),
    "copies, topk of 2": ("topk of 2", {}),
}
CHECKS: dict[str, Check] = {
    **_all_gates(),
    **{
        f"{word} weights: {kind}, inference": low_precision_weights(kind, dtype)
        for word, dtype in (("bf16", torch.bfloat16), ("fp16", torch.float16))
        for kind in list(ROUTERS)[1:]
    },
    **{
        f"inference: {top_k} of {experts} experts, {rows} rows": fused_products(
            top_k, rows, experts
        )
        for top_k, experts in ((1, 8), (2, 8), (3, 32))
        for rows in (1, 100, 3000)
    },
    **{
        f"grouped products, {str(dtype).split('.')[1]}: {name}": grouped_products(
            loads, dtype
        )
        for dtype in (torch.bfloat16, torch.float32)
        for name, loads in SHARES.items()
    },
    **{
        f"dense equality, {precision}: {name}": equals_dense(kind, changes, precision)
        for precision in ("float32", "bf16 autocast")
        for name, (kind, changes) in COPIES.items()
    },
    "activation checkpointing with jitter": recomputed,
}
