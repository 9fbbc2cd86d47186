"""What is written with digits and signs: dates, times, ranges, minus signs, fractions.

Korean and Mandarin write them alike and read them each in its own way, so what a form
is is decided here, and a :class:`Speech` says how it is read. Digits stay digits; the
numbers themselves are read afterwards, by the language. A form that is read in more
ways than one, and a sign without a reading, is noted as a doubt, not lost in silence.
"""

import re
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Callable

from espnet_smoe.data.text.telephone import read_telephones
from espnet_smoe.data.text.unicode_text import normalize_unicode
from espnet_smoe.data.text.written_units import CURRENCY, NUMBER, SIGNS

Doubts = list[str]

HANGUL_OR_HANZI = "가-힣\u3007\u3400-\u4dbf\u4e00-\u9fff"
SAME_SIGN = str.maketrans("−–—‒﹣∶⁄∕〜∼～˜∙⋅", "----" + "-:" + "//" + "~~~~" + "··")
VULGAR = "¼½¾⅐⅑⅒⅓⅔⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞"
SUPERSCRIPTS = "⁰¹²³⁴⁵⁶⁷⁸⁹"
SUBSCRIPTS = "₀₁₂₃₄₅₆₇₈₉"
CURRENCY_SIGNS = "$₩€£¥₹₽₺₫฿₱₪¢₿"

# Signs that decorate a text and are not read.
SILENT = frozenset("※★☆●○■□◆◇▲△▼▽▶◀►◄♥♡♪♬♩♭♯™®©✓✔✖✗❤☞→←↑↓⇒`^~¨´¯˙˚|¦_\u20e3")

HYPHENS = re.compile(
    rf"(?<![0-9A-Za-z.,:/)\-])(\+?)({NUMBER}(?:\s?-\s?{NUMBER})+)(?![\-0-9:/])"
)
RING = re.compile(r"(?<=[0-9])(\s?)[˚º]")  # typed for °
TIME_RANGE = re.compile(
    r"(?<![0-9:])([0-9]{1,2}:[0-5][0-9])\s?-\s?(?=[0-9]{1,2}:[0-5])"
)
BELOW_TWICE = re.compile(r"(?<=영하|零下)(\s?)-(?=[0-9])")
ANGLE = re.compile(r"(?<=[0-9]°)\s?([0-9.]+)\s?[′'](?:\s?([0-9.]+)\s?[″\"])?")
DATE = re.compile(
    r"(?<![0-9./])([12][0-9]{3})\s?([./])\s?(0?[1-9]|1[0-2])\s?\2\s?"
    r"(0?[1-9]|[12][0-9]|3[01])(?![0-9/])\.?(?![0-9])"
)
TIME = re.compile(
    r"(?:(?<![A-Za-z])([AaPp])\.?[Mm]\.?\s?)?"
    r"(?<![0-9:.])([01]?[0-9]|2[0-4]):([0-5][0-9])(?::([0-5][0-9]))?(?![0-9:]|\.[0-9])"
    r"(?:\s?([AaPp])\.?[Mm](?![A-Za-z])\.?(?!\s?[0-9]))?"
)
HOUR = re.compile(r"(?<![0-9:.])(1[0-2]|[1-9])\s?([AaPp])\.?[Mm](?![A-Za-z])\.?")
RATIO = re.compile(rf"(?<![0-9:]){NUMBER}(?:\s?:\s?{NUMBER})+(?![0-9:])")
FRACTION = re.compile(r"(?<![0-9./])([0-9]+)/([0-9]+)(?![0-9/]|\.[0-9])")
MIXED = re.compile(rf"([0-9]*)\s?([{VULGAR}])")
DOTTED = re.compile(r"(?<![0-9.])[0-9]+(?:\.[0-9]+){2,}(?![0-9])")
SIGN_AFTER_CURRENCY = re.compile(rf"([{CURRENCY_SIGNS}])\s?-(?=[0-9])")
BARE_DECIMALS = re.compile(r"(?<![\w.])\.(?=[0-9])")  # .5
WAVE = re.compile(
    rf"({NUMBER}\s?[^\s0-9~]{{0,5}})\s?~\s?"
    rf"(?=(?:오전|오후|새벽|밤|上午|下午|晚上|早上|凌晨|次日)?\s?-?[{CURRENCY_SIGNS}]?[0-9])"
)
DEGREES = "(?:℃|°C|℉|°F|°|도|度|摄氏度)"
SIGNED = re.compile(
    rf"(?:(?<![\w.)\]%{re.escape(CURRENCY_SIGNS)}\-+])|(?<=到))"
    rf"(?:([-+±])(?=(?:{CURRENCY})?{NUMBER})|-\s(?={NUMBER}\s?{DEGREES}))"
)
MINUS_AFTER_WORD = re.compile(
    rf"(?<=[{HANGUL_OR_HANZI}])-(?={NUMBER}(?:到-?{NUMBER})?\s?(?:{DEGREES}|%))"
    rf"|(?<=[从為为是到至于约達达])-(?={NUMBER})"
)
BELOW_ZERO = re.compile(
    rf"{NUMBER}(?:(?:에서 |到)(?:-|영하 |零下)?{NUMBER})?\s?{DEGREES}"
)
BOUND = re.compile(rf"(?<![0-9A-Za-z]\s)(?<![0-9A-Za-z])([≥≤]|[<>]=?)\s?({NUMBER})")
OPERATOR = re.compile(
    r"(?<=[0-9%)²³])\s?([+×*÷=≠≈≒]|(?<=\s)-(?=\s)|[xX](?=\s?[0-9]))\s?"
    r"(?=[-(√]?[0-9]|[a-z](?![A-Za-z])|\?)"
    r"|(?<=[A-Za-z])\s?(×|(?<=\s)x(?=\s)|=)\s?(?=-?[0-9])"
)
ABOUT = re.compile(rf"[≈≒]\s?(?={NUMBER})")
LEADING_ZERO = re.compile(r"(?<![0-9.,])0[0-9]+\.[0-9]+(?![0-9.])")
ENGLISH_ORDINAL = re.compile(r"(?<![A-Za-z0-9])[0-9]+(?:st|nd|rd|th)(?![A-Za-z])")
ROOT = re.compile(rf"√\s?(?={NUMBER}|[A-Za-z])")
BESIDE_DIGIT = "-~/:+*=<>^#@&"
LEFT_OVER = re.compile(
    rf"(?<=[0-9])\s?[{re.escape(BESIDE_DIGIT)}]|[{re.escape(BESIDE_DIGIT)}]\s?(?=[0-9])"
    r"|(?<=[0-9])[·・‧](?=[0-9])|(?<=[0-9])\s?[′″]|(?<=[A-Za-z0-9])\s?[+=<>]\s?(?=[A-Za-z0-9])"
)
# Without digits: signs that may stand for a word, but often for none.
JOINING_WORDS = re.compile(rf"(?<=[{HANGUL_OR_HANZI}])[~-](?=[{HANGUL_OR_HANZI}])")
ALONE = re.compile(r"[@#=]|(?<![A-Za-z])&|&(?![A-Za-z])|(?<=[A-Za-z])\+")
CONTEXT = 8  # characters about a doubt


class Speech(ABC):
    """How a language reads the forms; digits in what it gives back are read later."""

    operators: dict[str, str]
    signs: dict[str, str]  # "-", "+", "±", "below zero"
    bounds: dict[str, str]  # "≥" ...: with {} for the number
    root: str
    point: str  # between numbers of a version
    code_plus: str  # before the code of a country
    keeps_symbols = False  # unread ones stay in the text, for the lexicon to name
    unit_after: re.Pattern[str]  # what makes the number before it a count or an amount
    by_digits: re.Pattern[str]  # names of services, roads, ...: surely no amounts
    maybe_by_digits: re.Pattern[str]  # the same, but it cannot be told: a doubt

    @abstractmethod
    def date(self, year: str, month: str, day: str | None) -> str:
        """A day, or a month where ``day`` is None."""

    @abstractmethod
    def time(self, hour: str, minute: str, second: str | None, half: str) -> str:
        """A time of day; ``half`` is ``a`` (morning), ``p`` or empty."""

    @abstractmethod
    def angle(self, minutes: str, seconds: str | None) -> str:
        """Minutes and seconds of a degree."""

    @abstractmethod
    def ratio(self, parts: list[str]) -> str:
        """Numbers to one another: a ratio or a score."""

    @abstractmethod
    def fraction(self, whole: str, above: str, below: str) -> str:
        """A fraction; ``whole`` is empty where there is none before it."""

    @abstractmethod
    def range(self, low: str, high: str, unit: str) -> str:
        """From one number to another; ``unit`` follows the second as written."""

    @abstractmethod
    def code(self, groups: list[str]) -> str:
        """A telephone or account number, which is read digit by digit."""

    @abstractmethod
    def digits(self, number: str) -> str:
        """A number that is a name (119, route 301), which is read digit by digit."""


def read_forms(text: str, speech: Speech, doubts: Doubts | None = None) -> str:
    """Put words in the place of signs that are spoken between and about digits.

    Args:
        text: In the one Unicode form (``normalize_unicode``).
        speech: How the language reads them.
        doubts: Receives what may be read in another way, or not at all.

    Returns:
        The text; its numbers are in digits still.
    """
    doubts = [] if doubts is None else doubts
    text = text.translate(SAME_SIGN)
    # before codes are in words, whose hyphens are no doubt
    doubts += [_about(text, match.start()) for match in JOINING_WORDS.finditer(text)]
    text = plain_numbers(RING.sub(r"\1°", text), speech)
    text = SIGN_AFTER_CURRENCY.sub(r"-\1", text)
    text = BELOW_TWICE.sub(r"\1", BARE_DECIMALS.sub("0.", text))
    text = read_telephones(text, lambda code, rest: _telephone(code, rest, speech))
    text = speech.by_digits.sub(lambda m: speech.digits(m[0]), text)
    doubts += [match[0] for match in speech.maybe_by_digits.finditer(text)]
    text = ANGLE.sub(lambda m: speech.angle(m[1], m[2]), text)
    text = TIME_RANGE.sub(r"\1~", text)
    amount = rf"{NUMBER}(?:{speech.unit_after.pattern})"
    text = re.sub(rf"({amount})-(?={amount})", r"\1~", text)  # 10%-20%
    text = HYPHENS.sub(lambda match: _hyphens(match, speech, doubts), text)
    text = DATE.sub(lambda m: f"{speech.date(m[1], _bare(m[3]), _bare(m[4]))} ", text)
    text = DOTTED.sub(lambda m: _dotted(m[0], speech, doubts), text)
    text = TIME.sub(lambda m: _time(m, speech), text)
    text = HOUR.sub(lambda m: speech.time(m[1], "00", None, m[2].lower()), text)
    text = RATIO.sub(lambda m: speech.ratio(re.split(r"\s?:\s?", m[0])), text)
    text = FRACTION.sub(lambda match: _fraction(match, speech, doubts), text)
    text = _ranges(text, speech)
    text = SIGNED.sub(lambda match: _sign(match, speech), text)
    text = MINUS_AFTER_WORD.sub(lambda match: _sign(match, speech), text)
    text = BOUND.sub(lambda m: speech.bounds[m[1]].format(m[2]), text)
    text = OPERATOR.sub(lambda m: speech.operators.get(m[1] or m[2], m[0]), text)
    text = ABOUT.sub(speech.operators["≈"].lstrip(), text)
    text = ROOT.sub(speech.root, text)
    doubts += ENGLISH_ORDINAL.findall(text) + LEADING_ZERO.findall(text)
    found = [*LEFT_OVER.finditer(text)]
    if not speech.keeps_symbols:
        found += ALONE.finditer(text)
    places = {match.start() for match in found}
    if not speech.keeps_symbols:
        places |= {at for at, char in enumerate(text) if is_unread(char)}
    doubts += [_about(text, at) for at in sorted(places)]
    return text


def _about(text: str, at: int) -> str:
    return text[max(at - CONTEXT, 0) : at + CONTEXT].strip()


def plain_numbers(text: str, speech: Speech) -> str:
    """Circled, Roman and foreign digits as ``0-9``; fractions in one sign read."""
    text = MIXED.sub(lambda match: _vulgar(match, speech), text)
    return "".join(_plain_digit(char) if not char.isascii() else char for char in text)


def _plain_digit(char: str) -> str:
    category = unicodedata.category(char)
    if category == "Nd":
        return str(unicodedata.digit(char))
    if category == "Nl" and "\u2160" <= char <= "\u217f":  # Roman
        return f" {int(unicodedata.numeric(char))} "
    if char in SUPERSCRIPTS:
        return char
    if char in SUBSCRIPTS:
        return str(unicodedata.digit(char))
    if category == "No" and (number := unicodedata.numeric(char)) == int(number):
        return f" {int(number)} "
    if unicodedata.decomposition(char).startswith("<circle>"):
        return f" {normalize_unicode(unicodedata.normalize('NFKC', char))} "
    if "\u3200" <= char <= "\u33ff" or "\u2474" <= char <= "\u24e9":
        inner = unicodedata.normalize("NFKC", char)  # (주), 3月
        return f" {normalize_unicode(inner.strip('()'))} "
    return char


def _telephone(country: str, groups: list[str], speech: Speech) -> str:
    if not country:
        return speech.code(groups)
    return speech.code_plus + speech.code([country, *groups])


def _bare(number: str) -> str:
    return number.lstrip("0") or "0"


def _vulgar(match: re.Match[str], speech: Speech) -> str:
    above, below = unicodedata.normalize("NFKC", match[2]).split("\u2044")
    return f" {speech.fraction(match[1], above, below)} "


def _time(match: re.Match[str], speech: Speech) -> str:
    half = (match[1] or match[5] or "").lower()
    return f"{speech.time(_bare(match[2]), match[3], match[4], half)}"


def _dotted(numbers: str, speech: Speech, doubts: Doubts) -> str:
    doubts.append(numbers)  # a version, an address in the net, a short date
    return speech.point.join(numbers.split("."))


def _fraction(match: re.Match[str], speech: Speech, doubts: Doubts) -> str:
    above, below = match[1], match[2]
    if 0 < int(above) < int(below) and above[0] != "0" != below[0]:
        return speech.fraction("", above, below)
    doubts.append(match[0])  # 24/7, 9/11
    return f"{above} {below}"


def _hyphens(match: re.Match[str], speech: Speech, doubts: Doubts) -> str:
    """Numbers joined by hyphens: a date, a code, a range or a score."""
    groups = re.split(r"\s?-\s?", match[2])
    rest = match.string[match.end() :]
    spaced = " " in match[2]
    if re.match(r"\s?=", rest) or (spaced and "=" in match.string):
        return match[1] + " - ".join(groups)  # a difference
    if not spaced and (found := _date_of(groups)):
        return speech.date(*found)
    zero = any(len(g) > 1 and g[0] == "0" and "." not in g for g in groups)
    if match[1] or len(groups) > 2 or zero or len(groups[1]) in (7, 8):
        return (speech.code_plus if match[1] else "") + speech.code(groups)
    low, high = (float(group.replace(",", "")) for group in groups)
    unit = speech.unit_after.match(rest)
    if low < high and unit:
        return _RANGE.format(*groups)
    if len(groups[0]) >= 3 and len(groups[1]) == 4 and not (1900 <= low < high < 2100):
        return speech.code(groups)
    doubts.append(match[0])
    return _RANGE.format(*groups) if low < high else speech.ratio(groups)


# Between the numbers of a range, until the unit after it is looked at.
_RANGE = "{}~{}"


def _date_of(groups: list[str]) -> tuple[str, str, str | None] | None:
    if not all(group.isdecimal() for group in groups):
        return None
    year, month, *day = groups
    if not (len(year) == 4 and len(month) <= 2 and 1000 <= int(year) < 3000):
        return None
    if len(groups) == 2:
        is_month = len(month) == 2 and 1 <= int(month) <= 12
        return (year, _bare(month), None) if is_month else None
    if len(groups) == 3 and len(day[0]) <= 2:
        if 1 <= int(month) <= 12 and 1 <= int(day[0]) <= 31:
            return year, _bare(month), _bare(day[0])
    return None


def _ranges(text: str, speech: Speech) -> str:
    both = re.compile(
        rf"(?<![0-9.])({NUMBER})\s?~\s?({NUMBER})({speech.unit_after.pattern})?"
    )
    text = both.sub(lambda m: speech.range(m[1], m[2], m[3] or ""), text)
    return WAVE.sub(lambda m: speech.range(m[1], "", ""), text)


def _sign(match: re.Match[str], speech: Speech) -> str:
    sign = match[0].strip()
    if sign == "-" and BELOW_ZERO.match(match.string, match.end()):
        sign = "below zero"
    return speech.signs[sign]


def is_unread(char: str) -> bool:
    """Whether a character is a symbol that no rule reads and that is no decoration."""
    if char.isascii() or char in SILENT or char in SIGNS + SUPERSCRIPTS + "‰":
        return False
    return unicodedata.category(char) in ("Sm", "Sc", "So", "Sk", "No")


def roman(letters: str) -> int:
    """Value of a Roman numeral of the letters I, V and X."""
    values = [{"I": 1, "V": 5, "X": 10}[letter] for letter in letters]
    after = [*values[1:], 0]
    return sum(-v if v < then else v for v, then in zip(values, after))


def superscripts(text: str, power: Callable[[str], str]) -> str:
    """Powers (``10²``, ``10^2``) read; ``power`` gets the exponent in digits."""
    text = re.sub(
        rf"(?<=[0-9A-Za-z])([{SUPERSCRIPTS}]+)",
        lambda m: power("".join(str(unicodedata.digit(c)) for c in m[1])),
        text,
    )
    return re.sub(r"(?<=[0-9A-Za-z])\^([0-9]+)", lambda m: power(m[1]), text)
