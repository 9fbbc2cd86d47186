"""When each token was said, and how sure a CTC head is of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:  # torch takes its time, and the --help of transcribe has none
    import torch


@dataclass(frozen=True)
class TokenSpan:
    """A token and the frames on which it is aligned.

    Attributes:
        token: Id.
        start: First frame.
        end: Frame after the last.
        confidence: Mean probability of the token over these frames, in 0..1.
    """

    token: int
    start: int
    end: int
    confidence: float


def align(
    log_probs: np.ndarray, tokens: Sequence[int], blank: int = 0
) -> list[TokenSpan]:
    """The frames of each token on the most probable alignment of a text.

    CTC is free to be late: a token is where the head peaks, which is often one frame.

    Args:
        log_probs: ``(T, V)``.
        tokens: L ids of the text.
        blank: Id of the blank.

    Returns:
        A span a token, in their order.

    Raises:
        ValueError: As `token_of_frame`.

    Example:
        >>> log_probs = np.log([[0.9, 0.1], [0.2, 0.8], [0.9, 0.1]])
        >>> align(log_probs, [1])
        [TokenSpan(token=1, start=1, end=2, confidence=0.8)]
    """
    numbers = token_of_frame(log_probs, tokens, blank)  # (T,)
    frames = (numbers >= 0).nonzero()[0]
    numbers = numbers[frames]
    starts = np.searchsorted(numbers, np.arange(len(tokens) + 1))
    aligned = np.asarray(tokens, dtype=np.int64)[numbers]
    probabilities = np.exp(np.asarray(log_probs)[frames, aligned].astype(np.float64))
    return [
        TokenSpan(
            int(token),
            int(frames[first]),
            int(frames[past - 1]) + 1,
            float(probabilities[first:past].mean()),
        )
        for token, first, past in zip(tokens, starts[:-1], starts[1:])
    ]


def token_of_frame(
    log_probs: np.ndarray | torch.Tensor, tokens: Sequence[int], blank: int = 0
) -> np.ndarray:
    """The most probable alignment of a text with its frames.

    Graves et al. 2006, "Connectionist temporal classification", Section 4.1, with the
    maximum in place of the sum.

    Args:
        log_probs: ``(T, V)``.
        tokens: L ids of the text.
        blank: Id of the blank.

    Returns:
        ``(T,)`` number of the token, 0 to L - 1, or -1 where the path is blank.

    Raises:
        ValueError: Fewer frames than the tokens need, a token that is not in the
            vocabulary or the blank, or one that the head gives no probability.

    Example:
        >>> token_of_frame(np.log([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1]]), [1])
        array([-1,  0])
    """
    import torch
    from torchaudio.functional import forced_align

    emissions = torch.as_tensor(log_probs)
    _check(tuple(emissions.shape), np.asarray(tokens, dtype=np.int64), blank)
    if not len(tokens):
        return np.full(len(emissions), -1)
    # on a CPU, in float32: what it knows everywhere, and a text is short
    emissions = emissions.float().cpu().contiguous()[None]  # (1, T, V)
    targets = torch.tensor([list(tokens)], dtype=torch.int32)
    paths, scores = forced_align(emissions, targets, blank=blank)
    if torch.isinf(scores).any():
        raise ValueError(
            f"no alignment of the {len(tokens)} tokens with the {len(emissions[0])} "
            "frames has a probability; some token's is 0 in every frame that it could "
            "have"
        )
    path = paths[0].numpy()
    starts = path != np.concatenate(([blank], path[:-1]))
    number = np.cumsum(starts & (path != blank)) - 1  # of the latest token
    return np.where(path == blank, -1, number)


def _check(shape: tuple[int, int], tokens: np.ndarray, blank: int) -> None:
    frames, vocabulary = shape
    repeats = int((tokens[1:] == tokens[:-1]).sum())  # a blank must part them
    if len(tokens) + repeats > frames:
        raise ValueError(
            f"{len(tokens)} tokens, {repeats} of them the same as the one before, do "
            f"not fit into {frames} frames; align a text with the frames that it was "
            "recognised in"
        )
    strange = tokens[(tokens < 0) | (tokens >= vocabulary) | (tokens == blank)]
    if len(strange):
        raise ValueError(
            f"token {strange[0]} cannot be aligned: ids are 0 to {vocabulary - 1}, "
            f"and {blank} is the blank"
        )
