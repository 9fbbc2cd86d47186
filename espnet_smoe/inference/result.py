"""What a task makes of an utterance."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from espnet_smoe.inference.streaming.events import TimedToken

if TYPE_CHECKING:
    from espnet_smoe.inference.expert_use import ExpertUse  # brings torch


@dataclass(frozen=True)
class Result:
    """What a task makes of an utterance.

    Attributes:
        text: The text; empty where nobody speaks.
        tokens: Its pieces.
        score: Log probability.
        nbest: The best hypotheses as (text, score), the first of them this one.
        timed: The pieces with the time and the confidence of each, where the model
            tells them; seconds of the waveform.
        confidence: 0 to 1, small for what is no speech or of another language, see
            `espnet_smoe.inference.confidence`; None where there is no text.
        experts: That an utterance went to, where the recognizer watches them (see
            `BaseRecognizer.watching_experts`).
    """

    text: str
    tokens: tuple[str, ...]
    score: float
    nbest: tuple[tuple[str, float], ...] = ()
    timed: tuple[TimedToken, ...] = ()
    confidence: float | None = None
    experts: "tuple[ExpertUse, ...]" = ()


NO_SPEECH = Result("", (), 0.0, (("", 0.0),))


def join_results(results: Sequence[Result], starts: Sequence[float]) -> Result:
    """One result of the pieces of a recording.

    Args:
        results: Of each piece.
        starts: Seconds at which each begins.
    """
    if not results:
        return NO_SPEECH
    timed = tuple(
        replace(token, start=start + token.start, end=start + token.end)
        for result, start in zip(results, starts)
        for token in result.timed
    )
    if len(results) == 1:
        return replace(results[0], timed=timed)
    text = " ".join(result.text for result in results if result.text)
    score = sum(result.score for result in results)
    tokens = tuple(token for result in results for token in result.tokens)
    confidence = mean_confidence(results)
    return Result(text, tokens, score, ((text, score),), timed, confidence)


def mean_confidence(results: Sequence[Result]) -> float | None:
    """Of several pieces, each as important as it is long; None of none."""
    known = [r for r in results if r.confidence is not None]
    if not known:
        return None
    lengths = [max(1, len(r.tokens)) for r in known]
    return float(np.average([r.confidence for r in known], weights=lengths))
