"""Tokens of every kind of model become a readable line."""

import pytest

from espnet_smoe.inference.detokenizer import detokenizer
from tests.tiny import TEXTS, tiny_config


@pytest.mark.parametrize(
    "kind, tokens, text",
    [
        ("char", ["你", "好", "吗"], "你好吗"),
        ("char", ["<space>", "o", "k", "<space>", "<space>", "g", "o"], "ok go"),
        ("word", ["ni3", "hao3"], "ni3 hao3"),
        ("phn", ["N", "IY1"], "N IY1"),
        ("char", ["<blank>", "a", "<sos/eos>"], "a"),
        ("word", [], ""),
    ],
)
def test_tokens_become_text(kind, tokens, text):
    assert detokenizer({"token_type": kind})(tokens) == text


def test_pieces_become_the_words_they_were_cut_from(tmp_path):
    from espnet_smoe.data.text.tokenizer import load_tokenizer

    config = tiny_config(tmp_path)
    pieces = load_tokenizer(config["bpemodel"]).encode(TEXTS[0])
    assert len(pieces) > 3
    assert detokenizer(config)(pieces) == TEXTS[0]


def test_a_text_that_grows_by_bytes_never_shows_half_a_character(tmp_path):
    from espnet_smoe.data.text.tokenizer import load_tokenizer

    config = tiny_config(tmp_path)
    text = "새 👋 말"  # its characters were in no training text: a token for each byte
    pieces = load_tokenizer(config["bpemodel"]).encode(text)
    shown = [detokenizer(config)(pieces[:n]) for n in range(len(pieces) + 1)]
    assert all(text.startswith(one) for one in shown)
    assert shown[-1] == text and len(set(shown)) < len(shown)


def test_a_text_has_the_one_unicode_form():
    jamo = ["\u1112", "\u1161", "\u11ab", "\u200b", "<space>", "Ａ", "\ufffd"]
    assert detokenizer({"token_type": "char"})(jamo) == "한 A"


@pytest.mark.parametrize(
    "config, message",
    [
        ({"token_type": "hugging_face"}, "'hugging_face' .* cannot be turned into"),
        ({}, "token_type: 'None'"),
        ({"token_type": "bpe", "bpemodel": "no.model"}, "no.model: no such tokenizer"),
    ],
)
def test_what_has_no_text_is_refused(config, message):
    with pytest.raises(ValueError, match=message):
        detokenizer(config)
