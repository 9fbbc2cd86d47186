"""Whisper's vocabulary as openai-whisper keeps it: pieces alone, in ``.tiktoken``.

A line is a piece in base64 and its id. The special tokens follow from their number.
"""

import base64
import binascii
from functools import cache
from pathlib import Path

ENDING = ".tiktoken"
# openai-whisper's `LANGUAGES`; those of 99 languages lack the last
LANGUAGES = """en zh de es ru ko fr ja pt tr pl ca nl ar sv it id hi fi vi he uk el ms
cs ro da hu ta no th ur hr bg lt la mi ml cy sk te fa lv bn sr az sl kn et mk br eu is
hy ne mn bs kk sq sw gl mr pa si km sn yo so af oc ka be tg sd gu am yi lo uz fo ht ps
tk nn mt sa lb my bo tl mg as tt haw ln ha ba jw su yue""".split()
BEFORE = ("endoftext", "startoftranscript")
BEHIND = ("translate", "transcribe", "startoflm", "startofprev", "nospeech")
BEHIND += ("notimestamps",)
TIMESTAMPS = 1501  # 0.00 to 30.00


def read_tiktoken(path: Path, size: int) -> tuple[dict[str, int], dict[str, int]]:
    """Read a file of pieces.

    Args:
        path: Such as ``multilingual.tiktoken``.
        size: V, special tokens included.

    Returns:
        Pieces as a byte-level BPE writes them, and special tokens, with their ids.

    Raises:
        ValueError: It is damaged, or of another model.
    """
    ids: dict[bytes, int] = {}
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        try:
            piece, rank = line.split()
            ids[base64.b64decode(piece)] = int(rank)
        except (ValueError, binascii.Error) as error:
            raise ValueError(
                f"{path}:{number}: is no piece in base64 with its id; take "
                "multilingual.tiktoken of the openai-whisper package"
            ) from error
    most = len(ids) + len(BEFORE) + len(LANGUAGES) + len(BEHIND) + TIMESTAMPS
    if sorted(ids.values()) != list(range(len(ids))) or size not in (most - 1, most):
        raise ValueError(
            f"{path}: its {len(ids)} pieces belong to {most - 1} or {most} tokens, but "
            f"the weights have {size}; take multilingual.tiktoken of the "
            "openai-whisper package, or tokenizer.json of the same model"
        )
    pieces = {as_piece(piece): i for piece, i in ids.items()}
    languages = LANGUAGES[: len(LANGUAGES) + size - most]
    special = [*BEFORE, *languages, *BEHIND]
    added = {f"<|{name}|>": len(ids) + i for i, name in enumerate(special)}
    return pieces, added


def as_piece(text: bytes | str) -> str:
    """As a byte-level BPE writes a text.

    Example:
        >>> as_piece(" café")
        'ĠcafÃ©'
    """
    names = _names()
    return "".join(names[b] for b in (text.encode() if isinstance(text, str) else text))


@cache
def _names() -> dict[int, str]:
    """The sign that a byte-level BPE writes for each byte: itself where it is seen."""
    seen = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    unseen = [byte for byte in range(256) if byte not in seen]
    return {b: chr(b) for b in seen} | {b: chr(256 + i) for i, b in enumerate(unseen)}
