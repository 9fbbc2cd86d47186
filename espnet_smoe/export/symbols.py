"""Files of tokens as sherpa-onnx and WeNet read them: a symbol and its id a line."""

import base64
from collections.abc import Callable, Sequence

from espnet_smoe.data.text.tokenizer import (
    WORD_START,
    bytes_of_marked,
    bytes_of_piece,
    is_special,
)

BLANK = "<blank>"
KINDS: dict[str, Callable[[str], bytes]] = {
    "bytes": bytes_of_piece,  # byte-level BPE
    "bpe": bytes_of_marked,
    "char": bytes_of_marked,
    "word": lambda token: f" {token}".encode(),
    "phn": lambda token: f" {token}".encode(),
}
BREAKS = b"\t\n\v\f\r"  # with the space, what parts a symbol from its id


def ctc_symbols(tokens: Sequence[str], kind: str, blank: int = 0) -> bytes:
    """The tokens of a CTC model, which a runtime joins without anything between them.

    A space is the mark of sentencepiece. Bytes that are not whole characters are
    written as they are, so that they make some when they are joined.

    Args:
        tokens: V of them.
        kind: A key of `KINDS`, how they make up a text.
        blank: Id of the blank.

    Example:
        >>> ctc_symbols(["<blank>", "a", "<space>"], "char").decode()
        '<blank> 0\\na 1\\n▁ 2\\n'
    """
    lines = []
    for number, token in enumerate(tokens):
        symbol = token.encode() if is_special(token) else KINDS[kind](token)
        if number == blank:
            symbol = BLANK.encode()
        if not symbol or set(symbol) & set(BREAKS):
            symbol = f"<{symbol.hex()}>".encode()
        symbol = symbol.replace(b" ", WORD_START.encode())
        lines.append(symbol + f" {number}\n".encode())
    return b"".join(lines)


def whisper_symbols(tokens: Sequence[str], kind: str) -> bytes:
    """The text tokens of a Whisper: what is not among them is left out of a text.

    Args:
        tokens: V of them.
        kind: A key of `KINDS`.

    Example:
        >>> whisper_symbols(["<blank>", "a"], "char")
        b'YQ== 1\\n'
    """
    return b"".join(
        base64.b64encode(data) + f" {number}\n".encode()
        for number, token in enumerate(tokens)
        if not is_special(token) and (data := KINDS[kind](token))
    )
