"""Whisper's vocabulary: token list, tokenizer, and what is not speech."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from espnet_smoe.importers.whisper_model import CURE, read_json

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


class Vocabulary:
    """Tokens of a model, and the tokenizer that makes them.

    Args:
        path: Folder with ``tokenizer.json``, or with ``vocab.json`` and ``merges.txt``;
            or a ``tokenizer.json``.
        size: V, rows of the embedding.

    Attributes:
        tokens: V tokens.

    Raises:
        ValueError: There is no tokenizer, or it does not fit.
    """

    def __init__(self, path: Path, size: int):
        self.place, vocab, merges, added = _read(path)
        if size == ENGLISH_ONLY:
            raise ValueError(
                f"{self.place}: a model for English alone, whose prompt has no task; "
                "take the multilingual model of this size"
            )
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
        self._tokenizer = _tokenizer(vocab, merges, self.place)

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
            names = text.read_text(encoding="utf-8").split("\n")[: len(self.tokens)]
        for number, (name, token) in enumerate(zip(names or (), self.tokens)):
            if (name or NAMELESS) != token:
                raise ValueError(
                    f"{self.place}: token {number} is {token}, but {name} in the "
                    f"vocabulary of the model; {OTHER}"
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


def _read(path: Path) -> tuple[Path, dict[str, int], list, dict[str, int]]:
    """The file, pieces with their ids, merges, special tokens with their ids."""
    place = path / "tokenizer.json" if path.is_dir() else path
    slow = place.parent / "vocab.json"
    try:
        if place.is_file():
            read = read_json(place)
            added = {t["content"]: t["id"] for t in read.get("added_tokens") or ()}
            return place, read["model"]["vocab"], read["model"]["merges"], added
        if slow.is_file() and (slow.parent / "merges.txt").is_file():
            text = (slow.parent / "merges.txt").read_text(encoding="utf-8")
            lines = [m for m in text.split("\n") if m and not m.startswith("#version")]
            added = read_json(slow.parent / "added_tokens.json") or {}
            return slow, read_json(slow), lines, added
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{place} is no byte-level BPE ({error}); {CURE}") from error
    raise ValueError(f"{place} does not exist: the model has no tokenizer; {OTHER}")


def _complete(ids: Mapping[int, str], size: int, place: Path) -> list[str]:
    """All V tokens; timestamps, which many tokenizers leave out, under their names."""
    first = next(i for i, token in ids.items() if token == NO_TIMESTAMPS) + 1
    tokens = []
    for i in range(size):
        if i in ids:
            tokens.append(ids[i] or NAMELESS)
        elif i >= first:
            tokens.append(f"<|{(i - first) * SECONDS:.2f}|>")
        else:
            raise ValueError(f"{place} has no token {i}; {OTHER}")
    return tokens


def _tokenizer(vocab: Mapping[str, int], merges: Sequence[Any], place: Path) -> Any:
    """A tokenizer of the pieces alone: no text can name a special token."""
    from tokenizers import Tokenizer, decoders, models

    pieces = {t: i for t, i in vocab.items() if t and not SPECIAL.fullmatch(t)}
    pairs = [tuple(m.split(" ") if isinstance(m, str) else m) for m in merges]
    try:
        tokenizer = Tokenizer(models.BPE(pieces, pairs))
    except Exception as error:  # a bare one of the library
        raise ValueError(f"{place} is no byte-level BPE ({error}); {CURE}") from error
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _byte_level(space: bool) -> Any:
    from tokenizers.pre_tokenizers import ByteLevel

    return ByteLevel(add_prefix_space=space)
