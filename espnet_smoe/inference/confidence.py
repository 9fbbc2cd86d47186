"""How sure a model is that a text was said, 0 to 1.

A decoder writes fluent sentences about noise, too, with scores like those of right
ones. A CTC head is bound to the frames: the mean posterior of the tokens, where they
are aligned, tells noise, tones and other languages from speech, see
`espnet_smoe.benchmark.confidence` for figures.
"""

import math
from collections.abc import Sequence

import numpy as np

from espnet_smoe.inference.search.ctc_align import align
from espnet_smoe.inference.search.hypothesis import Hypothesis
from espnet_smoe.inference.streaming.events import TimedToken


def timed_tokens(
    log_probs: np.ndarray,
    tokens: Sequence[int],
    names: Sequence[str],
    frame_seconds: float,
    blank: int = 0,
    first_frame: int = 0,
) -> tuple[TimedToken, ...]:
    """When each token of a text was said, and how sure a CTC head is of it.

    Args:
        log_probs: ``(T, V)``.
        tokens: Ids of the text.
        names: Of the tokens.
        frame_seconds: Of a frame.
        blank: Id of the blank.
        first_frame: Number of the first row, in a stream.

    Returns:
        A token each; none where they do not fit into the frames: a decoder that CTC
        does not check may say more than that.
    """
    try:
        spans = align(log_probs, tokens, blank)
    except ValueError:
        return ()
    return tuple(
        TimedToken(
            name,
            (first_frame + span.start) * frame_seconds,
            (first_frame + span.end) * frame_seconds,
            span.confidence,
        )
        for name, span in zip(names, spans)
    )


def confidence_of_tokens(timed: Sequence[TimedToken]) -> float:
    """Mean over the tokens; 0 of none."""
    return float(np.mean([token.confidence for token in timed])) if timed else 0.0


def confidence_of_speech(log_probs: np.ndarray, blank: int = 0) -> float:
    """Mean posterior of a CTC head's own tokens ``(T, V)``; 0 where it has none.

    For texts that the head does not know, such as translations.
    """
    best = log_probs.argmax(axis=1)
    spoken = best != blank
    if not spoken.any():
        return 0.0
    return float(np.exp(log_probs.max(axis=1)[spoken]).mean())


def confidence_of_decoder(hypothesis: Hypothesis) -> float:
    """Geometric mean of the probabilities of its tokens and the end."""
    return math.exp(min(0.0, hypothesis.score) / (len(hypothesis.tokens) + 1))
