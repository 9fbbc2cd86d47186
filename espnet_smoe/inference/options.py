"""What a user may choose of a search."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class SearchOptions:
    """Beam size, weights and lengths.

    Attributes:
        beam_size: Hypotheses kept, K.
        ctc_weight: Weight w in w CTC + (1 - w) decoder, for the task that has a CTC
            head.
        maxlenratio: Longest output over encoder frames; 0 detects the end; negative is
            a number of tokens.
        minlenratio: Shortest output over encoder frames; negative is a number of
            tokens.
    """

    beam_size: int = 5
    ctc_weight: float = 0.0
    maxlenratio: float = 0.0
    minlenratio: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what no search can do."""
        if self.beam_size < 1:
            raise ValueError(f"beam_size must be at least 1, got {self.beam_size}")
        if not 0 <= self.ctc_weight < 1:
            raise ValueError(
                f"ctc_weight must be in 0..1, without 1, got {self.ctc_weight}"
            )

    def bounds(self, frames: Sequence[int]) -> tuple[list[int], list[int]]:
        """Longest and shortest outputs of utterances with so many encoder frames."""

        def limit(ratio: float, n: int) -> int:
            return -int(ratio) if ratio < 0 else int(ratio * n)

        longest = [
            n if self.maxlenratio == 0 else max(1, limit(self.maxlenratio, n))
            for n in frames
        ]
        return longest, [limit(self.minlenratio, n) for n in frames]
