"""Numbers and signs of Mandarin text become what is said; nothing goes in silence."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from espnet_smoe.data.text.mandarin import normalize


@pytest.mark.parametrize(
    "written, read",
    [
        ("2002-01-28", "二零零二年一月二十八日"),
        ("2024/1/8", "二零二四年一月八日"),
        ("气温-5℃", "气温零下五摄氏度"),
        ("-10~-5度", "零下十到零下五度"),
        ("-3, 增长-5%", "负三增长负百分之五"),
        ("①②⑴❸", "一二一三"),
        ("Ⅳ 第II章", "四第二章"),
        ("5㎡, 3km2", "五平方米三平方公里"),
        ("重5㎏", "重五公斤"),
        ("单位：㎏", "单位公斤"),
        ("50km/h", "五十公里每小时"),
        ("$5亿 ￥3.5 €20", "五亿美元三点五元二十欧元"),
        ("于5:35:36发射", "于五点三十五分三十六秒发射"),
        ("2:30 3:00", "两点三十三点"),
        ("3-5个 3~5", "三到五个三到五"),
        ("10%-20% 10-20%", "百分之十到百分之二十百分之十到百分之二十"),
        ("2020-2021年", "二零二零到二零二一年"),
        ("5‰", "千分之五"),
        ("010-62345678", "零一零六二三四五六七八"),
        ("1/2 2½", "二分之一二又二分之一"),
        ("3:2", "三比二"),
        ("3+5=8 10-3=7", "三加五等于八十减三等于七"),
        ("≥18岁 ±3", "大于等于十八岁正负三"),
        ("10²", "十的二次方"),
        ("2个 第2个 12个 2002年", "两个第二个十二个二零零二年"),
        ("9:00-18:00", "九点到十八点"),
        ("138 0013 8000", "一三八零零一三八零零零"),
        ("+86 138 0013 8000", "加八六一三八零零一三八零零零"),
        ("100000000 1,234,567,890", "一亿十二亿三千四百五十六万七千八百九十"),
        ("1,000,000,005人", "十亿零五人"),
        ("139-12345678", "一三九一二三四五六七八"),
        ("138.1234567", "一百三十八点一二三四五六七"),
        ("(010)62345678", "零一零六二三四五六七八"),
        ("北纬37°30′", "北纬三十七度三十分"),
        ("3cm×5cm", "三厘米乘五厘米"),
        ("零下-5℃", "零下五摄氏度"),
        ("٣个", "三个"),
        ("5mW 5MW", "五毫瓦五兆瓦"),
        ("拨打110 110报警", "拨打幺幺零幺幺零报警"),
        ("报警电话110", "报警电话幺幺零"),
        ("110人 110米", "一百一十人一百一十米"),
        ("301医院 318国道", "三零幺医院三幺八国道"),
    ],
)
def test_a_form_is_written_as_it_is_read(written, read):
    assert normalize(written).replace(" ", "") == read


@pytest.mark.parametrize(
    "text, doubt",
    [
        ("24/7", "24/7"),
        ("图-154", "图-154"),
        ("比分5-3", "5-3"),
        ("5#", "5#"),
        ("周一~周五", "周一~周五"),
        ("110", "110"),
        ("301室", "301"),
    ],
)
def test_what_may_be_read_otherwise_or_not_at_all_is_told(text, doubt):
    doubts = []
    normalize(text, doubts)
    assert doubt in doubts


@pytest.mark.parametrize("text", ["拨打110", "119报警", "301医院", "110人", "1,110"])
def test_what_has_one_reading_is_no_doubt(text):
    doubts = []
    normalize(text, doubts)
    assert doubts == []


@pytest.mark.parametrize("sign", "-~/:+*=<>^#@&×÷±≠≤∞№☃²½①Ⅳ㎏℃°‰$₩¥%")
@pytest.mark.parametrize("shape", ["3{}5", "3 {} 5", "{}5", "3{}"])
def test_no_sign_beside_a_number_goes_in_silence(sign, shape):
    doubts = []
    read = normalize(shape.format(sign), doubts)
    assert doubts or read != normalize(shape.format(" "))


PIECES = "3 5 12 2024 010 1,000 2.5 - ~ / : + = × . % ℃ kg ㎡ /h $ ¥ ½ ① Ⅳ ² 度 个 点"


@settings(deadline=None)
@given(st.lists(st.sampled_from([*PIECES.split(), " "]), max_size=9).map("".join))
def test_a_text_holds_no_digits_and_stays_as_it_is(text):
    once = normalize(text)
    assert normalize(once) == once
    assert not any(char in "0123456789" for char in once)
