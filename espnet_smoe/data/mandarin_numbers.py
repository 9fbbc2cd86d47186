"""Numbers in digits, written as they are read in Mandarin.

=================  ==================  =========================================
written            read                rule
=================  ==================  =========================================
``1,205``          一千二百零五           a number of up to 8 digits
``2024年``          二零二四年             4 digits before 年: one by one
``007 13800138000``  零零七 一三八...       a leading zero, or more than 8 digits
``3.14``           三点一四              decimals one by one
``50%``            百分之五十             a percentage
``12:30``          十二点三十             two digits after the colon: a time
``3:2``            三比二                other digits after a colon: a ratio
=================  ==================  =========================================

What no rule can know comes out in the standard reading and may not be what was said:
2个 gives 二个 and not 两个, 1 is never 幺, and a dash between numbers is silent.
"""

from __future__ import annotations

import re

DIGITS = "零一二三四五六七八九"
ONE_BY_ONE = str.maketrans("0123456789", DIGITS)
LONGEST_NUMBER = 8  # digits; longer ones are telephone numbers and codes

WHOLE = r"[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+"
PERCENT = re.compile(rf"((?:{WHOLE})(?:\.[0-9]+)?)\s*%")
YEAR = re.compile(r"(?<![0-9.,])([0-9]{4})(?=\s*年)")
COLON = re.compile(r"(?<=[0-9]):(?=([0-9]+))")
NUMBER = re.compile(rf"({WHOLE})(?:\.([0-9]+))?")


def read_numbers(text: str) -> str:
    """Write the numbers of a text as they are read.

    Args:
        text: Half-width digits ``0-9``; other digits stay as they are.

    Example:
        >>> read_numbers("2024年增长3.5%，共1,205人，电话01088")
        '二零二四年增长百分之三点五，共一千二百零五人，电话零一零八八'
    """
    text = PERCENT.sub(r"百分之\1", text)
    text = YEAR.sub(lambda match: match[1].translate(ONE_BY_ONE), text)
    text = COLON.sub(lambda match: "点" if len(match[1]) == 2 else "比", text)
    return NUMBER.sub(_read, text)


def _read(match: re.Match) -> str:
    whole = match[1].replace(",", "")
    point = f"点{match[2].translate(ONE_BY_ONE)}" if match[2] else ""
    if len(whole) > LONGEST_NUMBER or (len(whole) > 1 and whole[0] == "0"):
        return whole.translate(ONE_BY_ONE) + point
    return _cardinal(int(whole)) + point


def _cardinal(number: int) -> str:
    """The name of 0 to 99,999,999."""
    high, low = divmod(number, 10000)
    name = f"{_below_10000(high)}万" if high else ""
    # A power that is skipped within a number is read 零, once: 一万零五.
    name += "零" if high and 0 < low < 1000 else ""
    name += _below_10000(low)
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
