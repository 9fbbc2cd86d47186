"""Text to pieces and back: byte-level BPE (Hugging Face) or sentencepiece."""

import re
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Protocol

from espnet_smoe.data.text.unicode_text import LOST, normalize_unicode

WORD_START = "\u2581"  # sentencepiece's mark of a space
BYTE_PIECE = re.compile("<0x[0-9A-F]{2}>")  # sentencepiece's byte fallback
SPACE = "<space>"  # ESPnet's mark of a space between characters


def is_special(token: str) -> bool:
    """Whether a token is no part of a text: ``<blank>``, ``<ko>``, ``<0.00>``.

    Example:
        >>> [t for t in ["<asr>", "<space>", "<0xEA>", "a"] if is_special(t)]
        ['<asr>']
    """
    return (
        token[:1] == "<"
        and token[-1:] == ">"
        and token != SPACE
        and not BYTE_PIECE.fullmatch(token)
    )


class Tokenizer(Protocol):
    """What both kinds of tokenizer offer."""

    def encode(self, text: str) -> list[str]:
        """Split a text into pieces."""

    def decode(self, pieces: Sequence[str]) -> str:
        """Join pieces to the text they came from."""


class ByteLevelBPE:
    """Byte-level BPE saved by Hugging Face ``tokenizers`` as JSON.

    Args:
        path: The JSON file.
    """

    def __init__(self, path: str | Path):
        from tokenizers import Tokenizer as HuggingFaceTokenizer

        self._tokenizer = HuggingFaceTokenizer.from_file(str(path))

    def encode(self, text: str) -> list[str]:
        """Split a text into pieces."""
        return self._tokenizer.encode(text, add_special_tokens=False).tokens

    def decode(self, pieces: Sequence[str]) -> str:
        """Join pieces to the text they came from."""
        return join_bytes(pieces)


class SentencePiece:
    """A sentencepiece model.

    Args:
        path: The ``.model`` file.
    """

    def __init__(self, path: str | Path):
        from sentencepiece import SentencePieceProcessor

        self._processor = SentencePieceProcessor(model_file=str(path))

    def encode(self, text: str) -> list[str]:
        """Split a text into pieces."""
        return self._processor.encode(text, out_type=str)

    def decode(self, pieces: Sequence[str]) -> str:
        """Join pieces to the text they came from."""
        return join_marked(pieces)


class ForESPnet:
    """A tokenizer under the names of sentencepiece, for ESPnet's ``bpe``.

    Args:
        path: As `load_tokenizer` takes it.
    """

    def __init__(self, path: str | Path):
        self._tokenizer = load_tokenizer(path)

    def EncodeAsPieces(self, text: str) -> list[str]:  # noqa: N802
        """Split a text into pieces."""
        return self._tokenizer.encode(text)

    def DecodePieces(self, pieces: Sequence[str]) -> str:  # noqa: N802
        """Join pieces to the text they came from."""
        return self._tokenizer.decode(pieces)


def load_tokenizer(path: str | Path) -> Tokenizer:
    """Load the tokenizer of a model.

    Args:
        path: ``.json`` is byte-level BPE, anything else sentencepiece.

    Raises:
        ValueError: The file is missing or not a tokenizer.
    """
    if not Path(path).is_file():
        raise ValueError(f"{path}: no such tokenizer; stage 5 of the recipe makes it")
    try:
        return (ByteLevelBPE if str(path).endswith(".json") else SentencePiece)(path)
    except Exception as error:  # both libraries raise bare or private types
        raise ValueError(
            f"{path}: not a tokenizer ({error}); copy it again from where it was made"
        ) from error


def piece_joiner(token_list: Iterable[str]) -> Callable[[Sequence[str]], str]:
    """How the pieces of a token list become text, without their tokenizer.

    Args:
        token_list: All tokens of a model: with each of the 256 bytes among them they
            are byte-level, else characters or pieces of sentencepiece.

    Example:
        >>> piece_joiner(["<unk>", "▁good", "▁caf", "é"])(["▁caf", "é"])
        'café'
    """
    tokens = set(token_list)
    return join_bytes if _byte_of_character().keys() <= tokens else join_marked


def join_bytes(pieces: Sequence[str]) -> str:
    """Join byte-level pieces to a text in the one Unicode form.

    Bytes that make no character are left out: of a text that is still growing they
    wait for the rest of their character, at its end nobody can tell which it was.

    Example:
        >>> join_bytes(["ê", "°", "Ģ", "ê", "°"])
        '가'
    """
    return _complete(b"".join(map(bytes_of_piece, pieces)))


def bytes_of_piece(piece: str) -> bytes:
    """What a byte-level piece stands for; it need not be whole characters.

    Example:
        >>> bytes_of_piece("ĠêB")
        b' \\xeaB'
    """
    table = _byte_of_character()
    return b"".join(bytes([table[c]]) if c in table else c.encode() for c in piece)


def join_marked(pieces: Sequence[str]) -> str:
    """Join sentencepiece's pieces or characters, as :func:`join_bytes` does.

    Example:
        >>> join_marked(["▁", "<0xEA>", "<0xB0>", "<0x80>", "<space>", "a", "<0xEA>"])
        '가 a'
    """
    return _complete(b"".join(map(bytes_of_marked, pieces)))


def bytes_of_marked(piece: str) -> bytes:
    """What a piece of sentencepiece, or a character, stands for.

    Example:
        >>> bytes_of_marked("▁go"), bytes_of_marked("<0xEA>")
        (b' go', b'\\xea')
    """
    if BYTE_PIECE.fullmatch(piece):
        return bytes([int(piece[3:5], 16)])
    return b" " if piece == SPACE else piece.replace(WORD_START, " ").encode()


def _complete(data: bytes) -> str:
    """The whole characters of UTF-8, and no mark (U+FFFD) for what is not whole."""
    text = data.decode("utf-8", errors="ignore")
    return normalize_unicode(text.replace(LOST, ""))


@lru_cache(1)
def _byte_of_character() -> dict[str, int]:
    """The printable stand-ins of byte-level BPE (Radford et al. 2019).

    Bytes that print as themselves in Latin-1 stand for themselves, the others for
    the characters from U+0100 on, in order.
    """
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    rest = [b for b in range(256) if b not in printable]
    return {chr(b): b for b in printable} | {
        chr(256 + i): b for i, b in enumerate(rest)
    }
