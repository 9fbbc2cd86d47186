"""What a task makes of an utterance."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from espnet_smoe.inference.output.words import Word
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
        words: The words of the text, where the pieces have times; seconds as theirs.
    """

    text: str
    tokens: tuple[str, ...]
    score: float
    nbest: tuple[tuple[str, float], ...] = ()
    timed: tuple[TimedToken, ...] = ()
    confidence: float | None = None
    experts: "tuple[ExpertUse, ...]" = ()
    words: tuple[Word, ...] = ()

    def shifted(self, seconds: float) -> "Result":
        """The same of a waveform that begins so much earlier."""
        return replace(
            self,
            timed=tuple(_later(token, seconds) for token in self.timed),
            words=tuple(_later(word, seconds) for word in self.words),
        )


def _later[Timed: (TimedToken, Word)](timed: Timed, seconds: float) -> Timed:
    start, end = max(0.0, timed.start + seconds), max(0.0, timed.end + seconds)
    return replace(timed, start=start, end=end)


@dataclass(frozen=True)
class Piece:
    """A stretch of a recording and what was found in it.

    Attributes:
        start: Seconds.
        end: Seconds.
        results: By task; their times count from the start.
    """

    start: float
    end: float
    results: dict[str, Result]


NO_SPEECH = Result("", (), 0.0, (("", 0.0),))


def join_results(results: Sequence[Result], starts: Sequence[float]) -> Result:
    """One result of the pieces of a recording.

    Args:
        results: Of each piece.
        starts: Seconds at which each begins.
    """
    if not results:
        return NO_SPEECH
    results = [result.shifted(start) for result, start in zip(results, starts)]
    if len(results) == 1:
        return results[0]
    timed = tuple(token for result in results for token in result.timed)
    words = tuple(word for result in results for word in result.words)
    text = " ".join(result.text for result in results if result.text)
    score = sum(result.score for result in results)
    tokens = tuple(token for result in results for token in result.tokens)
    confidence = mean_confidence(results)
    return Result(text, tokens, score, ((text, score),), timed, confidence, words=words)


def mean_confidence(results: Sequence[Result]) -> float | None:
    """Of several pieces, each as important as it is long; None of none."""
    known = [r for r in results if r.confidence is not None]
    if not known:
        return None
    lengths = [max(1, len(r.tokens)) for r in known]
    return float(np.average([r.confidence for r in known], weights=lengths))
