"""What a search has ended with, and when it may stop."""

from collections.abc import Sequence
from dataclasses import dataclass, field

NEG_INF = -float("inf")
END_MARGIN = 10.0  # nats that a late hypothesis lacks to the best: exp(-10)
END_LENGTHS = 3  # lengths in a row that must lack it


@dataclass(frozen=True)
class Hypothesis:
    """One result of a search.

    Attributes:
        tokens: Ids of the text, without prompt and end.
        score: Log probability of text and end, weighted over the scorers.
    """

    tokens: tuple[int, ...]
    score: float


@dataclass(frozen=True)
class WordHypothesis(Hypothesis):
    """A result of a search in a graph of words.

    Attributes:
        tokens: Ids of the units on the best path of these words.
        score: Log probability of that path, acoustic (scaled) and graph together.
        words: The words.
        units: The units of that path, by name.
        complete: Whether the path ends at the end of a sentence; otherwise it stops
            where the audio does, and the last word may be missing.
    """

    words: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    complete: bool = True


@dataclass
class FinishedHypotheses:
    """The hypotheses of one utterance that have ended.

    Attributes:
        hypotheses: In the order of their end.
        closed: Nothing is searched for any more.
    """

    hypotheses: list[Hypothesis] = field(default_factory=list)
    closed: bool = False
    _best_of_length: dict[int, float] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.hypotheses)

    def add(self, tokens: Sequence[int], score: float) -> None:
        """Add a hypothesis that has just ended."""
        self.hypotheses.append(Hypothesis(tuple(tokens), score))
        best = self._best_of_length.get(len(tokens), NEG_INF)
        self._best_of_length[len(tokens)] = max(score, best)

    def end_detect(self, step: int) -> bool:
        """Whether longer hypotheses have fallen hopelessly behind the best.

        Watanabe et al. 2017, "Hybrid CTC/attention architecture", Eq. 50; looks at
        the lengths that ended two to four steps ago, as ESPnet does.

        Args:
            step: Steps made before this one.
        """
        if not self.hypotheses:
            return False
        best = max(self._best_of_length.values())
        late = range(step - 2, step - 2 - END_LENGTHS, -1)
        return all(
            self._best_of_length.get(length, best) - best < -END_MARGIN
            for length in late
        )

    def nbest(self, prompt_length: int | None = None) -> list[Hypothesis]:
        """Best first.

        Args:
            prompt_length: Ranks by the score over the length, of this prompt (0 to
                leave it out) and the tokens; None by the score alone.
        """

        def rank(hypothesis: Hypothesis) -> float:
            if prompt_length is None:
                return hypothesis.score
            return hypothesis.score / max(1, prompt_length + len(hypothesis.tokens))

        return sorted(self.hypotheses, key=rank, reverse=True)
