"""One Unicode form."""

import sys
import unicodedata
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from espnet_smoe.data.text.unicode_text import invisible_characters, normalize_unicode

ODD = st.sampled_from(
    "가각ㄱ각ᄏﾡￂ ﾥ\u3164\u115f\u1160\u200b\u200c\u200d\u200e\u2060\ufeff\u00ad\ufe0f"
    "\u180b\u180e\u0600\u0627\u0644ﻼ\u064b\u0915\u094d\u0937\u0301e\u0308½①㎏㎡㏂ﬁⅣ⽇\u3000\u00a0"
    "\u2028\x00\x1f\ufffd👨\U000e0041\ud800𝟑ｶﾞ"
)


@settings(deadline=None)  # the first text waits for the table
@given(st.text(st.one_of(ODD, st.characters())))
def test_a_text_in_the_one_form_comes_back_unchanged(text):
    once = normalize_unicode(text)
    assert normalize_unicode(once) == once
    assert unicodedata.is_normalized("NFC", once)
    assert once == " ".join(once.split())


def test_every_single_character_reaches_its_form_at_once():
    for point in range(sys.maxunicode + 1):
        once = normalize_unicode(chr(point))
        assert normalize_unicode(once) == once, hex(point)


@pytest.mark.parametrize(
    "written, plain",
    [
        (unicodedata.normalize("NFD", "안녕 café"), "안녕 café"),
        ("안\u200b녕\ufeff", "안녕"),
        ("ＡＢＣ１２３！", "ABC123!"),
        ("ﾡﾡ ﾻￂ", "ㄱㄱ ㅋㅏ"),  # half-width jamo are letters, they make no syllable
        (unicodedata.normalize("NFKD", "ㅋㅋㅋ"), "ㅋㅋㅋ"),
        ("ｶﾞｷﾞ", "ガギ"),
        ("a\u3000b\u00a0c\u2009d\te", "a b c d e"),
        ("가\u3164나", "가 나"),
        ("co\u00adop\u202e\u2066 x\ufe0f", "coop x"),
        ("a\x00b\x1bc", "abc"),
        ("5㎏ 3㎡ ㎞ ﬁne", "5kg 3m² km fine"),
        ("⽇本", "日本"),
        ("①½ⅣX²℃", "①½ⅣX²℃"),
        ("010‑1234", "010-1234"),
        ("\U0001d7d8\ud83d", "0"),
    ],
)
def test_each_class_becomes_what_the_table_says(written, plain):
    assert normalize_unicode(written) == plain


def test_joiners_stay_where_a_script_spells_with_them_and_nowhere_else():
    persian, hindi = "می\u200cخواهم", "क्\u200dष"
    assert normalize_unicode(persian) == persian
    assert normalize_unicode(hindi) == hindi
    assert normalize_unicode("\u200cمی\u200c \u200cخ") == "می خ"
    assert normalize_unicode("가\u200d나\u200c다") == "가나다"


def test_old_hangul_stays_whole():
    old = "\u1112\u119e\u11ab"  # 한 with the vowel araea
    assert normalize_unicode(old) == old


@pytest.mark.parametrize("text", ["\u200b", "\u200d\u200c", "\u3164", "\ufeff \u00ad"])
def test_a_text_that_nobody_sees_is_empty_and_its_characters_have_names(text):
    assert normalize_unicode(text) == ""
    assert invisible_characters(text)[0] == f"U+{ord(text[0]):04X}"


def test_changes_are_counted_by_class():
    changes: Counter[str] = Counter()
    texts = [unicodedata.normalize("NFD", "가"), "나\u200b", "ＡＢ\u200b", "다", "ok"]
    for text in texts:
        normalize_unicode(text, changes)
    assert changes == {
        "decomposed characters": 1,
        "invisible characters": 2,
        "compatibility forms": 1,
    }
