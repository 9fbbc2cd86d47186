"""Fonts for texts in any script: what is installed, and what to write without one."""

import warnings
from collections.abc import Iterable
from functools import cache

ALWAYS = "DejaVu Sans"  # comes with matplotlib
PLACEHOLDERS = "Last Resort"  # has every character, as a box
SHOWN_AS = {"<space>": "\N{OPEN BOX}"}


def families_for(texts: Iterable[str]) -> list[str]:
    """Font families that have all characters of these texts, as far as there are any.

    Returns:
        For matplotlib's ``font.family``; the first that has a character draws it.
    """
    missing = {c for text in texts for c in text} - _characters(_fonts()[ALWAYS])
    families = [ALWAYS]
    for family, path in _fonts().items():
        if missing and missing & _characters(path):
            families.append(family)
            missing -= _characters(path)
    return families


def drawable(text: str) -> str:
    """The text, or the code points of what no installed font can draw.

    Example:
        >>> drawable("<space>"), drawable("a")
        ('␣', 'a')
    """
    text = SHOWN_AS.get(text, text)
    known = set().union(*map(_characters, _fonts().values()))
    return "".join(c if c in known else f"U+{ord(c):04X}" for c in text)


@cache
def _fonts() -> dict[str, str]:
    """Family -> file, of upright fonts of usual weight."""
    from matplotlib import font_manager

    fonts = {ALWAYS: font_manager.findfont(ALWAYS)}
    for font in font_manager.fontManager.ttflist:
        upright = font.style == "normal" and font.weight in (400, "normal", "regular")
        if upright and not font.name.startswith(PLACEHOLDERS):
            fonts.setdefault(font.name, font.fname)
    return fonts


@cache
def _characters(path: str) -> frozenset[str]:
    from matplotlib.ft2font import FT2Font

    with warnings.catch_warnings(action="ignore"):
        try:
            return frozenset(map(chr, FT2Font(path).get_charmap()))
        except (OSError, RuntimeError):  # a file that is no font after all
            return frozenset()
