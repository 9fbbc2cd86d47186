"""When each word of a text was said, by the times of its tokens."""

import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from espnet_smoe.inference.streaming.events import TimedToken


@dataclass(frozen=True)
class Word:
    """A word and where it was said.

    Attributes:
        text: Without the space around it.
        start: Seconds, of the clock of its tokens.
        end: Seconds.
        confidence: Mean of its tokens, 0 to 1.
    """

    text: str
    start: float
    end: float
    confidence: float


def words_of(
    timed: Sequence[TimedToken], join: Callable[[Sequence[str]], str]
) -> list[Word]:
    """The words of a text; of one without spaces, its characters.

    Args:
        timed: Its tokens, in their order.
        join: Tokens to text, as `detokenizer` makes.

    Example:
        >>> tokens = [TimedToken(t, i, i + 1, 1.0) for i, t in enumerate("ab cd")]
        >>> [(w.text, w.start, w.end) for w in words_of(tokens, "".join)]
        [('ab', 0, 2), ('cd', 3, 5)]
    """
    words = []
    for text, first, last in token_ranges([token.token for token in timed], join):
        own = timed[first:last]
        sure = sum(token.confidence for token in own) / len(own)
        words.append(Word(text, own[0].start, own[-1].end, sure))
    return words


def token_ranges(
    tokens: Sequence[str], join: Callable[[Sequence[str]], str]
) -> list[tuple[str, int, int]]:
    """The words of a text; of each the first token and the one behind its last.

    Args:
        tokens: Of the text.
        join: Tokens to text.

    Example:
        >>> token_ranges(list("ab cd"), "".join)
        [('ab', 0, 2), ('cd', 3, 5)]
    """
    whole = join(tokens)
    # how much of the text the first tokens give, and how much the others, whatever
    # pieces they are: spaces of their own, or parts of a character
    counts = range(len(tokens) + 1)
    before = [len(join(tokens[:n])) for n in counts]
    lacking = [len(whole) - len(join(tokens[n:])) for n in counts]
    words = []
    for text, start, end in _parts(whole):
        first = max(0, min(bisect_right(lacking, start), len(tokens)) - 1)
        last = max(first + 1, min(bisect_left(before, end), len(tokens)))
        words.append((text, first, last))
    return words


def _parts(text: str) -> Iterator[tuple[str, int, int]]:
    """Words, first character and the one behind the last; wide characters alone."""
    start = 0
    for i, character in enumerate(text + " "):
        if character.isspace() or _is_alone(character):
            if i > start:
                yield text[start:i], start, i
            start = i
        if character.isspace():
            start = i + 1
        elif _is_alone(character):
            yield character, i, i + 1
            start = i + 1


def _is_alone(character: str) -> bool:
    """Whether it belongs to a script without spaces between words."""
    name = unicodedata.name(character, "")
    return name.startswith(("CJK UNIFIED", "HIRAGANA", "KATAKANA"))
