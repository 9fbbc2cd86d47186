"""A byte-level tokenizer as Hugging Face keeps it, with the ids of a token list."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from espnet_smoe.data.text.tokenizer import is_special


def hugging_face_tokenizer(tokens: Sequence[str], pieces: Path) -> dict[str, Any]:
    """The content of a ``tokenizer.json``: pieces, and special tokens beside them.

    Args:
        tokens: V tokens, pieces among them.
        pieces: The experiment's ``bpe.json``.

    Raises:
        ValueError: It is damaged, or has a piece that is no token.
    """
    try:
        content = json.loads(pieces.read_text(encoding="utf-8"))
        known, merges = content["model"]["vocab"], content["model"]["merges"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{pieces} is no byte-level tokenizer ({error}); take another copy of it"
        ) from error
    ids = {token: i for i, token in enumerate(tokens)}
    lacking = [piece for piece in known if piece not in ids]
    if lacking:
        raise ValueError(
            f"{pieces}: {lacking[0]} is not in the token list of {len(tokens)}: they "
            "are of two models"
        )
    byte_level = {"type": "ByteLevel", "add_prefix_space": False}
    byte_level |= {"trim_offsets": True, "use_regex": True}
    special = {"single_word": False, "lstrip": False, "rstrip": False}
    special |= {"normalized": False, "special": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": i, "content": token, **special}
            for i, token in enumerate(tokens)
            if token not in known and is_special(token)
        ],
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": None,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": "",
            "end_of_word_suffix": "",
            "fuse_unk": False,
            "byte_fallback": False,
            # all tokens: those outside would get ids behind all others
            "vocab": ids,
            "merges": merges,
        },
    }
