"""Numbers and signs in Mandarin text, written as they are read.

=====================  ==============================  ===============================
written                read                            rule
=====================  ==============================  ===============================
``1,205``              一千二百零五                       a number of up to 8 digits
``2024年``              二零二四年                         4 digits before 年: by digits
``007 13800138000``    零零七 一三八...                     a leading zero, over 8
``1,000,000,005``      十亿零五                         up to 12: with commas, round
``3.14``               三点一四                          decimals one by one
``50% 5‰``             百分之五十 千分之五                   shares
``2002-01-28``         二零零二年一月二十八日                 dates
``12:30 5:35:36``      十二点三十 五点三十五分三十六秒           times
``3:2``                三比二                           other digits: a ratio, a score
``-5℃ -3``             零下五摄氏度 负三                    minus
``3-5个 3~5``           三到五个 三到五                     ranges
``010-62345678``       零一零六二三四五六七八                 a code: by digits
``110报警 301医院``       幺幺零报警 三零幺医院               services and names
``1/2 2½``             二分之一 二又二分之一                  fractions
``5㎡ 50km/h $5亿``     五平方米 五十公里每小时 五亿美元           units, currencies
``① Ⅳ 10²``            一 四 十的二次方                     other digits, powers
``3+5=8``              三加五等于八                       sums
``2个 2:30``            两个 两点三十                      2 before a measure word
=====================  ==============================  ===============================

What no rule can know comes out in the standard reading: 1 is 幺 in names
alone. A form that is read in more ways than one, and a sign without a reading, is
noted as a doubt.
"""

import re

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
    MANDARIN,
    UNIT,
    UNITS,
    read_amounts,
    read_rates,
    typed_powers,
)

DIGITS = "零一二三四五六七八九"
SPOKEN_DIGITS = str.maketrans("0123456789", DIGITS.replace("一", "幺"))  # of names
ONE_BY_ONE = str.maketrans("0123456789", DIGITS)
LONGEST_NUMBER = 8  # digits; longer ones are telephone numbers and codes
LONGEST_AMOUNT = 12  # digits of what is surely none: with commas, or round

WHOLE = r"[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+"
PERCENT = re.compile(rf"((?:{WHOLE})(?:\.[0-9]+)?)\s*([%‰])")
PERCENT_RANGE = re.compile(
    rf"((?:{WHOLE})(?:\.[0-9]+)?)到((?:{WHOLE})(?:\.[0-9]+)?)\s*([%‰])"
)
SHARES = {"%": "百分之", "‰": "千分之"}
YEAR = re.compile(r"(?<![0-9.,])([0-9]{4})(?=\s*年)")
NUMBER = re.compile(rf"({WHOLE})(?:\.([0-9]+))?")
MEASURES = (
    "个|位|只|条|张|名|件|本|台|辆|天|次(?!方)|种|家|块|岁|小时|点(?![0-9一-九零])|分钟|万|千|亿|"
    "元|倍|米|公斤|公里|座|棵|杯|瓶|双|对|套|把|间|头|匹|首|部|句|斤|吨|人|周|星期|国|者|年(?![级代度])"
)
TWO = re.compile(rf"(?<![0-9.,/第])2(?=\s?(?:{MEASURES}))")
TWO_OCLOCK = re.compile(r"(?<![0-9.,])0?2(?=点[0-5]?[0-9])")
ROMAN = re.compile(r"(?<=第)([IVX]+)(?=\s?[章节部卷届期季集])")


# Numbers of services, and what says that one is called.
CALLED = "11[0479]|12[02]|12345|12306|12315|100(?:00|10|86)|95[0-9]{3}"
CALL = (
    r"报警|电话|民警|警|接警|出警|指挥|急救|救护|调度|热线|平台|客服|火警|消防|服务台|"
    r"查号"
)
# Roads, hospitals and units whose numbers are names.
NAMED = "医院|部队|国道|省道|县道|高速|所(?=的|医|研|$)"
ROOMS = "室|房间|房|宿舍|路(?=公交|车|公共)|次(?=列车|航班)|航班"
APART = r"(?<![0-9A-Za-z.,:/~\-+$¥第])"
ENDS = r"(?![.,:/~\-]?[0-9]|[A-Za-z%+])"


class Mandarin(Speech):
    """Mandarin; digits stay digits but in codes."""

    operators = {
        "+": "加",
        "-": "减",
        "×": "乘",
        "*": "乘",
        "x": "乘",
        "X": "乘",
        "÷": "除以",
        "=": "等于",
        "≠": "不等于",
        "≈": "约等于",
        "≒": "约等于",
    }
    signs = {"-": "负", "+": "正", "±": "正负", "below zero": "零下"}
    bounds = {"≥": "大于等于{}", "≤": "小于等于{}", ">": "大于{}", "<": "小于{}"}
    bounds |= {">=": bounds["≥"], "<=": bounds["≤"]}
    keeps_symbols = True
    root = "根号"
    point = "点"
    code_plus = "加"
    unit_after = re.compile(
        rf"\s?(?:(?:{UNIT}|[%‰{''.join(s for s in CURRENCIES if len(s) == 1)}])"
        rf"(?![A-Za-z])|{MEASURES}|[年月日号时分秒层楼届级度后前成毛角句页]|百|折|公|平方|"
        r"立方|厘米|毫米|英寸|美元|星|集|场|期|项|篇|批|代|环|轮|步|门|份|支|线|幅|段|口|"
        r"章|节|回|起|例|所|排|根|颗|粒|片|滴|艘|架|栋|幢|户|村|县|省|城|克|升|瓦)"
    )

    by_digits = re.compile(
        rf"{APART}(?:{CALLED})(?=\s?(?:{CALL}))"
        rf"|(?<=[打拨话报叫通])(?:{CALLED}){ENDS}"
        rf"(?!{unit_after.pattern})"
        rf"|{APART}[1-9][0-9]{{2,4}}(?=\s?(?:{NAMED}))"
    )
    maybe_by_digits = re.compile(
        rf"{APART}(?:(?:11[09]|12[02]){ENDS}(?!{unit_after.pattern}|[十百千万亿])"
        rf"|[1-9][0-9]{{2,3}}(?=\s?(?:{ROOMS})))"
    )

    def date(self, year: str, month: str, day: str | None) -> str:
        """``2024年1月28日``."""
        return f"{year}年{month}月" + (f"{day}日" if day else "")

    def time(self, hour: str, minute: str, second: str | None, half: str) -> str:
        """``12点30``; with seconds 分 and 秒 are said."""
        words = {"a": "上午", "p": "下午"}.get(half, "") + f"{hour}点"
        if second:
            return f"{words}{int(minute)}分{int(second)}秒"
        return words + ("" if minute == "00" else minute)

    def angle(self, minutes: str, seconds: str | None) -> str:
        """``30分15秒``."""
        return f"{minutes}分" + (f"{seconds}秒" if seconds else "")

    def ratio(self, parts: list[str]) -> str:
        """``3比2``."""
        return "比".join(parts)

    def fraction(self, whole: str, above: str, below: str) -> str:
        """``2又2分之1``."""
        return f"{whole}又{below}分之{above}" if whole else f"{below}分之{above}"

    def range(self, low: str, high: str, unit: str) -> str:
        """``3到5``."""
        both = re.fullmatch(r"[12][0-9]{3} [12][0-9]{3}", f"{low} {high}")
        recent = both and 1900 <= int(low) < int(high) < 2100
        if both and unit.strip() == "年" or recent and not unit:
            low, high = low.translate(ONE_BY_ONE), high.translate(ONE_BY_ONE)
        return f"{low}到{high}{unit}"

    def code(self, groups: list[str]) -> str:
        """Digit by digit."""
        return "".join(groups).translate(ONE_BY_ONE)

    def digits(self, number: str) -> str:
        """``三零幺``."""
        return number.translate(SPOKEN_DIGITS)


def read_numbers(text: str, doubts: Doubts | None = None) -> str:
    """Write the numbers of a text, and signs about them, as they are read.

    Args:
        text: In the one Unicode form, capitals as written: they tell units apart.
        doubts: Receives what may be read otherwise, or not at all.

    Example:
        >>> read_numbers("2024年增长3.5%，共1,205人，电话01088")
        '二零二四年增长百分之三点五，共一千二百零五人，电话零一零八八'
    """
    text = ROMAN.sub(lambda match: str(roman(match[1])), text)
    text = read_rates(typed_powers(text), _rate)
    text = read_forms(text, Mandarin(), doubts)
    text = PERCENT_RANGE.sub(lambda m: f"{m[1]}{m[3]}到{m[2]}{m[3]}", text)
    text = PERCENT.sub(lambda m: SHARES[m[2]] + m[1], text)
    text = read_amounts(text, MANDARIN, "")
    for sign in "℃℉°":
        text = text.replace(sign, UNITS[sign][MANDARIN])
    text = ALONE_UNIT.sub(lambda m: UNITS.get(m[1], ("", "公里每小时"))[MANDARIN], text)
    text = superscripts(text, lambda exponent: f"的{exponent}次方")
    text = YEAR.sub(lambda match: match[1].translate(ONE_BY_ONE), text)
    text = TWO.sub("两", TWO_OCLOCK.sub("两", text))
    return NUMBER.sub(_read, text)


def _rate(amount: str, unit: str, number: str, over: str) -> str:
    return f"{amount}{UNITS[unit][MANDARIN]}每{number}{UNITS[over][MANDARIN]}"


def _read(match: re.Match) -> str:
    whole = match[1].replace(",", "")
    point = f"点{match[2].translate(ONE_BY_ONE)}" if match[2] else ""
    amount = "," in match[1] or whole.endswith("0000")  # no telephone number
    longest = LONGEST_AMOUNT if amount else LONGEST_NUMBER
    if len(whole) > longest or (len(whole) > 1 and whole[0] == "0"):
        return whole.translate(ONE_BY_ONE) + point
    return _cardinal(int(whole)) + point


def _cardinal(number: int) -> str:
    """The name of 0 to 999,999,999,999."""
    name, skipped = "", False
    for power, unit in ((10**8, "亿"), (10**4, "万"), (1, "")):
        group = number // power % 10**4
        if group:
            # A power that is skipped within a number is read 零, once: 一万零五.
            name += "零" if name and (skipped or group < 1000) else ""
            name += _below_10000(group) + unit
        skipped = not group
    if name.startswith("一十"):  # 12 is 十二, 112 一百一十二
        name = name[1:]
    return name or DIGITS[0]


def _below_10000(number: int) -> str:
    name, skipped = "", False
    for power, unit in ((1000, "千"), (100, "百"), (10, "十"), (1, "")):
        digit = number // power % 10
        if digit:
            name += ("零" if skipped and name else "") + DIGITS[digit] + unit
        skipped = not digit
    return name
