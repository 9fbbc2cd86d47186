"""Tokenizers: both kinds give back the text they split."""

import unicodedata

import pytest

from espnet_smoe.data.text.tokenizer import (
    SPACE,
    load_tokenizer,
    piece_joiner,
)
from espnet_smoe.data.text.tokens import Texts, train_tokens

TEXTS = ["오늘 날씨가 좋아요", "the weather is good today", "café ☕ 1,000원"]


@pytest.mark.parametrize(
    "kind, file", [("bbpe", "bpe.json"), ("sentencepiece", "bpe.model")]
)
def test_text_comes_back(tmp_path, kind, file):
    train_tokens(TEXTS * 5, 320, tmp_path, kind)
    tokenizer = load_tokenizer(tmp_path / file)
    for text in TEXTS:
        assert tokenizer.decode(tokenizer.encode(text)) == text


@pytest.mark.parametrize(
    "kind, file", [("bbpe", "bpe.json"), ("sentencepiece", "bpe.model")]
)
def test_a_growing_text_shows_whole_characters_only(tmp_path, kind, file):
    train_tokens(TEXTS[1:2] * 5, 290, tmp_path, kind)
    tokenizer = load_tokenizer(tmp_path / file)
    text = "the 가나 ☕"  # none of these characters was in the training text
    pieces = tokenizer.encode(text)
    shown = [tokenizer.decode(pieces[:n]) for n in range(len(pieces) + 1)]
    assert all(text.startswith(one) for one in shown)
    assert shown[-1] == text
    assert "the 가" in shown


def test_bytes_that_make_no_character_leave_the_rest_readable(tmp_path):
    train_tokens(TEXTS[1:2] * 5, 290, tmp_path)
    decode = load_tokenizer(tmp_path / "bpe.json").decode
    pieces = load_tokenizer(tmp_path / "bpe.json").encode("가나")
    assert len(pieces) == 7  # the space before, and a piece for each byte
    assert decode([*pieces[:2], *pieces[4:]]) == "나"
    assert decode(pieces[2:]) == "나"


@pytest.mark.parametrize("kind", ["bbpe", "sentencepiece", "char"])
def test_pieces_join_as_the_kind_of_their_token_list(tmp_path, kind):
    text = "cafés é"
    tokens = train_tokens([text, *TEXTS] * 5, 320, tmp_path, kind)
    if kind == "char":
        pieces = [SPACE if char == " " else char for char in text]
    else:
        file = {"bbpe": "bpe.json", "sentencepiece": "bpe.model"}[kind]
        pieces = load_tokenizer(tmp_path / file).encode(text)
    assert piece_joiner(tokens)(pieces) == text


def test_tokens_are_learned_from_the_one_unicode_form(tmp_path):
    decomposed = unicodedata.normalize("NFD", "u1 오늘\u200b 날씨\n")
    (tmp_path / "text").write_text(decomposed, encoding="utf-8")
    texts = list(Texts([tmp_path / "text"]))
    assert texts == ["오늘 날씨"]


@pytest.mark.parametrize("name", ["bpe.json", "bpe.model"])
def test_what_is_no_tokenizer_is_named(tmp_path, name):
    with pytest.raises(ValueError, match="stage 5"):
        load_tokenizer(tmp_path / name)
    (tmp_path / name).write_text("{")
    with pytest.raises(ValueError, match="not a tokenizer"):
        load_tokenizer(tmp_path / name)
