"""Units and currencies as they are written, and how Korean and Mandarin say them."""

import re
from collections.abc import Callable, Mapping

KOREAN, MANDARIN = 0, 1

# Written form: (Korean, Mandarin). Capitals count: mW and MW, g and G are not the same.
UNITS = {
    "kg": ("킬로그램", "公斤"),
    "g": ("그램", "克"),
    "mg": ("밀리그램", "毫克"),
    "μg": ("마이크로그램", "微克"),
    "t": ("톤", "吨"),
    "km": ("킬로미터", "公里"),
    "m": ("미터", "米"),
    "cm": ("센티미터", "厘米"),
    "mm": ("밀리미터", "毫米"),
    "μm": ("마이크로미터", "微米"),
    "nm": ("나노미터", "纳米"),
    "m²": ("제곱미터", "平方米"),
    "km²": ("제곱킬로미터", "平方公里"),
    "cm²": ("제곱센티미터", "平方厘米"),
    "mm²": ("제곱밀리미터", "平方毫米"),
    "m³": ("세제곱미터", "立方米"),
    "km³": ("세제곱킬로미터", "立方公里"),
    "cm³": ("세제곱센티미터", "立方厘米"),
    "mm³": ("세제곱밀리미터", "立方毫米"),
    "ha": ("헥타르", "公顷"),
    "L": ("리터", "升"),
    "l": ("리터", "升"),
    "mL": ("밀리리터", "毫升"),
    "ml": ("밀리리터", "毫升"),
    "μl": ("마이크로리터", "微升"),
    "dl": ("데시리터", "分升"),
    "dL": ("데시리터", "分升"),
    "kl": ("킬로리터", "千升"),
    "cc": ("시시", "毫升"),
    "h": ("시간", "小时"),
    "hr": ("시간", "小时"),
    "min": ("분", "分钟"),
    "s": ("초", "秒"),
    "sec": ("초", "秒"),
    "s²": ("초 제곱", "二次方秒"),
    "ms": ("밀리초", "毫秒"),
    "μs": ("마이크로초", "微秒"),
    "ns": ("나노초", "纳秒"),
    "Hz": ("헤르츠", "赫兹"),
    "kHz": ("킬로헤르츠", "千赫兹"),
    "MHz": ("메가헤르츠", "兆赫兹"),
    "GHz": ("기가헤르츠", "吉赫兹"),
    "W": ("와트", "瓦"),
    "mW": ("밀리와트", "毫瓦"),
    "kW": ("킬로와트", "千瓦"),
    "MW": ("메가와트", "兆瓦"),
    "GW": ("기가와트", "吉瓦"),
    "Wh": ("와트시", "瓦时"),
    "kWh": ("킬로와트시", "千瓦时"),
    "V": ("볼트", "伏"),
    "mV": ("밀리볼트", "毫伏"),
    "kV": ("킬로볼트", "千伏"),
    "mA": ("밀리암페어", "毫安"),
    "mAh": ("밀리암페어시", "毫安时"),
    "Ω": ("옴", "欧姆"),
    "kΩ": ("킬로옴", "千欧"),
    "kJ": ("킬로줄", "千焦"),
    "cal": ("칼로리", "卡"),
    "kcal": ("킬로칼로리", "千卡"),
    "Pa": ("파스칼", "帕"),
    "hPa": ("헥토파스칼", "百帕"),
    "kPa": ("킬로파스칼", "千帕"),
    "MPa": ("메가파스칼", "兆帕"),
    "mmHg": ("밀리미터 수은주", "毫米汞柱"),
    "dB": ("데시벨", "分贝"),
    "mol": ("몰", "摩尔"),
    "lx": ("럭스", "勒克斯"),
    "rad": ("라디안", "弧度"),
    "KB": ("킬로바이트", "千字节"),
    "kB": ("킬로바이트", "千字节"),
    "MB": ("메가바이트", "兆字节"),
    "GB": ("기가바이트", "吉字节"),
    "TB": ("테라바이트", "太字节"),
    "kbps": ("킬로비피에스", "千比特每秒"),
    "Mbps": ("메가비피에스", "兆比特每秒"),
    "Gbps": ("기가비피에스", "吉比特每秒"),
    "rpm": ("알피엠", "转每分钟"),
    "bpm": ("비피엠", "次每分钟"),
    "fps": ("에프피에스", "帧每秒"),
    "px": ("픽셀", "像素"),
    "inch": ("인치", "英寸"),
    "ft": ("피트", "英尺"),
    "yd": ("야드", "码"),
    "mile": ("마일", "英里"),
    "lb": ("파운드", "磅"),
    "lbs": ("파운드", "磅"),
    "oz": ("온스", "盎司"),
    "gal": ("갤런", "加仑"),
    "Å": ("옹스트롬", "埃"),
    "℃": ("도", "摄氏度"),
    "°C": ("도", "摄氏度"),
    "℉": ("도", "华氏度"),
    "°F": ("도", "华氏度"),
    "°": ("도", "度"),
}
# Those that are no word or abbreviation of anything else: read without a number, too.
ALONE = (
    "kg mg km cm mm m² km² cm² m³ cm³ ml mL kHz MHz GHz kW kWh kcal hPa dB"
).split()
ALONE += ["℃", "℉", "km/h"]

CURRENCIES = {
    "$": ("달러", "美元"),
    "US$": ("달러", "美元"),
    "HK$": ("홍콩 달러", "港元"),
    "NT$": ("대만 달러", "新台币"),
    "A$": ("호주 달러", "澳元"),
    "C$": ("캐나다 달러", "加元"),
    "S$": ("싱가포르 달러", "新加坡元"),
    "USD": ("달러", "美元"),
    "₩": ("원", "韩元"),
    "KRW": ("원", "韩元"),
    "€": ("유로", "欧元"),
    "EUR": ("유로", "欧元"),
    "£": ("파운드", "英镑"),
    "¥": ("엔", "元"),
    "JPY": ("엔", "日元"),
    "CNY": ("위안", "元"),
    "RMB": ("위안", "人民币"),
    "₹": ("루피", "卢比"),
    "₽": ("루블", "卢布"),
    "₺": ("리라", "里拉"),
    "₫": ("동", "越南盾"),
    "฿": ("밧", "泰铢"),
    "₱": ("페소", "比索"),
    "₪": ("셰켈", "谢克尔"),
    "¢": ("센트", "美分"),
    "₿": ("비트코인", "比特币"),
}

SIGNS = "".join(sorted({c for c in "".join((*UNITS, *CURRENCIES)) if not c.isalnum()}))
TYPED = {"2": "²", "3": "³", "^2": "²", "^3": "³"}  # m2, m^2
POWERED = re.compile(r"(?<![A-Za-zμ])((?:[kcm]?m)|s)(\^?[23])(?![0-9A-Za-z])")


def one_of(names: Mapping[str, object] | list[str]) -> str:
    """A pattern for any of some written forms, the longest first."""
    return "|".join(map(re.escape, sorted(names, key=len, reverse=True)))


UNIT = one_of(UNITS)
CURRENCY = one_of(CURRENCIES)
NUMBER = r"(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])(?:\.[0-9]+)?|[0-9]+(?:\.[0-9]+)?)"
MAGNITUDE = "(?:[십백천十百千]?[만억조万亿兆]|[백천百千])"  # 5천만, 3亿
AMOUNT = f"{NUMBER}{MAGNITUDE}?"
AFTER_NUMBER = re.compile(rf"({AMOUNT})\s?({UNIT})(?![A-Za-z0-9/²³μΩ])")
RATE = re.compile(rf"({AMOUNT})\s?({UNIT})/({NUMBER}?)\s?({UNIT})(?![A-Za-z0-9/²³])")
ALONE_RATE = re.compile(
    rf"(?<![A-Za-z0-9/])(?=[^\s/]*[a-zμ²³]{{2}})({UNIT})/({UNIT})(?![A-Za-z0-9/²³])"
)
ALONE_UNIT = re.compile(rf"(?<![A-Za-z0-9/])({one_of(ALONE)})(?![A-Za-z0-9/²³])")
BEFORE_AMOUNT = re.compile(rf"(?<![A-Za-z])({CURRENCY})\s?(-?)({AMOUNT})")
AFTER_AMOUNT = re.compile(rf"({AMOUNT})\s?({CURRENCY})(?![A-Za-z])")


def typed_powers(text: str) -> str:
    """Squares and cubes of units with the sign for it.

    Example:
        >>> typed_powers("5m2 3cm^3 m23")
        '5m² 3cm³ m23'
    """
    return POWERED.sub(lambda m: m[1] + TYPED[m[2]], text.replace("µ", "μ"))


def read_rates(text: str, say: Callable[[str, str, str, str], str]) -> str:
    """Units over units (``50km/h``, ``5kcal/100g``).

    Args:
        text: Its numbers are in digits.
        say: Gets the amount and its unit, the number below, often empty, and its unit.
    """
    text = RATE.sub(lambda m: say(m[1], m[2], m[3], m[4]), text)
    return ALONE_RATE.sub(lambda m: say("", m[1], "", m[2]), text)


def read_amounts(text: str, language: int, gap: str) -> str:
    """Units and currencies beside numbers, in words after them.

    Args:
        text: Its numbers are in digits.
        language: ``KOREAN`` or ``MANDARIN``.
        gap: What stands between a number and its unit.

    Example:
        >>> read_amounts("$5억 3kg", KOREAN, " ")
        '5억 달러 3 킬로그램'
        >>> read_amounts("€20 5㎡", MANDARIN, "")
        '20欧元 5平方米'
    """
    text = typed_powers(text.replace("㎡", "m²"))
    text = BEFORE_AMOUNT.sub(
        lambda m: f"{m[2]}{m[3]}{gap}{CURRENCIES[m[1]][language]}", text
    )
    text = AFTER_AMOUNT.sub(lambda m: f"{m[1]}{gap}{CURRENCIES[m[2]][language]}", text)
    text = AFTER_NUMBER.sub(lambda m: f"{m[1]}{gap}{UNITS[m[2]][language]}", text)
    return text
