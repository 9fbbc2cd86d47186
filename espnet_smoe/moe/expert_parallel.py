"""Expert parallelism: processes share the experts of a layer (GShard, 2006.16668).

Each process holds whole experts, as many as the others. Its rows travel to the experts
that they chose and their outputs back, each way by one all-to-all; what is computed in
between is what one process would compute (``dispatch.py``).
"""

from typing import Any

import torch
from torch import distributed, nn

from espnet_smoe.moe.assignment import Assignment
from espnet_smoe.moe.dispatch import dispatch, sorted_rows


class SpreadExperts(nn.ModuleDict):
    """The experts of a mixture that this process holds, under their own numbers.

    All processes of the group call `forward` at the same time, with rows or without,
    and so their backward passes.

    Args:
        experts: All E, the same in every process.
        group: Processes that share them; their number divides E.
    """

    def __init__(self, experts: nn.ModuleList, group: distributed.ProcessGroup):
        share = len(experts) // group.size()
        first = group.rank() * share
        super().__init__({str(n): experts[n] for n in range(first, first + share)})
        self.num_experts = len(experts)
        self.group = group

    def forward(
        self, x: torch.Tensor, assignment: Assignment, index: torch.Tensor | None = None
    ) -> torch.Tensor:
        """As `dispatch` with all E experts; shapes are the same."""
        source = sorted_rows(assignment, index)  # (N * k,)
        rows = x if source is None else x.index_select(0, source)  # (N * k, ..., D)
        flat = rows.flatten(0, -2)  # (R, D)
        if torch.is_grad_enabled() and not flat.requires_grad:
            # in every process a backward pass, whatever of its model is frozen
            flat = flat.detach().requires_grad_()
        frames = flat.size(0) // rows.size(0) if rows.size(0) else 1
        y = self._visit(flat, assignment.loads * frames)  # (R, D')
        y = y.unflatten(0, rows.shape[:-1])  # (N * k, ..., D')
        if assignment.weights is not None:
            weights = assignment.weights.flatten()  # (N * k,)
            y = y * weights.index_select(0, assignment.order).to(y.dtype)[:, None]
        if source is None:
            return y
        return y.new_zeros(len(x), *y.shape[1:]).index_add(0, source, y)

    def _visit(self, rows: torch.Tensor, loads: torch.Tensor) -> torch.Tensor:
        """Rows ``(R, D)``, sorted by expert, to their outputs ``(R, D')``.

        Args:
            rows: ``(R, D)``.
            loads: ``(E,)`` rows of each expert.
        """
        ways, share = self.group.size(), len(self)
        coming = torch.empty_like(loads)  # (E,) from each process, for each own expert
        distributed.all_to_all_single(coming, loads.contiguous(), group=self.group)
        there = loads.view(ways, share).sum(dim=1).tolist()
        here = coming.view(ways, share).sum(dim=1).tolist()
        visitors = _Exchange.apply(rows, there, here, self.group)
        own = torch.arange(share, device=rows.device).repeat(ways)
        assignment = Assignment(own.repeat_interleave(coming), share)
        y = dispatch(visitors, assignment, list(self.values()))
        return _Exchange.apply(y, here, there, self.group)

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any
    ) -> None:
        """Of a state of all experts, the other ones' part is not for this process."""
        for number in range(self.num_experts):
            if str(number) not in self:
                foreign = f"{prefix}{number}."
                for key in [k for k in state_dict if k.startswith(foreign)]:
                    del state_dict[key]
        super()._load_from_state_dict(state_dict, prefix, *args)


class _Exchange(torch.autograd.Function):
    """All-to-all of rows that gradients go back through.

    Takes ``(R, D)``, in the order of the processes that they are for; how many are for
    each, and how many come from each. Gives the latter, in their order.
    """

    @staticmethod
    def forward(
        ctx: Any,
        rows: torch.Tensor,
        there: list[int],
        here: list[int],
        group: distributed.ProcessGroup,
    ) -> torch.Tensor:
        ctx.given = there, here, group
        out = rows.new_empty(sum(here), rows.size(1))
        rows = rows.contiguous()
        distributed.all_to_all_single(out, rows, here, there, group=group)
        return out

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        there, here, group = ctx.given
        out = gradient.new_empty(sum(there), gradient.size(1))
        gradient = gradient.contiguous()
        distributed.all_to_all_single(out, gradient, there, here, group=group)
        return out, None, None, None
