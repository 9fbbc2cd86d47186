"""Auxiliary losses of learned routing: pure functions of what the router said.

Every mean is over the frames that are not padding. With ``everywhere`` these are the
frames of all processes that train together, each of which must then call the loss: it
is the same however a batch is shared out.
"""

from collections.abc import Callable

import torch
from torch import distributed


def balance_loss(
    probabilities: torch.Tensor, chosen: torch.Tensor, everywhere: bool = False
) -> torch.Tensor:
    """Switch's load balancing (SpeechMoE, Eq. 7): ``E * sum_i s_i P_i``.

    1 where the load is even, up to E where one expert takes everything.

    Args:
        probabilities: ``(N, E)`` of the router, frames that are not padding.
        chosen: ``(N, k)`` experts.
        everywhere: Mean over all processes.
    """
    num_experts = probabilities.size(1)
    taken = torch.zeros_like(probabilities.detach()).scatter(1, chosen, 1.0)  # (N, E)
    shares = frame_mean(taken / chosen.size(1), everywhere)  # s, (E,)
    return num_experts * (shares * frame_mean(probabilities, everywhere)).sum()


def importance_loss(
    probabilities: torch.Tensor, everywhere: bool = False
) -> torch.Tensor:
    """SpeechMoE's mean importance (Eq. 10-11): ``E * sum_j Imp_j^2``.

    1 where all experts matter the same, up to E where one alone does.

    Args:
        probabilities: ``(N, E)`` of the router, frames that are not padding.
        everywhere: Mean over all processes.

    Example:
        >>> importance_loss(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
        tensor(1.)
    """
    importance = frame_mean(probabilities, everywhere)  # (E,)
    return probabilities.size(1) * importance.square().sum()


def sparsity_loss(
    probabilities: torch.Tensor, everywhere: bool = False
) -> torch.Tensor:
    """SpeechMoE's sparsity L1 (Eq. 9): the mean of ``|p / |p|_2|_1``.

    1 where each frame is sure of one expert, up to the square root of E.

    Args:
        probabilities: ``(N, E)`` of the router, frames that are not padding.
        everywhere: Mean over all processes.
    """
    unit = torch.nn.functional.normalize(probabilities, dim=1)  # (N, E)
    return frame_mean(unit.norm(p=1, dim=1), everywhere)


def z_loss(logits: torch.Tensor, everywhere: bool = False) -> torch.Tensor:
    """Keeps the router's logits small: mean of ``logsumexp(logits)^2`` (ST-MoE, Eq. 5).

    Args:
        logits: ``(N, E)``, frames that are not padding.
        everywhere: Mean over all processes.
    """
    return frame_mean(logits.logsumexp(dim=1).square(), everywhere)


# name -> loss of (logits, probabilities, chosen, everywhere)
LOSSES: dict[str, Callable[..., torch.Tensor]] = {
    "balance": lambda _, p, chosen, everywhere: balance_loss(p, chosen, everywhere),
    "importance": lambda _, p, __, everywhere: importance_loss(p, everywhere),
    "sparsity": lambda _, p, __, everywhere: sparsity_loss(p, everywhere),
    "z": lambda logits, _, __, everywhere: z_loss(logits, everywhere),
}


def frame_mean(x: torch.Tensor, everywhere: bool) -> torch.Tensor:
    """Mean of ``(N, ...)`` over the frames, of this process or of all.

    Each process has the gradient of the whole mean, as if it held all frames.
    """
    if not (everywhere and distributed.is_available() and distributed.is_initialized()):
        return x.mean(dim=0)
    total = x.sum(dim=0)
    both = torch.cat((total.flatten(), total.new_tensor([len(x)])))
    both = _SumOverProcesses.apply(both)
    return (both[:-1] / both[-1]).view(total.shape)


class _SumOverProcesses(torch.autograd.Function):
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
