"""Numbers and signs in Korean text, written as they are read.

=====================  ======================================  =========================
written                read                                    rule
=====================  ======================================  =========================
``2,024년 3.5%``        이천이십사년 삼 점 오 퍼센트                  Sino-Korean
``3개 20살 2번째``       세 개 스무 살 두 번째                       native counts
``3:30 15:05``         세 시 삼십 분, 십오 시 오 분                  hours to 12 native
``2024-10-03``         이천이십사년 시월 삼일                       유월, 시월
``010-1234-5678``      공일공-일이삼사-오육칠팔                       a code: by digits
``-5℃ -3``             영하 오 도, 마이너스 삼                      minus
``3~5개``               세 개에서 다섯 개                          a range
``1/2 2½``             이분의 일, 이와 이분의 일                     a fraction
``5㎏ 50km/h``          오 킬로그램, 시속 오십 킬로미터                units, currencies
``119에 3.1절``          일일구에 삼일절                        services, days
``3:2 3+5=8 10²``      삼 대 이, 삼 더하기 오는 팔, 십의 제곱          ratios, sums
=====================  ======================================  =========================

3번, 3대 and the like are read either way (세 번, 삼 번): Sino-Korean, and a doubt. What
has no rule stays or goes with its sign, and is a doubt too.
"""

import re
import unicodedata

from espnet_smoe.data.text.number_forms import (
    Doubts,
    Speech,
    read_forms,
    roman,
    superscripts,
)
from espnet_smoe.data.text.written_units import (
    ALONE_UNIT,
    CURRENCIES,
    KOREAN,
    NUMBER,
    UNIT,
    UNITS,
    read_amounts,
    read_rates,
    typed_powers,
)
from espnet_smoe.plugins import import_extra

DIGITS = str.maketrans("0123456789", "공일이삼사오육칠팔구")
DECIMALS = str.maketrans("0123456789", "영일이삼사오육칠팔구")
LONGEST_NUMBER = 16  # digits: up to 조; longer ones are codes

# Counters that ask for native numbers. What may follow and makes another word of it
# stands in brackets: 개월 counts in Sino-Korean.
COUNTERS = (
    "개(?!월|국|년|소|점|항|조)|명(?!령)|살|마리|사람|권|장(?!관)|잔|병(?!원)|가지|달(?!러)|"
    "켤레|벌|채(?!널)|그루|송이|곳|군데|자루|쌍|척|그릇|끼|컵|숟가락|스푼|박스|상자|봉지|"
    "바퀴|걸음|마디|줄(?!기)|통(?!신)|판(?!사)|갑|포기|다발|묶음|조각|바구니|모금|방울|"
    "움큼|접시|배(?!럴)|시간(?=[^가-힣]|$|[이을은의에만도째])"
)
AT_MOST = {"시간": 12, "배": 10}  # beyond them Sino-Korean
BOTH_WAYS = r"번(?!째|지|호)|대(?!로|한|\s[0-9])|팀|편|회차|줄기|건"  # 세 번, 삼 번
NATIVE_ONES = ("", "한", "두", "세", "네", "다섯", "여섯", "일곱", "여덟", "아홉")
NATIVE_TENS = ("", "열", "스물", "서른", "마흔", "쉰", "예순", "일흔", "여든", "아흔")
MONTHS = {6: "유", 10: "시"}

HOUR = re.compile(r"(?<![0-9.,])(1[0-2]|0?[1-9])\s?시(?!간|즌|리즈|군|시)")
MONTH = re.compile(r"(?<![0-9.,])(0?6|10)\s?월")
COUNTED = re.compile(
    rf"(?<![0-9.,제])(?<!제\s)(?<!분의\s)([1-9][0-9]{{0,2}})\s?({COUNTERS})"
)
ORDINAL = re.compile(r"(?<![0-9.,])([1-9][0-9]?)\s?(번째|째)")
EITHER = re.compile(rf"(?<![0-9.,제])(?<!제\s)[1-9][0-9]?\s?(?:{BOTH_WAYS})")
NUMBERS = re.compile(NUMBER)
BESIDE_LATIN = re.compile(r"[A-Za-z][0-9]+|[0-9]+[A-Za-z]+")
ROMAN = re.compile(r"(?<=제)([IVX]+)(?=\s?[장절부편권기회차])")
ROMAN_SIGN = re.compile("[Ⅰ-ⅿ]")  # numbers a chapter, counts nothing: Ⅲ장 is 삼 장
ENGLISH_ORDINALS = {"1st": "퍼스트", "2nd": "세컨드", "3rd": "서드"}
QUARTER = re.compile(r"(?<![0-9])([1-4])[/·]4\s?분기")  # 일사분기
NUMERO = re.compile(r"(?<![A-Za-z])[Nn]o\.\s?(?=[0-9])")
REPEATED_UNIT = re.compile(r"([시초분]속)\s*\1")  # 시속 60km/h
PER_TIME = {"h": "시", "hr": "시", "s": "초", "sec": "초", "min": "분"}
LENGTHS = frozenset({"km", "m", "cm", "mm", "mile", "ft"})
SINGLE_SIGNS = {"%p": " 퍼센트포인트", "%": " 퍼센트", "‰": " 퍼밀"}
SINGLE_SIGNS |= {"℃": " 도", "℉": " 도", "°": " 도"}


# Numbers of services, and what says that one is called.
CALLED = "11[0-9]|12[0579]|13[0-9]{2}|18[12]"
CALL = (
    r"(?:에|로|를|으로)?\s?(?:긴급|신고|전화|구급|구조|소방|출동|상황실|대원|종합|콜센터|상담|안내|"
    r"부르|불러|불렀|연락|문자)"
)
NEAR = r"\s?(?:가까|근접|이르|이른|달하|달했|불과|그쳤|그친|머물|육박|비해)"
BEFORE_AMOUNT = r"[0-9A-Za-z.,:/~\-+$₩제]"
AFTER_AMOUNT = r"[.,:/~\-]?[0-9]|[%A-Za-z+]|\s?[백천만억조]"
# Days that history is called by: the day digit by digit, 10 and 12 as numbers.
DAYS = {
    "3.1": "삼일",
    "4.3": "사삼",
    "4.19": "사일구",
    "5.16": "오일육",
    "5.18": "오일팔",
}
DAYS |= {"6.10": "육십", "6.25": "육이오", "8.15": "팔일오", "10.26": "십이육"}
DAYS |= {"12.12": "십이십이"}
DAY = re.compile(
    r"(?<![0-9.,])([0-9]{1,2})\s?[.·]\s?([0-9]{1,2})(?=\s?(?:절|만세|운동|혁명|정신|쿠데타|군사|"
    r"민주|항쟁|전쟁|사변|동란|참전|광복|사건|사태|학살|희생|반란|묘지|기념|세대|세력))"
)
SOME = re.compile(r"(?<![0-9.,])([1-9])\s?,\s?([1-9])(?![0-9.,])(\s?)(?=[가-힣])")


class Korean(Speech):
    """Korean; with ``spell`` codes are read digit by digit, else they stay."""

    operators = {
        "+": " 더하기 ",
        "-": " 빼기 ",
        "×": " 곱하기 ",
        "*": " 곱하기 ",
        "x": " 곱하기 ",
        "X": " 곱하기 ",
        "÷": " 나누기 ",
        "=": "은/는 ",
        "≈": " 약 ",
        "≒": " 약 ",
    }
    signs = {
        "-": "마이너스 ",
        "+": "플러스 ",
        "±": "플러스마이너스 ",
        "below zero": "영하 ",
    }
    bounds = {"≥": "{} 이상", "≤": "{} 이하", ">": "{} 초과", "<": "{} 미만"}
    bounds |= {">=": bounds["≥"], "<=": bounds["≤"]}
    root = "루트 "
    point = " 점 "
    code_plus = "플러스 "
    unit_after = re.compile(
        rf"\s?(?:(?:{UNIT}|[%‰{''.join(s for s in CURRENCIES if len(s) == 1)}])"
        rf"(?![A-Za-z])|{COUNTERS}|{BOTH_WAYS}|[년월일시분초원도세층회주위등점]|"
        r"개월|퍼센트|만|천|억|킬로|미터|센티|그램|리터|달러|인분|호선|학년|교시)"
    )

    by_digits = re.compile(
        rf"(?<!{BEFORE_AMOUNT})(?:(?:{CALLED})(?={CALL})|11[29](?=에(?!서|\s*[0-9]|{NEAR})))"
    )
    maybe_by_digits = re.compile(
        rf"(?<!{BEFORE_AMOUNT})11[29](?!{AFTER_AMOUNT}|{unit_after.pattern})"
    )

    def __init__(self, spell: bool) -> None:
        self.spell = spell

    def date(self, year: str, month: str, day: str | None) -> str:
        """``2024년 1월 28일``."""
        return f"{year}년 {month}월" + (f" {day}일" if day else "")

    def time(self, hour: str, minute: str, second: str | None, half: str) -> str:
        """``3시 30분``; full hours have no minutes."""
        gap = " " if self.spell else ""
        words = [f"{hour}{gap}시"]
        if minute != "00" or second:
            words.append(f"{int(minute)}{gap}분")
        if second:
            words.append(f"{int(second)}{gap}초")
        return " ".join([*({"a": ["오전"], "p": ["오후"]}.get(half, [])), *words])

    def angle(self, minutes: str, seconds: str | None) -> str:
        """``30분 15초``."""
        return f" {minutes}분" + (f" {seconds}초" if seconds else "")

    def ratio(self, parts: list[str]) -> str:
        """``3 대 2``."""
        return " 대 ".join(parts)

    def fraction(self, whole: str, above: str, below: str) -> str:
        """``2와 2분의 1``."""
        both = f"{below}분의 {above}"
        return f"{whole}{_with(whole)} {both}" if whole else both

    def range(self, low: str, high: str, unit: str) -> str:
        """``3에서 5``; a counter of native numbers stands after both."""
        counter = unit if re.fullmatch(rf"\s?(?:{COUNTERS})", unit) else ""
        return f"{low}{counter}에서 {high}{unit}"

    def code(self, groups: list[str]) -> str:
        """Digit by digit where numbers are spelled."""
        return "-".join(groups).translate(DIGITS) if self.spell else " ".join(groups)

    def digits(self, number: str) -> str:
        """``일일구`` where numbers are spelled."""
        return number.translate(DIGITS) if self.spell else number


def _ends_in_consonant(digits: str) -> bool:
    return digits[-1:] in "013678"  # 영 일 삼 육 칠 팔; 십, 백 and so on for 0


def _with(digits: str) -> str:
    return "과" if _ends_in_consonant(digits) else "와"


def read_signs(text: str, spell: bool, doubts: Doubts | None = None) -> str:
    """Put words in the place of signs about digits; the digits stay.

    Args:
        text: In the one Unicode form.
        spell: The digits will be spelled as well.
        doubts: Receives what may be read otherwise, or not at all.

    Example:
        >>> read_signs("3:30 에 -5도, 3~5개, 50km/h", spell=False)
        '3시 30분 에 영하 5도, 3개에서 5개, 시속 50킬로미터'
    """
    text = ROMAN.sub(lambda match: str(roman(match[1])), text)
    text = text.replace("㈜", " 주식회사 ").replace("№", " 넘버 ")
    text = NUMERO.sub("넘버 ", QUARTER.sub(r"\1사분기", text))
    text = read_rates(
        typed_powers(text), lambda *rate: _rate(*rate, gap=" " if spell else "")
    )
    text = read_forms(text, Korean(spell), doubts)
    text = REPEATED_UNIT.sub(r"\1", text)
    return re.sub(
        r"([0-9])은/는",
        lambda m: m[1] + ("은" if _ends_in_consonant(m[1]) else "는"),
        text,
    ).replace("은/는", "는")


def _rate(amount: str, unit: str, number: str, over: str, gap: str) -> str:
    quantity = f"{amount}{gap}{UNITS[unit][KOREAN]}"
    if unit in LENGTHS and over in PER_TIME and not number:
        return f"{PER_TIME[over]}속 {quantity}"
    below = f"{number}{gap}" if number else ""
    return f"{below}{UNITS[over][KOREAN]}당 {quantity}"


def spell_numbers(text: str, doubts: Doubts | None = None) -> str:
    """Write digits, and units and signs beside them, as they are read.

    A number with a leading zero or more than 16 digits is read digit by digit, as a
    telephone number is.

    Args:
        text: In the one Unicode form.
        doubts: Receives what may be read otherwise, or not at all.

    Example:
        >>> spell_numbers("2,024년 3.5% 3개")
        '이천이십사년 삼 점 오 퍼센트 세 개'

    Raises:
        ImportError: There are digits and num2words is not installed.
    """
    doubts = [] if doubts is None else doubts
    text = ROMAN_SIGN.sub(
        lambda m: f" {_sino(f'{unicodedata.numeric(m[0]):.0f}')} ", text
    )
    text = DAY.sub(_day, text)
    text = SOME.sub(lambda match: _some(match, doubts), text)
    text = read_signs(text, spell=True, doubts=doubts)
    for written, spoken in ENGLISH_ORDINALS.items():
        text = re.sub(rf"(?<![0-9A-Za-z]){written}(?![A-Za-z])", spoken, text)
    text = re.sub(rf"(?:화씨\s?)?({NUMBER})\s?(?:℉|°F)", r"화씨 \1 도", text)
    text = read_amounts(text, KOREAN, " ")
    text = ALONE_UNIT.sub(lambda m: UNITS.get(m[1], ("시속 킬로미터",))[KOREAN], text)
    for sign, word in SINGLE_SIGNS.items():
        text = text.replace(sign, word)
    for either in (EITHER, BESIDE_LATIN):
        doubts += [match[0] for match in either.finditer(text)]
    text = superscripts(text, lambda exponent: f"의 {_power(exponent)}제곱")
    text = ORDINAL.sub(_ordinal, text)
    text = HOUR.sub(lambda m: f"{_gap(m)}{_native(int(m[1]))} 시", text)
    text = re.sub("(?<= 시)(?=[0-9])", " ", text)  # 3시30분
    text = COUNTED.sub(_counted, text)
    text = MONTH.sub(lambda m: f"{MONTHS[int(m[1])]}월", text)
    return NUMBERS.sub(lambda match: _sino(match[0].replace(",", "")), text)


def _day(match: re.Match[str]) -> str:
    return DAYS.get(f"{match[1]}.{match[2]}", match[0])


def _some(match: re.Match[str], doubts: Doubts) -> str:
    """``5,6명`` is 오륙 명, or 대여섯 명 by native numbers."""
    few, more = int(match[1]), int(match[2])
    if more != few + 1:
        return match[0]
    doubts.append(match[0] + match.string[match.end() :].split()[0])
    last = "륙" if more == 6 else match[2].translate(DIGITS)
    return f"{match[1].translate(DIGITS)}{last} "


def _power(exponent: str) -> str:
    return {"2": "", "3": "세"}.get(exponent, exponent)


def _ordinal(match: re.Match[str]) -> str:
    number, suffix = int(match[1]), match[2]
    if suffix == "번째":
        return "첫 번째" if number == 1 else f"{_native(number)} 번째"
    short = {1: "첫째", 2: "둘째", 3: "셋째", 4: "넷째"}
    return short.get(number, f"{_native(number)}째")


def _counted(match: re.Match[str]) -> str:
    number, counter = int(match[1]), match[2]
    if number > AT_MOST.get(counter, 999):
        return match[0]
    return f"{_gap(match)}{_native(number)} {counter}"


def _gap(match: re.Match[str]) -> str:
    """A space after a word, so that a native number stands as a word, too."""
    return " " if match.string[: match.start()][-1:].isalpha() else ""


def _native(number: int) -> str:
    """1 to 999 before a counter; hundreds are Sino-Korean."""
    hundreds, rest = divmod(number, 100)
    if rest == 20:
        name = "스무"
    else:
        name = NATIVE_TENS[rest // 10] + NATIVE_ONES[rest % 10]
    return (_sino(str(hundreds * 100)) if hundreds else "") + name


def _sino(number: str) -> str:
    whole, _, decimals = number.partition(".")
    point = f" 점 {decimals.translate(DECIMALS)}" if decimals else ""
    if len(whole) > LONGEST_NUMBER or (len(whole) > 1 and whole[0] == "0"):
        return whole.translate(DIGITS) + point
    num2words = import_extra("num2words", "corpora", "numbers: spell")
    return num2words.num2words(int(whole), lang="ko") + point
