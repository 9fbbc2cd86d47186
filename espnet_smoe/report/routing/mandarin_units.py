"""Classes of modelling units, whatever the units are.

Of Mandarin syllables: initial, final and tone. Initials are put together by manner,
finals by how they end; classes, not single sounds, so that a test set of some minutes
holds enough of each. Of any other units (characters, pieces of words, phones) the class
is the unit itself.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

SYLLABLE = re.compile(r"([a-zêü]*(?:[aeiouvêümnr]|ng))([1-5])")
INITIAL = re.compile(r"zh|ch|sh|[bpmfdtnlgkhjqxrzcs]")
VOWEL = re.compile(r"[aeiouvêü]")
ENGLISH = "English"

INITIALS = {
    "b d g": "b d g",  # plain stops
    "p t k": "p t k",  # aspirated stops
    "z zh j": "z zh j",  # plain affricates
    "c ch q": "c ch q",  # aspirated affricates
    "f h s sh x": "f h s sh x",  # fricatives
    "l m n r": "l m n r",  # sonorants
    "none": "",  # y and w only spell that there is none
}
FINALS = {  # the first whose ending fits
    "-n": r"n|m",
    "-ng": r"ng",
    "-ai -ei": r"[aeu]i",
    "-ao -ou": r"ao|[oi]u",
    "-er": r"e?r",
    "a": r"a",
    "e o": r"[eoê]",
    "i u ü": r"[iuvü]",
}
TONES = {"1": "1", "2": "2", "3": "3", "4": "4", "neutral": "5"}
FACTORS = {
    "initial": (*INITIALS, ENGLISH),
    "final": (*FINALS, ENGLISH),
    "tone": (*TONES, ENGLISH),
}


UNIT = "unit"


@dataclass(frozen=True)
class Factors:
    """How units are put into classes.

    Attributes:
        names: Factor -> its classes.
        classes_of: A unit -> its class by factor; empty for a unit that has none.
    """

    names: dict[str, tuple[str, ...]]
    classes_of: Callable[[str], dict[str, str]]


def factors_of(texts: Iterable[Sequence[str]]) -> Factors:
    """The factors by which units of these texts are put into classes.

    Args:
        texts: In modelling units.

    Returns:
        Initial, final and tone where most units are Mandarin syllables; else the unit
        itself, the most frequent first.

    Example:
        >>> factors_of([["ni3", "hao3"]]).names["tone"]
        ('1', '2', '3', '4', 'neutral', 'English')
        >>> factors_of([["l", "o", "l"]]).names
        {'unit': ('l', 'o')}
    """
    counts = Counter(unit for text in texts for unit in text if not _is_special(unit))
    syllables = sum(n for unit, n in counts.items() if SYLLABLE.fullmatch(unit))
    phones = sum(n for unit, n in counts.items() if _is_phone(unit))
    # a phone alone says nothing: characters may be capitals, too
    if syllables > 0 and syllables + phones > counts.total() / 2:
        return Factors(FACTORS, classes_of)
    units = tuple(unit for unit, _ in counts.most_common())
    known = set(units)
    return Factors({UNIT: units}, lambda u: {UNIT: u} if u in known else {})


def _is_special(unit: str) -> bool:
    return len(unit) > 2 and unit[0] == "<" and unit[-1] == ">" and unit != "<space>"


def _is_phone(unit: str) -> bool:
    return unit.isascii() and unit.isalpha() and unit.isupper()


def classes_of(unit: str) -> dict[str, str]:
    """The classes of a modelling unit.

    Args:
        unit: A tone syllable in pinyin, ü written as it is or as v, or an English
            phone in capitals.

    Returns:
        Class by factor (`FACTORS`); empty for a unit that is neither, such as
        ``<unk>``.

    Example:
        >>> classes_of("zhuang1")
        {'initial': 'z zh j', 'final': '-ng', 'tone': '1'}
        >>> classes_of("HH")
        {'initial': 'English', 'final': 'English', 'tone': 'English'}
    """
    if _is_phone(unit):
        return dict.fromkeys(FACTORS, ENGLISH)
    syllable = SYLLABLE.fullmatch(unit)
    if syllable is None:
        return {}
    letters, number = syllable.groups()
    tone = next(name for name, digit in TONES.items() if digit == number)
    return {"initial": _initial(letters), "final": _final(letters), "tone": tone}


def _initial(letters: str) -> str:
    """Of a nasal that is a syllable of its own (``ng``, ``m``) there is none."""
    longest = INITIAL.match(letters)
    if longest is None or not VOWEL.search(letters):
        return "none"
    return next(name for name, of in INITIALS.items() if longest[0] in of.split())


def _final(letters: str) -> str:
    return next(
        name for name, end in FINALS.items() if re.search(f"(?:{end})$", letters)
    )
