"""The losses over the vocabulary, with few passes over its scores.

They are ESPnet's, to rounding. ESPnet writes down the smoothed target of every token of
the vocabulary, and takes the gradient of CTC over all of them; here both gradients are
made of the probabilities alone, changed where a target is. A pass over a vocabulary
costs as much as a layer.
"""

from math import log
from typing import Any

import torch
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from espnet_smoe.compat import CTC


class LabelSmoothingLoss(nn.Module):
    """Divergence from smoothed targets (Szegedy et al. 2016, Section 7).

    A target has the probability ``1 - smoothing``, each other token an equal part of
    the rest.

    Args:
        size: V.
        padding_idx: Target that plays no part.
        smoothing: 0 for the cross entropy.
        normalize_length: Mean over tokens, else over the rows of the batch.
    """

    def __init__(
        self, size: int, padding_idx: int, smoothing: float, normalize_length: bool
    ):
        super().__init__()
        self.size, self.padding_idx = size, padding_idx
        self.smoothing, self.normalize_length = smoothing, normalize_length

    def forward(self, x: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """The loss of scores ``(B, L, V)`` for targets ``(B, L)``."""
        batch = len(x)
        x, target = x.flatten(0, 1), target.flatten()
        counted = target != self.padding_idx
        loss = _SmoothedCrossEntropy.apply(x, target, counted, self.smoothing)
        return loss / (counted.sum() if self.normalize_length else batch)


class _SmoothedCrossEntropy(torch.autograd.Function):
    """Sum over the rows that count."""

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        target: torch.Tensor,
        counted: torch.Tensor,
        smoothing: float,
    ) -> torch.Tensor:
        size = x.size(1)
        sure, other = 1.0 - smoothing, smoothing / max(1, size - 1)
        log_p = x.log_softmax(dim=1)  # (N, V)
        target = target.masked_fill(~counted, 0)[:, None]
        of_target = log_p.gather(1, target)[:, 0]  # (N,)
        loss = (other - sure) * of_target
        if other:
            loss = loss - other * log_p.sum(dim=1)
        entropy = sum(n * p * log(p) for n, p in ((1, sure), (size - 1, other)) if p)
        loss = (loss + entropy).masked_fill(~counted, 0.0)
        ctx.save_for_backward(log_p, target, counted)
        ctx.probabilities = sure, other
        return loss.sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        log_p, target, counted = ctx.saved_tensors
        sure, other = ctx.probabilities
        found = log_p.exp()
        found -= other
        found.scatter_add_(1, target, found.new_full(target.shape, other - sure))
        found *= (grad * counted)[:, None]
        return found, None, None, None


def ctc_loss(
    ctc: CTC,
    encoded: torch.Tensor,
    lengths: torch.Tensor,
    text: torch.Tensor,
    text_lengths: torch.Tensor,
) -> torch.Tensor:
    """The loss of a CTC head, mean over the batch.

    Args:
        ctc: ESPnet's.
        encoded: ``(B, T, D)``.
        lengths: ``(B,)`` frames.
        text: ``(B, L)`` tokens.
        text_lengths: ``(B,)``.
    """
    usual = ctc.ctc_type == "builtin" and ctc.reduce and ctc.ctc_loss.zero_infinity
    if not usual:
        return ctc(encoded, lengths, text, text_lengths)
    scores = ctc.ctc_lo(functional.dropout(encoded, ctc.dropout_rate))  # (B, T, V)
    tokens = text.clamp(min=0).to(scores.device)  # padding is not read
    blank = ctc.ctc_loss.blank
    losses = _CTCLoss.apply(scores, lengths, tokens, text_lengths, blank)
    return (losses.sum() / len(losses)).to(encoded.dtype)


class _CTCLoss(torch.autograd.Function):
    """Of each utterance, 0 where it is infinite (Graves et al. 2006, Eq. 8, 16).

    Only the blank and the tokens of its text count for an utterance, so the recursion
    runs over their scores alone.
    """

    @staticmethod
    def forward(
        ctx: Any,
        scores: torch.Tensor,
        lengths: torch.Tensor,
        text: torch.Tensor,
        text_lengths: torch.Tensor,
        blank: int,
    ) -> torch.Tensor:
        dtype = torch.promote_types(scores.dtype, torch.float32)
        log_p = scores.log_softmax(dim=2, dtype=dtype)  # (B, T, V)
        tokens = functional.pad(text, (1, 0), value=blank)  # (B, 1 + L)
        # a token that stands twice is where it stands first
        first = (tokens[:, :, None] == tokens[:, None, :]).int().argmax(dim=2)
        index = tokens[:, None, :].expand(-1, log_p.size(1), -1)  # (B, T, 1 + L)
        own = log_p.gather(2, index)  # (B, T, 1 + L)
        learns = ctx.needs_input_grad[0]
        with torch.set_grad_enabled(learns):
            own.requires_grad_(learns)
            given = own.transpose(0, 1), first[:, 1:], lengths, text_lengths
            losses = functional.ctc_loss(*given, blank=0, reduction="none")  # (B,)
        infinite = losses.detach().isinf()
        if learns:
            given = losses, own, torch.ones_like(losses)
            (grad,) = torch.autograd.grad(*given)  # probability - posterior
            frames = torch.arange(log_p.size(1), device=log_p.device)
            counted = frames < lengths.to(log_p.device)[:, None]  # (B, T)
            counted &= ~infinite[:, None]
            own = own.detach()
            posteriors = (own.exp() - grad).masked_fill(~counted[:, :, None], 0.0)
            ctx.save_for_backward(log_p, index, posteriors, counted)
            ctx.dtype = scores.dtype
        return losses.detach().masked_fill(infinite, 0.0)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        log_p, index, posteriors, counted = ctx.saved_tensors
        grad = grad[:, None, None]
        found = log_p.exp()
        found *= grad * counted[:, :, None]
        found.scatter_add_(2, index, -grad * posteriors)
        return found.to(ctx.dtype), None, None, None, None
