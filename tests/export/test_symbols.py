"""Tokens as sherpa-onnx reads them make up the texts that our models write."""

import base64

import pytest

from espnet_smoe.data.text.tokenizer import bytes_of_piece, join_bytes, join_marked
from espnet_smoe.export.command import symbols_of
from espnet_smoe.export.symbols import KINDS, ctc_symbols, whisper_symbols

BYTES = ["<blank>", "<ko>", "a", "ĠêB", "Ġê", "°", "Ģ", "Ċ", "Ġ"]


def read(table: bytes) -> dict[int, bytes]:
    """As sherpa-onnx does it: the symbol and the number of each line."""
    pairs = [line.split(b" ") for line in table.removesuffix(b"\n").split(b"\n")]
    return {int(number): symbol for symbol, number in pairs}


def text(table: bytes, numbers: list[int]) -> str:
    """Symbols joined, the mark of a space at their beginning taken for one."""
    mark, symbols = "▁".encode(), read(table)
    joined = [
        b" " + symbols[n].removeprefix(mark)
        if symbols[n].startswith(mark)
        else symbols[n]
        for n in numbers
    ]
    return b"".join(joined).decode("utf-8", "ignore")


def test_all_tokens_have_a_line_and_the_blank_its_name():
    tokens = ["<b>", "<unk>", "你", "<space>", "▁good", "5"]
    symbols = read(ctc_symbols(tokens, "char"))
    assert list(symbols) == list(range(6))
    assert [s.decode() for s in symbols.values()] == [
        *("<blank>", "<unk>", "你", "▁", "▁good", "5")
    ]


@pytest.mark.parametrize(
    ("kind", "tokens", "expected"),
    [
        ("char", ["a", "<space>", "b"], "a b"),
        ("bpe", ["▁go", "od", "▁day"], " good day"),
        ("word", ["ni3", "hao3"], " ni3 hao3"),
        ("bytes", ["a", "Ġê", "°", "Ģ", "Ġ", "a"], "a 가 a"),
    ],
)
def test_texts_have_their_spaces(kind, tokens, expected):
    table = ctc_symbols(["<blank>", *tokens], kind)
    assert text(table, list(range(1, len(tokens) + 1))) == expected
    if kind == "bytes":
        assert join_bytes(tokens) == expected
    elif kind == "bpe":
        assert join_marked(tokens) == expected.strip()


def test_no_symbol_holds_what_parts_it_from_its_number():
    breaks = {*b" \t\n\v\f\r"}
    for symbol in read(ctc_symbols(BYTES, "bytes")).values():
        assert symbol and not breaks & {*symbol}


def test_a_whisper_has_its_text_alone():
    table = read(whisper_symbols(BYTES, "bytes"))
    assert {n: base64.b64decode(s) for n, s in table.items()} == {
        n: bytes_of_piece(BYTES[n]) for n in range(2, len(BYTES))
    }


def test_the_configuration_says_how_tokens_make_up_a_text():
    assert symbols_of({"token_type": "bpe", "bpemodel": "x/bpe.json"}) == "bytes"
    assert symbols_of({"token_type": "bpe", "bpemodel": "x/bpe.model"}) == "bpe"
    # the preprocessor `smoe` reads its tokenizer alone
    assert symbols_of({"token_type": "char", "bpemodel": "x/bpe.json"}) == "bytes"
    for kind in ("char", "word", "phn"):
        assert symbols_of({"token_type": kind}) == kind and kind in KINDS
