"""One Unicode form for every text: transcripts, translations, word lists, scores.

The same sentence can be written in several ways that look alike: macOS decomposes
Hangul, web pages hold zero-width spaces, input methods type full-width letters. To a
token list and to an error rate these are different texts. What becomes of each class:

=====================================  ==============================================
class                                  becomes
=====================================  ==============================================
decomposed characters                  composed (NFC)
full-width and half-width forms        the usual character; half-width jamo the letter
ligatures, small, vertical, Arabic     the usual characters
presentation, mathematical forms
unit signs in one square (㎏ ㎡ ㏂)       their letters (kg m² a.m.)
radicals (⽇)                           the ideograph
single conjoining jamo                 the letter (ㄱ); within a syllable it stays
spaces of any kind, line ends, tabs    one space; none at the ends
Hangul filler, blank Braille pattern   one space: that is what they show
hyphens U+2010 and U+2011              ``-``
zero-width characters, bidi controls,  nothing
soft hyphens, variation selectors,
other controls, lone surrogates
zero-width joiner and non-joiner       stay between letters of scripts that spell with
                                       them (Arabic, Persian, Indic, Khmer, Mongolian);
                                       nothing elsewhere, emoji included
circled digits, superscripts,          stay, as they mean something of their own; the
fractions, Roman numerals, ``℃``       text normalization of a language reads them
=====================================  ==============================================
"""

import re
import unicodedata
from collections import Counter
from functools import cache

LOST = "\ufffd"  # stands for bytes that could not be read

# Forms whose decomposition changes nothing but the look.
SAME_MEANING = frozenset(
    "<wide> <narrow> <square> <small> <vertical> <font> "
    "<initial> <medial> <final> <isolated>".split()
)
LIGATURES_AND_RADICALS = (
    *range(0xFB00, 0xFB50),
    0x2E9F,
    0x2EF3,
    *range(0x2F00, 0x2FE0),
)
# Format characters that are seen: they stand about numbers and names.
SHOWN_FORMATS = frozenset(
    "\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891"
)
SHOWN_FORMATS |= frozenset("\u08e2\U000110bd\U000110cd")
BLANKS = "\u3164\uffa0\u2800\u2028\u2029"
LINE_CONTROLS = "\t\n\v\f\r\x1c\x1d\x1e\x1f\x85"
HYPHENS = "\u2010\u2011"
JOINERS = "\u200c\u200d\u180b\u180c\u180d\u180e\u180f"
# Default-ignorable characters that are no format characters to Unicode.
INVISIBLE = (
    0x034F,
    0x115F,
    0x1160,
    0x17B4,
    0x17B5,
    0x2065,
    *range(0xFDD0, 0xFDF0),
    *range(0xFE00, 0xFE10),
    *range(0xFFF0, 0xFFF9),
    0xFFFE,
    0xFFFF,
    *range(0xE0000, 0xE1000),
)
# Blocks that hold any of what the table is made of.
SCANNED = (
    *range(0x10000),
    *range(0x13430, 0x13440),
    *range(0x1BCA0, 0x1BCA4),
    *range(0x1D100, 0x1D800),
    *range(0x1EE00, 0x1F300),
)

JOINING = (
    "[\u0600-\u08ff\u0900-\u0dff\u1000-\u109f\u1780-\u18af\u1b00-\u1bff"
    "\ua840-\ua9ff\U0001e900-\U0001e95f]"
)
JOINER = re.compile(f"[{JOINERS}]+")
IN_JOINING_SCRIPT = re.compile(JOINING)
JAMO = re.compile("[\u1100-\u11ff]+")


def normalize_unicode(text: str, changes: Counter[str] | None = None) -> str:
    """Write a text in the one form that this package works with.

    Args:
        text: Any text; line ends become spaces.
        changes: Receives, for each class of characters that was changed, one more.

    Returns:
        The text in NFC, with single spaces; empty where nothing in it is seen. Given
        to this function again, it comes back unchanged.

    Example:
        >>> normalize_unicode("５㎏\\u200b 짜리\\u00a0쌀")
        '5kg 짜리 쌀'
        >>> normalize_unicode("\\u200b")
        ''
    """
    if text.isascii() and text.isprintable():
        return " ".join(text.split())
    plain = unicodedata.normalize("NFC", text.translate(_table()))
    plain = JOINER.sub(_joiner, plain)
    plain = unicodedata.normalize("NFC", JAMO.sub(_letters, plain))
    plain = " ".join(plain.split())
    if changes is not None and plain != text:
        changes.update(_classes(text))
    return plain


def invisible_characters(text: str) -> list[str]:
    """Names of the characters of a text that nobody sees, each once.

    Example:
        >>> invisible_characters("a\\u200b\\ufeff")
        ['U+200B', 'U+FEFF']
    """
    table = _table()
    found = (c for c in text if table.get(ord(c)) in ("", " ") or c in JOINERS)
    return [f"U+{ord(c):04X}" for c in dict.fromkeys(found) if c != " "]


def _classes(text: str) -> set[str]:
    """What had to be changed in a text, in words for a report."""
    table = _table()
    names = {"": "invisible characters", " ": "unusual spaces"}
    classes = {
        names.get(table[ord(char)], "compatibility forms")
        for char in text
        if ord(char) in table and char != " "
    }
    if JOINER.search(text):
        classes.add("invisible characters")
    if not unicodedata.is_normalized("NFC", text):
        classes.add("decomposed characters")
    return classes


@cache
def _table() -> dict[int, str]:
    """Code point to what it becomes, of those that do not stay (see the module)."""
    table = {point: _became(chr(point)) for point in SCANNED}
    table |= {point: "" for point in INVISIBLE}
    table |= {ord(char): " " for char in BLANKS + LINE_CONTROLS}
    table |= {ord(char): "-" for char in HYPHENS}
    return {point: new for point, new in table.items() if new != chr(point)}


def _became(char: str) -> str:
    category = unicodedata.category(char)
    if char in JOINERS or char in SHOWN_FORMATS:
        return char
    if category == "Zs":
        return " "
    if category in ("Cc", "Cf", "Cs"):
        return ""
    kind, _, points = unicodedata.decomposition(char).partition(" ")
    if kind not in SAME_MEANING and ord(char) not in LIGATURES_AND_RADICALS:
        return char
    if not kind.startswith("<"):  # canonical: NFC knows it
        return char
    whole = "".join(chr(int(point, 16)) for point in points.split())
    if whole.startswith(" "):  # a mark on a space: a picture of the mark
        return char
    return "".join(map(_became, whole))


def _joiner(match: re.Match[str]) -> str:
    """The first joiner of a run where both neighbors spell with it, else nothing."""
    text, start, end = match.string, match.start(), match.end()
    neighbors = text[max(start - 1, 0) : start], text[end : end + 1]
    spells = all(
        IN_JOINING_SCRIPT.match(char) and unicodedata.category(char)[0] in "LM"
        for char in neighbors
    )
    return match[0][0] if spells else ""


def _letters(match: re.Match[str]) -> str:
    """Jamo that make no syllable as letters that stand alone."""
    kinds = {unicodedata.name(char, "").split(" ")[1] for char in match[0]}
    if {"CHOSEONG", "JUNGSEONG"} <= kinds:
        return match[0]  # an old syllable that has no code point of its own
    return "".join(map(_letter, match[0]))


@cache
def _letter(jamo: str) -> str:
    _, _, name = unicodedata.name(jamo).split(" ", 2)
    try:
        return unicodedata.lookup(f"HANGUL LETTER {name}")
    except KeyError:  # an old letter
        return jamo
