"""When each token was said, and how sure a CTC head is of it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

NEVER = -np.inf


@dataclass(frozen=True)
class TokenSpan:
    """A token and the frames in which it is heard.

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
    """The most probable alignment of a text with its frames.

    Graves et al. 2006, "Connectionist temporal classification", Section 4.1, with the
    maximum in place of the sum.

    Args:
        log_probs: ``(T, V)``.
        tokens: L ids of the text.
        blank: Id of the blank.

    Returns:
        A span a token, in their order. CTC is free to be late: a token is heard where
        the head peaks, which is often one frame.

    Raises:
        ValueError: Fewer frames than the tokens need, a token that is not in the
            vocabulary or the blank, or one that the head gives no probability.

    Example:
        >>> log_probs = np.log([[0.9, 0.1], [0.2, 0.8], [0.9, 0.1]])
        >>> align(log_probs, [1])
        [TokenSpan(token=1, start=1, end=2, confidence=0.8)]
    """
    log_probs = np.asarray(log_probs)
    tokens = np.asarray(tokens, dtype=np.int64)  # (L,)
    _check(log_probs, tokens, blank)
    if not len(tokens):
        return []
    states = _best_states(log_probs, tokens, blank)  # (T,)
    frames = (states % 2 == 1).nonzero()[0]
    numbers = states[frames] // 2  # of the token heard in these frames
    starts = np.searchsorted(numbers, np.arange(len(tokens) + 1))
    probabilities = np.exp(log_probs[frames, tokens[numbers]].astype(np.float64))
    return [
        TokenSpan(
            int(token),
            int(frames[first]),
            int(frames[past - 1]) + 1,
            float(probabilities[first:past].mean()),
        )
        for token, first, past in zip(tokens, starts[:-1], starts[1:])
    ]


def _check(log_probs: np.ndarray, tokens: np.ndarray, blank: int) -> None:
    frames, vocabulary = log_probs.shape
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


def _best_states(log_probs: np.ndarray, tokens: np.ndarray, blank: int) -> np.ndarray:
    """The state of each frame on the best path ``(T,)``.

    States are blank, token, blank ... token, blank: S = 2 L + 1, tokens at odd ones.
    """
    labels = np.full(2 * len(tokens) + 1, blank)
    labels[1::2] = tokens
    emitted = log_probs[:, labels].astype(np.float64)  # (T, S)
    # a token may follow another without a blank, unless it is the same
    may_skip = np.zeros(len(labels), dtype=bool)
    may_skip[3::2] = tokens[1:] != tokens[:-1]
    no_skip = np.where(may_skip, 0.0, NEVER)
    arrivals = np.full((3, len(labels)), NEVER)  # by staying, from one and two before
    steps = np.zeros(emitted.shape, dtype=np.int8)
    scores = np.where(np.arange(len(labels)) < 2, emitted[0], NEVER)  # (S,)
    for step, emission in zip(steps[1:], emitted[1:]):
        arrivals[0] = scores
        arrivals[1, 1:] = scores[:-1]
        arrivals[2, 2:] = scores[:-2] + no_skip[2:]
        step[:] = arrivals.argmax(axis=0)
        scores = arrivals.max(axis=0) + emission
    state = len(labels) - 1
    if scores[state - 1] > scores[state]:
        state -= 1
    if scores[state] == NEVER:
        raise ValueError(
            f"no alignment of the {len(tokens)} tokens with the {len(emitted)} frames "
            "has a probability; some token's is 0 in every frame that it could have"
        )
    states = np.empty(len(emitted), dtype=np.int64)
    for frame in range(len(emitted) - 1, -1, -1):
        states[frame] = state
        state -= int(steps[frame, state])
    return states
