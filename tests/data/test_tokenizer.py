"""Tokenizers: both kinds give back the text they split."""

import pytest

from espnet_smoe.data.tokenizer import join_pieces, load_tokenizer
from espnet_smoe.data.tokens import train_tokens

TEXTS = ["오늘 날씨가 좋아요", "the weather is good today", "café ☕ 1,000원"]


@pytest.mark.parametrize(
    "kind, file", [("bbpe", "bpe.json"), ("sentencepiece", "bpe.model")]
)
def test_text_comes_back(tmp_path, kind, file):
    train_tokens(TEXTS * 5, 320, tmp_path, kind)
    tokenizer = load_tokenizer(tmp_path / file)
    for text in TEXTS:
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_byte_level_pieces_join_without_their_tokenizer(tmp_path):
    train_tokens(TEXTS * 5, 300, tmp_path)
    tokenizer = load_tokenizer(tmp_path / "bpe.json")
    for text in TEXTS:
        assert join_pieces(tokenizer.encode(text)) == text


def test_half_a_character_becomes_a_replacement_mark(tmp_path):
    train_tokens(TEXTS[1:2] * 5, 290, tmp_path)
    pieces = load_tokenizer(tmp_path / "bpe.json").encode("가")
    assert join_pieces(pieces[:-1]) == "\ufffd"


@pytest.mark.parametrize("name", ["bpe.json", "bpe.model"])
def test_what_is_no_tokenizer_is_named(tmp_path, name):
    with pytest.raises(ValueError, match="stage 5"):
        load_tokenizer(tmp_path / name)
    (tmp_path / name).write_text("{")
    with pytest.raises(ValueError, match="not a tokenizer"):
        load_tokenizer(tmp_path / name)
