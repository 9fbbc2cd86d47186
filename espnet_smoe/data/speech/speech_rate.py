"""Is there more text than can be said in the time? Then the audio may be cut off.

No header tells that of raw samples or of MP3, and a text can belong to other audio.
"""

import unicodedata
from collections.abc import Sequence

import numpy as np

LETTERS_A_SYLLABLE = 2.5  # of alphabets
FASTEST = 15.0  # syllables a second; people who read aloud stay below 10
FASTER = 2.0  # times the median of the set
FEWEST = 20  # utterances that have a median
SYLLABLES = ("HANGUL SYLLABLE", "CJK UNIFIED", "HIRAGANA", "KATAKANA")


def syllables(text: str) -> float:
    """About how many syllables a text has.

    Example:
        >>> syllables("안녕 하세요"), syllables("hello")
        (5.0, 2.0)
    """
    total = 0.0
    for character in text:
        if character.isascii():
            syllable = character.isdecimal()
        else:
            syllable = unicodedata.name(character, "").startswith(SYLLABLES)
        if syllable:
            total += 1
        elif character.isalpha():
            total += 1 / LETTERS_A_SYLLABLE
    return total


def fastest(rates: Sequence[float]) -> float:
    """How fast people speak at most in a set, in syllables a second.

    Args:
        rates: Of its utterances.
    """
    if len(rates) < FEWEST:
        return FASTEST
    return min(FASTEST, FASTER * float(np.median(rates)))
