"""Auxiliary losses of learned routing: pure functions of what the router said.

Padding must not be among the frames that are given.
"""

import torch


def balance_loss(probabilities: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    """Switch's load balancing (SpeechMoE, Eq. 7): ``E * sum_i s_i P_i``.

    1 where the load is even, up to E where one expert takes everything.

    Args:
        probabilities: ``(N, E)`` of the router, frames that are not padding.
        chosen: ``(N, k)`` experts.
    """
    num_experts = probabilities.size(1)
    counts = torch.bincount(chosen.flatten(), minlength=num_experts)  # (E,)
    shares = counts / chosen.numel()
    return num_experts * (shares * probabilities.mean(dim=0)).sum()


def z_loss(logits: torch.Tensor) -> torch.Tensor:
    """Keeps the router's logits small: mean of ``logsumexp(logits)^2`` (ST-MoE, Eq. 5).

    Args:
        logits: ``(N, E)``, frames that are not padding.
    """
    return logits.logsumexp(dim=1).square().mean()
