"""Marks of Korean transcriptions become plain text, and no word is lost unasked."""

import re
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espnet_smoe.data.text.korean import (
    CHOICES,
    KoreanOptions,
    normalize,
    spell_numbers,
)

KSPON = "b/ 아/ 모+ 몬 소리야, (70%)/(칠십 퍼센트) 확률이라니. n/"


def test_default_writes_down_what_is_heard():
    assert normalize(KSPON) == "아 모 몬 소리야 칠십 퍼센트 확률이라니"


def test_written_side_without_fillers_and_fragments():
    options = KoreanOptions(dual="written", fillers="drop", repetitions="drop")
    assert normalize(KSPON, options) == "몬 소리야 70% 확률이라니"


@pytest.mark.parametrize(
    "dual, spoken_first, expected",
    [
        ("spoken", False, "2명이"),
        ("spoken", True, "이백 명이"),
        ("written", False, "이백 명이"),
        ("written", True, "2명이"),
    ],
)
def test_side_of_a_dual_form(dual, spoken_first, expected):
    text = "(이백 명)/(2명)이"
    assert normalize(text, KoreanOptions(dual=dual), spoken_first) == expected


@pytest.mark.parametrize(
    "text, expected",
    [
        ("(1)/(일)번 (2) / (이)번", "일번 이번"),
        ("((70%)/(칠십))이", "칠십 이"),  # a dual form in a bracket
        ("(웃음)/(우슴)이 (웃음)", "우슴이"),
        ("(삼)/()번", "삼번"),  # one side empty: the other is the word
        ("말/(noise) 소리", "말 소리"),
    ],
)
def test_dual_forms_nested_and_spaced(text, expected):
    assert normalize(text) == expected


@pytest.mark.parametrize(
    "text",
    ["(가)/나)", "(가/(나)", "((가)/나", "가)/(나", "(가)(나)", "[가 {나", "가+*/나"],
)
def test_broken_marks_lose_their_sign_but_not_their_words(text):
    for dual in CHOICES["dual"]:
        assert normalize(text, KoreanOptions(dual=dual)) == "가 나"


@pytest.mark.parametrize(
    "field, text, kept, dropped",
    [
        ("fillers", "음/ 그/, 네", "음 그 네", "네"),
        ("fillers", "(FP:음) 네", "음 네", "네"),
        ("fillers", "음/.그래서", "음 그래서", "그래서"),
        ("fillers", "그+/ 그게", "그 그게", "그게"),
        ("fillers", "남/녀 구분", "남 녀 구분", "남 녀 구분"),
        ("repetitions", "모+ 몬", "모 몬", "몬"),
        ("repetitions", "모+몬", "모 몬", "몬"),
        ("repetitions", "-나- 나는", "나 나는", "나는"),
        ("repetitions", "그+/ 그게", "그 그게", "그게"),
        ("mispronounced", "단어*를 말", "단어를 말", "말"),
        ("unclear", "아마 ((추정)) 끝 u/", "아마 추정 끝", "아마 끝"),
    ],
)
def test_marked_words_are_kept_or_dropped(field, text, kept, dropped):
    assert normalize(text, KoreanOptions(**{field: "keep"})) == kept
    assert normalize(text, KoreanOptions(**{field: "drop"})) == dropped


@pytest.mark.parametrize(
    "text",
    [
        "b/ 말 n/",
        "l/말o/",
        "[웃음] 말 [큰 소리]",
        "말 {laughing}",
        "(NO:) 말",
        "@박수 말",
    ],
)
def test_sounds_are_taken_out(text):
    assert normalize(text) == "말"


@pytest.mark.parametrize("text", ["n/ b/", "", " . ", "(NO:)", "[웃음]", "u/"])
def test_nothing_left_is_an_empty_text(text):
    assert normalize(text) == ""


@pytest.mark.parametrize("name", ["&name1&", "#@이름#", "@전화번호1", "&company-name&"])
def test_anonymised_names_are_dropped_or_reject_the_utterance(name):
    text = f"저는 {name} 입니다"
    assert normalize(text) == "저는 입니다"
    assert normalize(text, KoreanOptions(anonymised="reject")) == ""


def test_unclear_speech_rejects_the_utterance_where_asked():
    options = KoreanOptions(unclear="reject")
    assert normalize("말 u/", options) == ""
    assert normalize("말 (())", options) == ""
    assert normalize("말 (1)/(일)", options) == "말 일"


def test_letters_that_look_like_marks_stay():
    assert normalize("AT&T don't TCP/IP I/O n/3") == "AT&T don't TCP IP I O n 3"


def test_punctuation_kept_or_dropped():
    text = '"네, 3.14 는 1,000원?" (정말)…'
    assert normalize(text) == "네 3.14 는 1,000원 정말"
    kept = normalize(text, KoreanOptions(punctuation="keep"))
    assert kept == '"네, 3.14 는 1,000원?" 정말 …'


def test_characters_become_nfc_without_wide_or_invisible_ones():
    decomposed = "\u1100\u1161"
    assert normalize(f"\ufeff{decomposed}\u3000ＡＢ１\u200b２\t나\x00") == "가 AB12 나"


@pytest.mark.parametrize(
    "text, expected",
    [
        ("0", "영"),
        ("10", "십"),
        ("2024년", "이천이십사년"),
        ("1,000원", "천원"),
        ("12345", "만 이천삼백사십오"),
        ("3.05", "삼 점 영오"),
        ("010-0119", "공일공-공일일구"),
        ("7% $5", "칠 퍼센트 오 달러"),
        ("1" * 20, "일" * 20),
        ("말", "말"),
    ],
)
def test_digits_are_spelled_in_sino_korean(text, expected):
    assert spell_numbers(text) == expected


def test_numbers_option_spells_only_where_asked():
    assert normalize("3.5% 할인") == "3.5% 할인"
    spelled = normalize("3.5% 할인", KoreanOptions(numbers="spell"))
    assert spelled == "삼 점 오 퍼센트 할인"


def test_spelling_without_num2words_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "num2words", None)
    with pytest.raises(ImportError, match=r"espnet_smoe\[corpora\]"):
        normalize("3", KoreanOptions(numbers="spell"))


def test_unknown_option_value_names_field_and_choices():
    with pytest.raises(ValueError, match="fillers.*'maybe'.*keep, drop"):
        KoreanOptions(fillers="maybe")


options_drawn = st.builds(
    KoreanOptions, **{name: st.sampled_from(known) for name, known in CHOICES.items()}
)
marks = st.sampled_from(
    [" "]
    + "아/ 모+ 몬 단어* u/ b/ n/ o/ (( )) ( ) )/( / + * [ ] { } < > & &name&".split()
    + "#@이름# -나- - (FP: (NO:) @박수 @이름 1,000 3.5 % $ . , ' ~".split()
    + "A n AT&T 가 ㅋ ﾡ Ｂ 010 ₩".split()
)
texts = st.one_of(st.lists(marks, max_size=12).map("".join), st.text(max_size=30))


@given(texts, options_drawn, st.booleans())
def test_own_output_comes_back_unchanged(text, options, spoken_first):
    once = normalize(text, options, spoken_first)
    assert normalize(once, options, spoken_first) == once
    assert normalize(once, options, not spoken_first) == once
    assert once == " ".join(once.split())
    assert not re.search(r"[()\[\]{}<>/*+]", once)


@given(st.lists(st.sampled_from(list("()/*+ ") + ["가", "나", "다라"]), max_size=15))
def test_no_word_is_lost_when_everything_is_kept(pieces):
    text = "".join(pieces)
    options = KoreanOptions(dual="written")
    if re.search(r"\)\s*/\s*\(", text):
        return  # a dual form loses one side by design
    assert normalize(text, options).replace(" ", "") == re.sub(r"[^가-힣]", "", text)
