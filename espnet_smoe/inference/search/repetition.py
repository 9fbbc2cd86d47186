"""A text that repeats its end until there is no room left.

Whisper does so now and then, as systems do that were trained from it. Its own program
then searches again, at random. Here the copies go, where `cut_repetition` of
`SearchOptions` says so: what stands before them is mostly right.
"""

from collections.abc import Sequence
from dataclasses import replace

from espnet_smoe.inference.search.hypothesis import Hypothesis

COPIES = 3  # in a row, of whatever length: fewer may be meant


def say_once(nbest: Sequence[Hypothesis], longest: int) -> list[Hypothesis]:
    """Cut what texts repeat; of two that are then the same the better stays.

    Args:
        nbest: Best first.
        longest: Tokens; a text that has as many was not ended by the search.
    """
    said: dict[tuple[int, ...], Hypothesis] = {}
    for found in nbest:
        tokens = found.tokens
        if len(tokens) == longest:
            tokens = without_repetition(tokens)
        said.setdefault(tokens, replace(found, tokens=tokens))
    return list(said.values())


def without_repetition(tokens: tuple[int, ...]) -> tuple[int, ...]:
    """Leave one copy of what stands at the end `COPIES` times or more.

    Args:
        tokens: Of a text that the search could not end.

    Returns:
        Its beginning, or all of it.

    Example:
        >>> without_repetition((5, 1, 2, 1, 2, 1, 2, 1))
        (5, 1, 2)
        >>> without_repetition((5, 1, 2, 1, 2))
        (5, 1, 2, 1, 2)
    """
    kept = len(tokens)
    for period in range(1, len(tokens) // COPIES + 1):
        repeated = 0  # tokens at the end that equal those a period before
        for late, early in zip(tokens[::-1], tokens[: len(tokens) - period][::-1]):
            if late != early:
                break
            repeated += 1
        if repeated >= (COPIES - 1) * period:
            kept = min(kept, len(tokens) - repeated)
    return tokens[:kept]
