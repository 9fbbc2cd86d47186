"""What a user may choose of a search."""

from collections.abc import Sequence
from dataclasses import dataclass

from espnet_smoe.config.options import options_of
from espnet_smoe.config.typed import Count, Finite, Rate

AUTO = "auto"  # the bandwidth as it sounds
LEAST_BOUND = 100  # hypotheses that may be kept of any vocabulary
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


def check_beam(beam_size: int, tokens: Sequence[str]) -> None:
    """Refuse a beam that only takes memory: a search begins with one token each.

    Args:
        beam_size: Hypotheses kept.
        tokens: The V tokens of the model.

    Raises:
        ValueError: It is above V (or `LEAST_BOUND`).
    """
    most = max(LEAST_BOUND, len(tokens))
    if beam_size > most:
        raise ValueError(
            f"beam_size {beam_size} is above {most}: the model has {len(tokens)} "
            "tokens, and more hypotheses find nothing; 5 to 20 are usual"
        )
