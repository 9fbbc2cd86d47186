"""The estimator: figures worked out by hand, lmplz's figures, and sums of 1."""

import itertools
import logging
import math
from fractions import Fraction as F

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from espnet_smoe.lm.ngram import NGram
from espnet_smoe.lm.text import read_sentences, read_words

# log10 probabilities by `lmplz -o 3` of KenLM; its discounts need no fallback
LMPLZ_TEXT = ["b a", "a a d b a", "a b", "c a a", "a a a a", "b a"]
LMPLZ = {
    "<unk>": -1.2754759,
    "</s>": -0.72263396,
    "a": -0.48710546,
    "b </s>": -0.58275485,
    "<s> b": -0.46495533,
    "a d": -0.8484007,
    "a b </s>": -0.18355781,
    "a a </s>": -0.55357003,
    "<s> a b": -0.46025816,
    "a a a": -0.6103226,
    "c a a": -0.1925196,
    # not seen: the back-off weights -0.33099324 of <s> c and -0.30103 of c
    "<s> c b": -0.33099324 - 0.30103 - 0.6292122,
}

sentence = st.lists(st.sampled_from("abcd"), min_size=1, max_size=6).map(" ".join)
texts = st.lists(sentence, min_size=1, max_size=12)


def sums(model):
    """Sum of all words' probabilities after every context, up to 2 words long."""
    given_words = ["<unk>", *model.words[3:]]
    histories = [
        history
        for n in range(3)
        for words in itertools.product(given_words, repeat=n)
        for history in (words, ("<s>", *words))
    ]
    predicted = [word for word in model.words if word != "<s>"]
    return [sum(10 ** model.log_prob(w, h) for w in predicted) for h in histories]


def test_unigrams_by_hand():
    # 1x: a b c </s>; 2x: d e; 3x: f; 4x: g. Y = 4 / (4 + 2 * 2), so that by Eq. 26
    # D1 = 1 - 2 Y 2/4 = 1/2, D2 = 2 - 3 Y 1/2 = 5/4, D3 = 3 - 4 Y 1/1 = 1
    model = NGram.estimate(["a b c d d e e f f f g g g g"], order=1)
    left = (4 * F(1, 2) + 2 * F(5, 4) + 1 + 1) / 15 / 9  # shared by 9 words
    expected = {
        "<unk>": left,
        "a": F(1, 2) / 15 + left,
        "</s>": F(1, 2) / 15 + left,
        "d": F(3, 4) / 15 + left,
        "f": F(2, 15) + left,
        "g": F(3, 15) + left,
    }
    for word, p in expected.items():
        assert 10 ** model.log_prob(word) == pytest.approx(float(p), rel=1e-12)


def test_bigrams_by_hand():
    model = NGram.estimate(["a b c", "a b", "a c"], order=2)
    # kinds of words before: a 1, b 1, c 2, </s> 2; too few to tell the discounts, so
    # 1/2 and 1 are taken off; half the mass is left to 5 words
    p = {"a": F(1, 12), "b": F(1, 12), "c": F(1, 6), "</s>": F(1, 6), "<unk>": F(0)}
    p = {word: own + F(1, 2) / 5 for word, own in p.items()}
    # counts: <s> a 3; a b, c </s> 2; a c, b c, b </s> 1. Y = 3/7
    d1, d2, d3 = 1 - 2 * F(3, 7) * F(2, 3), 2 - 3 * F(3, 7) * F(1, 2), F(3)
    expected = {
        ("<s>", "a"): (3 - d3) / 3 + d3 / 3 * p["a"],
        ("a", "b"): (2 - d2) / 3 + (d2 + d1) / 3 * p["b"],
        ("a", "c"): (1 - d1) / 3 + (d2 + d1) / 3 * p["c"],
        ("a", "</s>"): (d2 + d1) / 3 * p["</s>"],
        ("b", "</s>"): (1 - d1) / 2 + 2 * d1 / 2 * p["</s>"],
        ("b", "x"): 2 * d1 / 2 * p["<unk>"],
        ("x", "b"): p["b"],
    }
    for (before, word), value in expected.items():
        assert 10 ** model.log_prob(word, [before]) == pytest.approx(float(value))


@pytest.mark.parametrize("ngram", LMPLZ)
def test_figures_are_those_of_lmplz(ngram):
    model = NGram.estimate(LMPLZ_TEXT, order=3)
    *history, word = ngram.split()
    assert model.log_prob(word, history) == pytest.approx(LMPLZ[ngram], abs=2e-6)


@given(texts, st.integers(1, 4), st.sampled_from([None, ["a", "b", "z"]]))
def test_probabilities_of_every_history_sum_to_1(text, order, vocabulary):
    model = NGram.estimate(text, order, vocabulary)
    np.testing.assert_allclose(sums(model), 1, atol=1e-9)


@given(texts, st.integers(1, 4))
def test_order_of_the_sentences_does_not_matter(text, order):
    model, turned = (NGram.estimate(t, order) for t in (text, text[::-1]))
    assert model.perplexity(text).ppl == pytest.approx(turned.perplexity(text).ppl)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_perplexity_is_that_of_the_chain_of_words(order):
    model = NGram.estimate(LMPLZ_TEXT, order)
    text = ["a b x b", "c"]
    # x is no word of the model: it is not scored, but stands before b
    chains = [["<s>", "a", "b", "x", "b", "</s>"], ["<s>", "c", "</s>"]]
    total = sum(
        model.log_prob(chain[i], chain[:i])
        for chain in chains
        for i in range(1, len(chain))
        if chain[i] != "x"
    )
    result = model.perplexity(text)
    assert (result.oov, result.tokens) == (1, 6)
    assert result.ppl == pytest.approx(10 ** (-total / 6))
    assert result.ppl1 == pytest.approx(10 ** (-total / 4))


def test_text_of_unknown_words_alone_has_no_perplexity_by_word():
    result = NGram.estimate(LMPLZ_TEXT, 2).perplexity(["x y"])
    assert math.isnan(result.ppl1)
    assert result.ppl > 1


def test_vocabulary_limits_the_words():
    model = NGram.estimate(LMPLZ_TEXT, 2, vocabulary=["a", "z", "<unk>", "a"])
    assert model.words == ["<unk>", "<s>", "</s>", "a", "z"]
    # b, c and d count as <unk>, which has been seen after a; z never has
    assert model.log_prob("b", ["a"]) == model.log_prob("<unk>", ["a"])
    assert model.log_prob("b", ["a"]) > model.log_prob("z", ["a"])


def test_too_small_a_text_is_told(caplog):
    with caplog.at_level(logging.WARNING):
        NGram.estimate(["a a"], order=1)
    assert "1-grams: 1 occur 1x, 1 occur 2x, 0 occur 3x" in caplog.text
    assert "0.5, 1.0, 1.5 are used" in caplog.text


def test_order_is_lowered_where_no_sentence_is_as_long(caplog):
    with caplog.at_level(logging.WARNING):
        model = NGram.estimate(["a", "b"], order=5)
    assert model.order == 3  # <s> a </s>
    assert "the order of the model is 3, not 5" in caplog.text


@pytest.mark.parametrize("order", [0, -1, 99])
def test_impossible_order_is_an_error(order):
    with pytest.raises(ValueError, match=f"1 to 10, got {order}"):
        NGram.estimate(["a"], order)


@pytest.mark.parametrize("text", [[], ["", "  "]])
def test_empty_text_is_an_error(text):
    with pytest.raises(ValueError, match="no words"):
        NGram.estimate(text)
    with pytest.raises(ValueError, match="no words"):
        NGram.estimate(["a"], 1).perplexity(text)


def test_sentence_mark_in_a_text_is_an_error():
    with pytest.raises(ValueError, match="sentence 2: the word </s> is kept"):
        NGram.estimate(["a", "b </s>"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "text: no words in it"),
        (b" \n\n", "text: no words in it"),
        (b"a\n\xff\xfe b\n", "text:2: not UTF-8"),
        (b"a\n\n<s> b\n", "text:3: the word <s> is kept"),
    ],
)
def test_bad_file_of_sentences_is_named_with_its_line(tmp_path, content, message):
    path = tmp_path / "text"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        list(read_sentences(path))


def test_list_of_words_has_one_a_line(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("a\nb 2\n")
    with pytest.raises(ValueError, match="words.txt:2: 2 words in a line"):
        read_words(path)
