"""What a user may choose of a search."""

from collections.abc import Sequence
from dataclasses import dataclass

from espnet_smoe.config.options import options_of
from espnet_smoe.config.typed import Count, Finite, Rate

AUTO = "auto"  # the bandwidth as it sounds
SEARCHES = ("greedy", "prefix_beam", "attention", "rescoring")  # of U2++


@options_of("")
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

    beam_size: Count = 5
    ctc_weight: Rate = 0.0
    maxlenratio: Finite = 0.0
    minlenratio: Finite = 0.0

    def bounds(self, frames: Sequence[int]) -> tuple[list[int], list[int]]:
        """Longest and shortest outputs of utterances with so many encoder frames."""

        def limit(ratio: float, n: int) -> int:
            return -int(ratio) if ratio < 0 else int(ratio * n)

        longest = [
            n if self.maxlenratio == 0 else max(1, limit(self.maxlenratio, n))
            for n in frames
        ]
        return longest, [limit(self.minlenratio, n) for n in frames]
