"""Korean transcriptions as their corpora write them, turned into plain text.

The marks are those of KsponSpeech (ETRI's rules) and of the AIHub corpora after it:

==================  =====================================  =================
mark                meaning                                option
==================  =====================================  =================
``(70%)/(칠십 퍼)``   written form, then spoken form         ``dual``
``아/  (FP:음)``      filler                                 ``fillers``
``모+ 몬  -나- 나는``   fragment that is said again            ``repetitions``
``단어*``             mispronounced                          ``mispronounced``
``u/ (()) ((말))``    cannot be understood; a guess at it    ``unclear``
``&name1& #@이름#``   a name taken out                       ``anonymised``
``b/ n/ l/ o/``     breath, noise, laughter, other voices  always taken out
``[웃음] {laughing}``  description of a sound                 always taken out
==================  =====================================  =================

Of a mark that is broken (a bracket never closed) only the sign goes; its words stay.
"""

import re
import unicodedata
from dataclasses import dataclass
from typing import Literal, get_args, get_type_hints

from espnet_smoe.data.text.korean_numbers import read_signs, spell_numbers
from espnet_smoe.data.text.number_forms import CURRENCY_SIGNS, Doubts
from espnet_smoe.data.text.unicode_text import normalize_unicode


@dataclass(frozen=True)
class KoreanOptions:
    """What becomes of each mark. The defaults write down what is heard.

    Attributes:
        dual: Side of a dual form that stays: ``spoken`` or ``written``.
        fillers: ``keep`` or ``drop`` the words marked as fillers.
        repetitions: ``keep`` or ``drop`` the fragments that are said again.
        mispronounced: ``keep`` or ``drop`` the words marked as mispronounced.
        unclear: ``keep`` the transcriber's guess, ``drop`` it, or ``reject`` the
            utterance (the text becomes empty): it has speech that no text covers.
        anonymised: ``drop`` the mark in place of a name, or ``reject`` the utterance.
        punctuation: ``drop`` or ``keep`` (``.,?!`` and the like; never brackets).
        numbers: ``keep`` digits that are left, or ``spell`` them as they are read
            (:mod:`~espnet_smoe.data.text.korean_numbers`). Signs about them (3:30,
            -5도, 3~5개) become words either way; ``% ℃ $`` and the letters of units
            stay with digits that are kept.

    Raises:
        ValueError: A field has a value that it does not know.
    """

    dual: Literal["spoken", "written"] = "spoken"
    fillers: Literal["keep", "drop"] = "keep"
    repetitions: Literal["keep", "drop"] = "keep"
    mispronounced: Literal["keep", "drop"] = "keep"
    unclear: Literal["keep", "drop", "reject"] = "keep"
    anonymised: Literal["drop", "reject"] = "drop"
    punctuation: Literal["drop", "keep"] = "drop"
    numbers: Literal["keep", "spell"] = "keep"

    def __post_init__(self) -> None:
        for name, known in CHOICES.items():
            value = getattr(self, name)
            if value not in known:
                raise ValueError(
                    f"Korean text option {name}: unknown value {value!r}. "
                    f"Use one of: {', '.join(known)}."
                )


CHOICES = {name: get_args(kind) for name, kind in get_type_hints(KoreanOptions).items()}


def normalize(
    text: str,
    options: KoreanOptions = KoreanOptions(),
    spoken_first: bool = False,
    doubts: Doubts | None = None,
) -> str:
    """Turn a transcription with marks into plain text.

    Args:
        text: One utterance's transcription.
        options: What becomes of each mark.
        spoken_first: Dual forms are ``(spoken)/(written)``, as in the long-recording
            corpora, and not ``(written)/(spoken)``, as in KsponSpeech.
        doubts: Receives numbers that may be read otherwise, and signs that have no
            reading and are left out.

    Returns:
        The text in NFC with single spaces; empty where nothing is left. Given to
        this function again, it comes back unchanged.

    Example:
        >>> normalize("b/ 아/ 모+ 몬 소리야 (70%)/(칠십 퍼센트) 확률이라니. n/")
        '아 모 몬 소리야 칠십 퍼센트 확률이라니'
        >>> normalize("아/ (70%)/(칠십 퍼센트)", KoreanOptions("written", "drop"))
        '70%'
    """
    # A mark taken away can bring another to light, so go on until nothing changes.
    doubts = [] if doubts is None else doubts
    while (plain := _normalize_once(text, options, spoken_first, doubts)) != text:
        text, doubts = plain, []
    return text


normalise = normalize  # its name in earlier versions


def _normalize_once(
    text: str, options: KoreanOptions, spoken_first: bool, doubts: Doubts
) -> str:
    text = normalize_unicode(text)
    text = SOUND_AFTER_SLASH.sub(" ", text)
    text = _choose_dual(text, (options.dual == "spoken") == spoken_first)
    if options.anonymised == "reject" and ANONYMISED.search(text):
        return ""
    text = ANONYMISED.sub(" ", text)
    if options.unclear == "reject" and UNCLEAR.search(text):
        return ""
    text = UNCLEAR.sub(r" \1 " if options.unclear == "keep" else " ", text)
    text = TAGGED_WORD.sub(_untag, text)
    text = SOUND.sub(" ", text)
    text = _marked_words(text, options)
    if options.numbers == "spell":
        text = spell_numbers(text, doubts)
    else:
        text = read_signs(text, spell=False, doubts=doubts)
    text = _punctuation(text, keep=options.punctuation == "keep")
    return " ".join(text.split())


# Marks

SOUNDS = "웃음|목청|박수|노래|음악|잡음|기침|한숨|noise|bgm|laughing|singing"
SOUND_AFTER_SLASH = re.compile(r"/\((?:noise|bgm)\)")
SOUND = re.compile(
    r"(?<![A-Za-z])[bnlo]/(?![A-Za-z0-9])"
    rf"|\[[^\[\]]*\]|\{{[^{{}}]*\}}|<[^<>\s\d]+>|\((?:{SOUNDS})\)|\(?@(?:{SOUNDS})\b\)?"
)
DUAL = re.compile(r"\(([^()]*)\)\s*/\s*\(([^()]*)\)")
NAMES = "이름|상호명|소속|주소|전화번호|계좌번호|카드번호|주민번호"
ANONYMISED = re.compile(rf"(?<![A-Za-z0-9])&[\w-]+&|#@[^#\s]+#|(?<!\w)@(?:{NAMES})\d*")
UNCLEAR = re.compile(r"(?<![A-Za-z])u/(?![A-Za-z0-9])|\(\(([^()]*)\)\)")
TAGGED_WORD = re.compile(r"\(\s*([A-Z]{2})\s*:([^()]*)\)")
HANGUL = "가-힣ㄱ-ㅎㅏ-ㅣ"
IN_HYPHENS = re.compile(rf"(?<!\S)-([{HANGUL}]+)-(?!\S)")
MISPRONOUNCED = re.compile(r"\w*[^\W\d]\*\w*")
REPETITION = re.compile(rf"[{HANGUL}]+\*?/?\+/?")
FILLER = re.compile(rf"[{HANGUL}]+~*\*?\+?/\+?(?!\w)")  # not 남/녀


def _choose_dual(text: str, first: bool) -> str:
    """Put one side in the place of each dual form, the innermost first."""

    def side(match: re.Match) -> str:
        one, other = match.groups() if first else reversed(match.groups())
        return one if one.strip() else other

    count = 1
    while count:
        text, count = DUAL.subn(side, text)
    return text


def _untag(match: re.Match) -> str:
    """``(FP:음)`` is a filler, ``(NO:)`` a noise; other tags give their words back."""
    tag, words = match.group(1), match.group(2).split()
    return " " + " ".join(f"{w}/" if tag == "FP" else w for w in words) + " "


def _marked_words(text: str, options: KoreanOptions) -> str:
    """Drop the words that an option drops; of the others only ``*`` leaves no gap."""
    text = IN_HYPHENS.sub(r"\1+", text)
    for action, mark in (
        (options.mispronounced, MISPRONOUNCED),
        (options.repetitions, REPETITION),
        (options.fillers, FILLER),
    ):
        if action == "drop":
            text = mark.sub(" ", text)
    return re.sub(r"(?<=[^\W\d])\*", "", text)


# Characters

SPOKEN_SYMBOLS = "%‰℃℉°" + CURRENCY_SIGNS  # read aloud
WRITTEN_PUNCTUATION = ".,?!…:;'\"‘’“”-~·" + SPOKEN_SYMBOLS


def _punctuation(text: str, keep: bool) -> str:
    """Put a space for each sign that is no part of a word or number."""
    padded = f" {text} "
    triples = zip(padded, padded[1:], padded[2:])
    return "".join(
        here if _stays(before, here, after, keep) else " "
        for before, here, after in triples
    )


def _stays(before: str, here: str, after: str, keep: bool) -> bool:
    if unicodedata.category(here)[0] not in "PS":
        return True
    if keep and here in WRITTEN_PUNCTUATION:
        return True
    if here in ".,":
        return _is_digit(before) and _is_digit(after)
    if here in "&'":  # AT&T, don't
        return _is_latin(before) and _is_latin(after)
    return here in SPOKEN_SYMBOLS


def _is_digit(char: str) -> bool:
    return char.isascii() and char.isdigit()


def _is_latin(char: str) -> bool:
    return char.isascii() and char.isalpha()
