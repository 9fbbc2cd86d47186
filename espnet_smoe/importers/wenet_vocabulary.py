"""The tokens of a model of WeNet, and what makes them of a text."""

import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from espnet_smoe.data.text.tokenizer import SPACE, WORD_START, load_tokenizer
from espnet_smoe.importers.wenet_files import CONFIG, ONE_MODEL, UNITS, WeNetFolder

BLANK, UNKNOWN, ENDS = "<blank>", "<unk>", "<sos/eos>"  # ESPnet's names
SPECIAL = re.compile(r"<.*>")
LINE = re.compile(r"(\S+)\s+(\d+)")
KINDS = ("char", "bpe")
UNUSED = 5  # the type of a piece that sentencepiece never writes
NORMAL = 1


@dataclass
class Vocabulary:
    """Tokens and tokenizer.

    Attributes:
        tokens: V of them.
        config: What the training configuration says of them.
        files: The tokenizer's, by name.
        notes: For the user.
    """

    tokens: list[str]
    config: dict[str, Any]
    files: dict[str, bytes] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def read_vocabulary(folder: WeNetFolder) -> Vocabulary:
    """Read ``units.txt`` and the sentencepiece model.

    Raises:
        ValueError: A file is missing or damaged, or does not fit.
    """
    conf = folder.section("tokenizer_conf")
    place = folder.find(UNITS, conf.get("symbol_table_path"))
    tokens = _read_units(place)
    if len(tokens) != folder.vocab_size:
        raise ValueError(
            f"{place} has {len(tokens)} tokens, but {folder.checkpoint} has "
            f"{folder.vocab_size}; {ONE_MODEL}"
        )
    size = folder.config.get("output_dim", len(tokens))
    if size != len(tokens):
        raise ValueError(
            f"{folder.path / CONFIG}: output_dim is {size}, but {folder.checkpoint} "
            f"has {len(tokens)} tokens; {ONE_MODEL}"
        )
    _name_special(tokens, folder, place)
    kind = folder.config.get("tokenizer")
    pieces = _pieces_file(folder, kind, conf.get("bpe_path"))
    if kind not in (None, *KINDS):
        raise ValueError(
            f"{folder.path / CONFIG}: tokenizer is {kind}, which cannot be carried "
            f"({' or '.join(KINDS)} can); take a model with one of them"
        )
    if pieces is not None:
        return _of_pieces(tokens, pieces)
    long = [t for t in tokens if t.startswith(WORD_START) and len(t) > 1]
    if long:
        raise ValueError(
            f"{place} has pieces such as {long[0]}, but {folder.path} has no "
            "sentencepiece model; copy the .model file that made them there"
        )
    split = conf.get("split_with_space") or folder.section("dataset_conf").get(
        "split_with_space"
    )
    if split:
        return Vocabulary(tokens, {"token_type": "word"})
    named = [SPACE if token == WORD_START else token for token in tokens]
    _check_doubled(named, place)
    return Vocabulary(named, {"token_type": "char"})


def _read_units(place: Path) -> list[str]:
    """Tokens in the order of their ids."""
    found: dict[int, str] = {}
    try:
        lines = place.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{place} is not UTF-8 ({error}); take the file that training wrote"
        ) from error
    for number, line in enumerate(lines, 1):
        match = LINE.fullmatch(line.strip())
        if match is None or int(match[2]) in found:
            raise ValueError(
                f"{place}:{number}: '{line}' is no token with an id of its own; take "
                "the file that training wrote"
            )
        found[int(match[2])] = match[1]
    if sorted(found) != list(range(len(found))):
        raise ValueError(
            f"{place}: its ids are not 0 to {len(found) - 1}: lines are missing; take "
            "the file that training wrote"
        )
    return [found[i] for i in range(len(found))]


def _name_special(tokens: list[str], folder: WeNetFolder, place: Path) -> None:
    """Give the tokens that are no text the names that ESPnet knows them by."""
    where = folder.path / CONFIG
    ids = folder.section("tokenizer_conf", "special_tokens")
    last = len(tokens) - 1
    begin, end = (ids.get(name, last) for name in ("<sos>", "<eos>"))
    if not isinstance(begin, int) or not isinstance(end, int):
        raise ValueError(f"{where}: <sos> is {begin}, which is no id; {ONE_MODEL}")
    blank = folder.section("ctc_conf").get("ctc_blank_id", 0)
    if begin != end:
        raise ValueError(
            f"{where}: <sos> is {begin} and <eos> {end}, which cannot be carried (the "
            "same token can); take a U2++ model of WeNet"
        )
    if blank != 0:
        raise ValueError(
            f"{where}: ctc_blank_id is {blank}, which cannot be carried (0 can); take "
            "a U2++ model of WeNet"
        )
    named = {0: BLANK, begin: ENDS}
    if "<unk>" in ids:
        named[ids["<unk>"]] = UNKNOWN
    for number, name in named.items():
        if not isinstance(number, int) or not 0 <= number <= last:
            raise ValueError(f"{where}: {name} is token {number}, of {last + 1} tokens")
        if not SPECIAL.fullmatch(tokens[number]):
            raise ValueError(
                f"{place}: token {number} is '{tokens[number]}', but should be {name}; "
                f"{ONE_MODEL}"
            )
        tokens[number] = name
    _check_doubled(tokens, place)


def _check_doubled(tokens: list[str], place: Path) -> None:
    doubled = [token for token, times in Counter(tokens).items() if times > 1]
    if doubled:
        raise ValueError(
            f"{place}: '{doubled[0]}' stands there twice; take the file that training "
            "wrote"
        )


def _pieces_file(folder: WeNetFolder, kind: str | None, named: Any) -> Path | None:
    """The sentencepiece model; older configurations do not name it."""
    models = sorted(folder.path.glob("*.model"))
    if kind == "bpe" or (kind is None and models):
        if named and (folder.path / Path(str(named)).name).is_file():
            return folder.path / Path(str(named)).name
        if len(models) == 1:
            return models[0]
        name = Path(str(named)).name if named else "one sentencepiece model (.model)"
        raise ValueError(
            f"{folder.path} has no {name}; copy it there from where the model was "
            "trained"
        )
    return None


def _of_pieces(tokens: list[str], place: Path) -> Vocabulary:
    """A sentencepiece model that writes no pieces but those of the list."""
    from sentencepiece import sentencepiece_model_pb2

    load_tokenizer(place)  # says what is wrong with it
    model = sentencepiece_model_pb2.ModelProto()
    model.ParseFromString(place.read_bytes())
    known = set(tokens)
    for piece in model.pieces:
        if piece.type == NORMAL and piece.piece not in known:
            piece.type = UNUSED
    written = {piece.piece for piece in model.pieces}
    others = [t for t in tokens if t not in written and not SPECIAL.fullmatch(t)]
    notes = []
    if others:
        notes.append(
            f"{len(others)} tokens are no pieces of {place.name}, such as {others[0]}: "
            "texts for further training have to come without them"
        )
    name = "bpe.model"
    config = {"token_type": "bpe", "bpemodel": name}
    return Vocabulary(tokens, config, {name: model.SerializeToString()}, notes)
