"""Tokens of a model to the text that a user reads."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from espnet_smoe.data.text.tokenizer import SPACE, load_tokenizer
from espnet_smoe.data.text.unicode_text import LOST, normalize_unicode

NO_TEXT = frozenset({"<blank>", "<sos/eos>"})

Detokenizer = Callable[[Sequence[str]], str]


def detokenizer(config: Mapping[str, Any]) -> Detokenizer:
    """How a model's tokens become a text.

    Args:
        config: Training configuration, as `config_files.read_config` reads it; its
            ``token_type`` is ``bpe`` (pieces of ``bpemodel``), ``char``, ``word`` or
            ``phn``.

    Returns:
        A function of tokens; it leaves out blanks, sentence marks and bytes of
        characters that are not whole (yet), and gives one line in the one Unicode form.

    Raises:
        ValueError: The type is another, or its tokenizer is missing.

    Example:
        >>> detokenizer({"token_type": "char"})(["你", "好", "<space>", "<sos/eos>"])
        '你好'
        >>> detokenizer({"token_type": "word"})(["ni3", "hao3"])
        'ni3 hao3'
    """
    kind = config.get("token_type")
    if kind == "bpe":
        join = load_tokenizer(config.get("bpemodel") or "bpemodel").decode
    elif kind == "char":
        join = _join_characters
    elif kind in ("word", "phn"):
        join = " ".join
    else:
        raise ValueError(
            f"token_type: '{kind}' of the training configuration cannot be turned into "
            "text; bpe, char, word and phn can"
        )

    def text_of(tokens: Sequence[str]) -> str:
        spoken = [token for token in tokens if token not in NO_TEXT]
        return normalize_unicode(join(spoken).replace(LOST, ""))

    return text_of


def _join_characters(tokens: Sequence[str]) -> str:
    return "".join(" " if token == SPACE else token for token in tokens)
