"""Auxiliary losses of learned routing: pure functions of a router's outputs.

Every loss is a function of means over the frames that are not padding. A layer keeps
the sums behind these means (`FrameSums`). Processes that train together add theirs up
before a loss is computed (`add_processes`), so that it is the same however a batch is
split over them; a process that has no frames for a layer adds zeros.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import distributed


class AuxiliaryLoss(NamedTuple):
    """A loss in two steps, so that frames may be spread over batches and processes.

    Attributes:
        of_frames: Logits ``(N, E)``, probabilities ``(N, E)`` and chosen experts
            ``(N, k)`` to what is averaged over the frames, ``(N, S)``.
        of_means: The means ``(S,)`` and E to the loss.
        width: E to S.
    """

    of_frames: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
    of_means: Callable[[torch.Tensor, int], torch.Tensor]
    width: Callable[[int], int]


def balance_loss(probabilities: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    """Switch's load balancing (SpeechMoE, Eq. 7): ``E * sum_i s_i P_i``.

    1 where the load is even, up to E where one expert takes everything.

    Args:
        probabilities: ``(N, E)`` of the router, frames that are not padding.
        chosen: ``(N, k)`` experts.
    """
    return _loss("balance", probabilities, probabilities, chosen)


def importance_loss(probabilities: torch.Tensor) -> torch.Tensor:
    """SpeechMoE's mean importance (Eq. 10-11): ``E * sum_j Imp_j^2``.

    1 where all experts matter the same, up to E where one alone does.

    Args:
        probabilities: ``(N, E)`` of the router, frames that are not padding.

    Example:
        >>> importance_loss(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
        tensor(1.)
    """
    return _loss("importance", probabilities, probabilities, probabilities)


def sparsity_loss(probabilities: torch.Tensor) -> torch.Tensor:
    """SpeechMoE's sparsity L1 (Eq. 9): the mean of ``|p / |p|_2|_1``.

    1 where each frame is sure of one expert, up to the square root of E.

    Args:
        probabilities: ``(N, E)`` of the router, frames that are not padding.
    """
    return _loss("sparsity", probabilities, probabilities, probabilities)


def z_loss(logits: torch.Tensor) -> torch.Tensor:
    """Keeps the router's logits small: mean of ``logsumexp(logits)^2`` (ST-MoE, Eq. 5).

    Args:
        logits: ``(N, E)``, frames that are not padding.
    """
    return _loss("z", logits, logits, logits)


def _taken_and_probable(
    _: torch.Tensor, probabilities: torch.Tensor, chosen: torch.Tensor
) -> torch.Tensor:
    """``(N, 2 E)``: the fraction of its k choices each frame gives to an expert, and
    its probabilities.
    """
    taken = torch.zeros_like(probabilities.detach()).scatter(1, chosen, 1.0)  # (N, E)
    return torch.cat((taken / chosen.size(1), probabilities), dim=1)


def _unit_norms(
    _: torch.Tensor, probabilities: torch.Tensor, __: torch.Tensor
) -> torch.Tensor:
    unit = torch.nn.functional.normalize(probabilities, dim=1)  # (N, E)
    return unit.norm(p=1, dim=1, keepdim=True)


LOSSES: dict[str, AuxiliaryLoss] = {
    "balance": AuxiliaryLoss(
        _taken_and_probable, lambda m, e: e * (m[:e] * m[e:]).sum(), lambda e: 2 * e
    ),
    "importance": AuxiliaryLoss(
        lambda _, p, __: p, lambda m, e: e * m.square().sum(), lambda e: e
    ),
    "sparsity": AuxiliaryLoss(_unit_norms, lambda m, _: m[0], lambda _: 1),
    "z": AuxiliaryLoss(
        lambda logits, _, __: logits.logsumexp(dim=1, keepdim=True).square(),
        lambda m, _: m[0],
        lambda _: 1,
    ),
}


def register_loss(name: str, loss: AuxiliaryLoss) -> None:
    """Add a loss that the options ``<name>_weight`` of a gate give a weight.

    Args:
        name: Not taken by another loss.
        loss: Of the router's outputs.

    Raises:
        ValueError: The name is taken.
    """
    if name in ("entropy", "dead") or name.startswith("load_"):
        raise ValueError(f"'{name}' is a statistic of routers; give yours another name")
    if LOSSES.setdefault(name, loss) is not loss:
        raise ValueError(f"there is a loss '{name}' already; give yours another name")


def _loss(
    name: str, logits: torch.Tensor, probabilities: torch.Tensor, chosen: torch.Tensor
) -> torch.Tensor:
    loss = LOSSES[name]
    means = loss.of_frames(logits, probabilities, chosen).mean(dim=0)
    return loss.of_means(means, logits.size(1))


class FrameSums(NamedTuple):
    """What the auxiliary losses of a layer need of its frames.

    Attributes:
        names: The losses, keys of `LOSSES`.
        num_experts: E.
        sums: ``(1 + S,)`` number of frames, then the sums over them, loss by loss; in
            float32, or float64 for a model in float64.
    """

    names: tuple[str, ...]
    num_experts: int
    sums: torch.Tensor

    @classmethod
    def of(
        cls,
        names: Sequence[str],
        logits: torch.Tensor,
        probabilities: torch.Tensor,
        chosen: torch.Tensor,
    ) -> "FrameSums":
        """Sum over the frames.

        Args:
            names: Keys of `LOSSES`.
            logits: ``(N, E)``, frames that are not padding.
            probabilities: ``(N, E)``.
            chosen: ``(N, k)`` experts.
        """
        dtype = torch.promote_types(logits.dtype, torch.float32)
        logits, probabilities = logits.to(dtype), probabilities.to(dtype)
        num_frames = logits.new_tensor([len(logits)])
        sums = [
            LOSSES[name].of_frames(logits, probabilities, chosen).sum(dim=0)
            for name in names
        ]
        return cls(tuple(names), logits.size(1), torch.cat((num_frames, *sums)))

    @classmethod
    def zeros(
        cls, names: Sequence[str], num_experts: int, like: torch.Tensor
    ) -> "FrameSums":
        """The sums over no frames, on the device and in the precision of ``like``."""
        width = 1 + sum(LOSSES[name].width(num_experts) for name in names)
        dtype = torch.promote_types(like.dtype, torch.float32)
        sums = torch.zeros(width, dtype=dtype, device=like.device)
        return cls(tuple(names), num_experts, sums)

    def losses(self) -> dict[str, torch.Tensor]:
        """Each loss by name; 0 where there are no frames."""
        means = self.sums[1:] / self.sums[0].clamp(min=1)
        widths = [LOSSES[name].width(self.num_experts) for name in self.names]
        parts = means.split(widths) if widths else ()
        return {
            name: LOSSES[name].of_means(part, self.num_experts)
            for name, part in zip(self.names, parts)
        }


def add_processes(layers: Sequence[FrameSums]) -> list[FrameSums]:
    """The sums of all processes, in one message.

    Every process calls it at the same time with as many layers of the same sizes. The
    loss of each then counts in the gradient of all, as if it held all frames. Called
    after everything else of a forward pass its backward comes first, before any
    gradient is averaged, so the messages of all processes stand in the same order.
    """
    training = distributed.is_available() and distributed.is_initialized()
    if not layers or not training:
        return list(layers)
    together = _SumOverProcesses.apply(torch.cat([layer.sums for layer in layers]))
    parts = together.split([len(layer.sums) for layer in layers])
    return [layer._replace(sums=part) for layer, part in zip(layers, parts)]


class _SumOverProcesses(torch.autograd.Function):
    """``all_reduce`` that gradients pass, also by ``all_reduce``."""

    @staticmethod
    def forward(ctx: object, x: torch.Tensor) -> torch.Tensor:
        x = x.clone()
        distributed.all_reduce(x)
        return x

    @staticmethod
    def backward(ctx: object, gradient: torch.Tensor) -> torch.Tensor:
        # x counts in the sum of every process, and so in the loss of each
        gradient = gradient.clone()
        distributed.all_reduce(gradient)
        return gradient
