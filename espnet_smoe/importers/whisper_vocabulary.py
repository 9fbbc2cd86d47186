"""Whisper's vocabulary: token list, tokenizer, and what is not speech."""

import operator
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from espnet_smoe.data.text.tokenizer import is_special
from espnet_smoe.importers.tiktoken_file import (
    ENDING,
    TIMESTAMPS,
    as_piece,
    read_tiktoken,
)
from espnet_smoe.importers.whisper_model import (
    CURE,
    ENGLISH_ALONE,
    read_json,
    read_object,
)

START, END = "<|startoftranscript|>", "<|endoftext|>"
TRANSCRIBE, TRANSLATE = "<|transcribe|>", "<|translate|>"
NO_TIMESTAMPS = "<|notimestamps|>"  # ends the prompt
NEEDED = (START, END, TRANSCRIBE, TRANSLATE, NO_TIMESTAMPS)
SPECIAL = re.compile(r"<\|.*\|>")
NAMELESS = "<|empty|>"  # a line of a token list is not empty
SECONDS = 0.02  # between two timestamps
ENGLISH_ONLY = 51864  # tokens of these models
# Those of openai-whisper's `Tokenizer.non_speech_tokens`.
SYMBOLS = list('"#()*+/:;<=>@[\\]^_`{|}~「」『』')
SYMBOLS += "<< >> <<< >>> -- --- -( -[ (' (\" (( )) ((( ))) [[ ]] {{ }} ♪♪ ♪♪♪".split()
NOTES = list("♩♪♫♬♭♮♯")
# Never text: prompts, and what marks silence.
NEVER = (START, TRANSCRIBE, TRANSLATE, "<|startoflm|>", "<|startofprev|>")
NEVER += ("<|nospeech|>", "<|nocaptions|>")
OTHER = "take tokenizer.json of the same model, with --tokenizer if it is elsewhere"
OPENAIS = "multilingual" + ENDING
FILES = ("tokenizer.json", "vocab.json", OPENAIS)


class Vocabulary:
    """Tokens of a model, and the tokenizer that makes them.

    Args:
        path: Folder with ``tokenizer.json``, ``vocab.json`` (and ``added_tokens.json``)
            or ``multilingual.tiktoken``; or such a file.
        size: V, rows of the embedding.

    Attributes:
        tokens: V tokens.

    Raises:
        ValueError: There is no tokenizer, or it does not fit.
    """

    def __init__(self, path: Path, size: int):
        if size == ENGLISH_ONLY:
            raise ValueError(f"{path}: {ENGLISH_ALONE}")
        self.place, vocab, added = _read(path, size)
        ids = {i: token for token, i in {**vocab, **added}.items()}
        if ids and max(ids) >= size:
            raise ValueError(
                f"{self.place} has a token {max(ids)}, but the weights have {size} "
                f"tokens: it is of another model; {OTHER}"
            )
        lacking = [token for token in NEEDED if token not in ids.values()]
        if lacking:
            raise ValueError(f"{self.place} lacks {' '.join(lacking)}; {OTHER}")
        self.tokens = _complete(ids, size, self.place)
        self._tokenizer = _tokenizer(vocab, self.place)

    def tokenizer_json(self) -> str:
        """A tokenizer of the pieces, which begins a text with a space.

        Whisper's own texts begin so, and those that it is trained further on shall.
        """
        self._tokenizer.pre_tokenizer = _byte_level(space=True)
        return self._tokenizer.to_str()

    def check_names(self, folder: Path) -> None:
        """Hold the tokens against the list of a CTranslate2 folder, where there is one.

        Raises:
            ValueError: They differ.
        """
        names = read_json(folder / "vocabulary.json")
        text = folder / "vocabulary.txt"
        if names is None and text.is_file():
            lines = text.read_text(encoding="utf-8", errors="replace").split("\n")
            names = lines[: len(self.tokens)]
        if not isinstance(names, list | None):
            raise ValueError(f"{folder / 'vocabulary.json'} is no list; {CURE}")
        for number, (name, token) in enumerate(zip(names or (), self.tokens)):
            if token not in (name or NAMELESS, as_piece(str(name))):
                raise ValueError(
                    f"{self.place}: token {number} is {token}, but {name} in the "
                    f"vocabulary of the model; {OTHER}"
                )

    def check_ids(self, told: Mapping[str, int]) -> None:
        """Hold the tokens against the ids that the model's configuration tells.

        Raises:
            ValueError: They differ.
        """
        for token, number in told.items():
            if self.tokens[number : number + 1] != [token]:
                raise ValueError(
                    f"{self.place}: {token} is not token {number}, as the "
                    f"configuration of the model tells: it is of another model; {OTHER}"
                )

    def id_of(self, token: str) -> int:
        """The id of a special token."""
        return self.tokens.index(token)

    def not_speech(self) -> tuple[list[int], list[int]]:
        """What Whisper never writes, and what it does not write at first: ids."""
        self._tokenizer.pre_tokenizer = _byte_level(space=False)
        encode = self._tokenizer.encode

        def ids_of(text: str) -> list[int]:
            return encode(text, add_special_tokens=False).ids

        never = {ids_of(" -")[0], ids_of(" '")[0]}
        for symbol in SYMBOLS + NOTES:
            for ids in (ids_of(symbol), ids_of(f" {symbol}")):
                if len(ids) == 1 or symbol in NOTES:
                    never.add(ids[0])
        never |= {self.id_of(token) for token in NEVER if token in self.tokens}
        return sorted(never), [*ids_of(" ")[:1], self.id_of(END)]


def _read(path: Path, size: int) -> tuple[Path, dict[str, int], dict[str, int]]:
    """The file, pieces with their ids, special tokens with their ids."""
    place = path
    if path.is_dir():
        files = [path / name for name in FILES]
        place = next((file for file in files if file.is_file()), files[0])
    try:
        if place.suffix == ENDING and place.is_file():
            return place, *read_tiktoken(place, size)
        if place.is_file():
            read = read_json(place)
            if place.name == "vocab.json":
                pieces, added = read, read_object(place.with_name("added_tokens.json"))
            else:
                added = {t["content"]: t["id"] for t in read.get("added_tokens") or ()}
                pieces = read["model"]["vocab"]
            return place, _ids(pieces), _as_pieces(_ids(added or {}), pieces)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{place} is no byte-level BPE ({error}); {CURE}") from error
    raise ValueError(
        f"{place} does not exist: the model has no tokenizer; {OTHER}, or "
        f"{OPENAIS} of the openai-whisper package"
    )


def _ids(given: Mapping[str, int]) -> dict[str, int]:
    return {token: operator.index(number) for token, number in given.items()}


def _as_pieces(added: Mapping[str, int], pieces: Mapping[str, int]) -> dict[str, int]:
    """Added tokens; those that are text as a byte-level BPE writes its pieces.

    As they are, "é" would be one byte of them, and a line break two lines of a list.
    """
    named = {}
    for token, number in added.items():
        piece = token if is_special(token) else as_piece(token)
        named[piece if piece not in pieces else token] = number
    return named


def _complete(ids: Mapping[int, str], size: int, place: Path) -> list[str]:
    """All V tokens; timestamps, which many tokenizers leave out, under their names."""
    first = next(i for i, token in ids.items() if token == NO_TIMESTAMPS) + 1
    tokens = []
    for i in range(size):
        if i in ids:
            tokens.append(ids[i] or NAMELESS)
        elif first <= i < first + TIMESTAMPS:
            tokens.append(f"<|{(i - first) * SECONDS:.2f}|>")
        else:
            raise ValueError(f"{place} has no token {i}; {OTHER}")
    return tokens


def _tokenizer(vocab: Mapping[str, int], place: Path) -> Any:
    """A tokenizer of the pieces alone: no text can name a special token."""
    from tokenizers import Tokenizer, decoders, models

    pieces = {t: i for t, i in vocab.items() if t and not SPECIAL.fullmatch(t)}
    halves = [_halves(p, pieces) for p in sorted(pieces, key=pieces.__getitem__)]
    pairs = [tuple(parts) for parts in halves if len(parts) == 2]
    try:
        tokenizer = Tokenizer(models.BPE(pieces, pairs))
    except Exception as error:  # a bare one of the library
        raise ValueError(f"{place} is no byte-level BPE ({error}); {CURE}") from error
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _halves(piece: str, ids: Mapping[str, int]) -> list[str]:
    """What a piece was merged from: the parts that earlier pieces make of its bytes.

    The ids of Whisper's pieces are the order of their merges. The lists of merges at
    Hugging Face say the same, but some lack the first, without which " the" would
    become two pieces that Whisper never writes.
    """
    parts = list(piece)
    while len(parts) > 2:
        pairs = [a + b for a, b in zip(parts, parts[1:])]
        found = min(pairs, key=lambda pair: ids.get(pair, len(ids)))
        if ids.get(found, len(ids)) >= ids[piece]:
            break
        at = pairs.index(found)
        parts[at : at + 2] = [found]
    return parts


def _byte_level(space: bool) -> Any:
    from tokenizers.pre_tokenizers import ByteLevel

    return ByteLevel(add_prefix_space=space)
