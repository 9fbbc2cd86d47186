"""Text to pieces and back: byte-level BPE (Hugging Face) or sentencepiece."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Protocol

WORD_START = "\u2581"  # sentencepiece's mark of a space


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
        return self._processor.decode_pieces(list(pieces))


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
        raise ValueError(f"{path}: not a tokenizer ({error})") from error


def join_pieces(pieces: Sequence[str]) -> str:
    """Join pieces of either kind without their tokenizer.

    Example:
        >>> join_pieces(["▁good", "▁mor", "ning"])
        'good morning'
        >>> join_pieces(["ê", "°", "Ģ"])
        '가'
    """
    text = "".join(pieces)
    if WORD_START in text:
        return text.replace(WORD_START, " ").strip()
    return join_bytes(pieces)


def join_bytes(pieces: Sequence[str]) -> str:
    """Join byte-level pieces; bytes that are no UTF-8 become U+FFFD."""
    table = _byte_of_character()
    data = b"".join(
        bytes([table[c]]) if c in table else c.encode() for p in pieces for c in p
    )
    return data.decode("utf-8", errors="replace").strip()


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
