"""Whisper as CTranslate2 keeps it: ``model.bin``, read as its converter writes it.

The file is a version, the name of the model and its revision, then each tensor: name,
shape, type, bytes; at last other names of tensors. Numbers are little-endian. Weights
in int8 have a scale a row beside them; queries, keys and values are one matrix.
"""

import struct
from pathlib import Path

import torch

from espnet_smoe.importers.whisper_model import WhisperModel, read_object

VERSION, NAME = 6, "WhisperSpec"
TYPES = (torch.float32, torch.int8, torch.int16, torch.int32)
TYPES += (torch.float16, torch.bfloat16)
GELU = 3  # its number there
FIXED = {"activation": GELU, "pre_norm": 1, "scale_embeddings": 0, "alibi": 0}
FIXED |= {"start_from_zero_embedding": 0, "multi_query_attention": 0}
HEADS = "num_heads"
UNREAD = ("alignment_heads", "alignment_layer")  # of time marks
NAMES = {
    "self_attention/layer_norm": "self_attn_layer_norm",
    "attention/layer_norm": "encoder_attn_layer_norm",
    "ffn/layer_norm": "final_layer_norm",
    "ffn/linear_0": "fc1",
    "ffn/linear_1": "fc2",
}
JOINED = {  # what one matrix there holds, from the first row on
    "self_attention/linear_0": ("self_attn", ("q_proj", "k_proj", "v_proj")),
    "self_attention/linear_1": ("self_attn", ("out_proj",)),
    "attention/linear_0": ("encoder_attn", ("q_proj",)),
    "attention/linear_1": ("encoder_attn", ("k_proj", "v_proj")),
    "attention/linear_2": ("encoder_attn", ("out_proj",)),
}
OUTER = {
    "embeddings/weight": "embed_tokens.weight",
    "position_encodings/encodings": "embed_positions.weight",
    "layer_norm/gamma": "layer_norm.weight",
    "layer_norm/beta": "layer_norm.bias",
}
ENDS = {"gamma": "weight", "beta": "bias"}


class _Reader:
    """A binary file from its first byte to its last."""

    def __init__(self, path: Path):
        self.path, self.data, self.at = path, bytearray(path.read_bytes()), 0

    def take(self, size: int) -> int:
        """Where the next bytes begin."""
        begin, self.at = self.at, self.at + size
        if self.at > len(self.data):
            raise ValueError(f"{self.path} is cut short; fetch it again")
        return begin

    def number(self, code: str) -> int:
        """An unsigned number: ``B``, ``H`` or ``I``."""
        code = f"<{code}"
        return struct.unpack_from(code, self.data, self.take(struct.calcsize(code)))[0]

    def text(self) -> str:
        """A text behind its length, with a zero byte at its end."""
        size = self.number("H")
        begin = self.take(size)
        return self.data[begin : begin + size - 1].decode("utf-8", "replace")

    def tensor(self) -> torch.Tensor:
        """A tensor behind its shape and type."""
        shape = [self.number("I") for _ in range(self.number("B"))]
        kind, size = self.number("B"), self.number("I")
        if kind >= len(TYPES):
            raise ValueError(f"{self.path} is damaged: type {kind}; fetch it again")
        begin, dtype = self.take(size), TYPES[kind]
        count = size // dtype.itemsize
        try:  # a view of another size is a RuntimeError, one of nothing a ValueError
            found = torch.frombuffer(self.data, dtype=dtype, count=count, offset=begin)
            return found.view(shape)
        except (RuntimeError, ValueError) as error:
            raise ValueError(f"{self.path} is damaged; fetch it again") from error


def read_variables(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a ``model.bin``, as they are.

    Raises:
        ValueError: It is damaged, of another version, or no Whisper model.
    """
    reader = _Reader(path)
    version, name = reader.number("I"), ""
    if version <= VERSION:
        name = reader.text()
        reader.number("I")  # revision
    if name != NAME:
        raise ValueError(
            f"{path}: version {version}, model '{name}'; version {VERSION} and {NAME} "
            "can be read: convert a Whisper model with CTranslate2 4"
        )
    variables = {}
    for _ in range(reader.number("I")):
        name = reader.text()
        variables[name] = reader.tensor()
    return variables


def read_ctranslate2(folder: Path) -> WhisperModel:
    """Read a folder of CTranslate2.

    Args:
        folder: With ``model.bin`` and ``config.json``.

    Raises:
        ValueError: A file is damaged, or the model has what cannot be carried.
    """
    place = folder / "model.bin"
    variables = read_variables(place)
    weights: dict[str, torch.Tensor] = {}
    heads = {}
    for name, tensor in variables.items():
        part, _, rest = name.partition("/")
        last = rest.rpartition("/")[2]
        if last == HEADS:
            heads[part] = int(tensor)
        elif last in FIXED:
            if int(tensor) != FIXED[last]:
                raise ValueError(
                    f"{place}: {name} is {int(tensor)}, which cannot be carried; "
                    f"Whisper has {FIXED[last]}"
                )
        elif last not in UNREAD and not last.endswith("_scale"):
            scale = variables.get(f"{name}_scale")
            weights |= _named(part, rest, _exact(tensor, scale))
    if set(heads) != {"encoder", "decoder"}:
        raise ValueError(f"{place} does not tell {HEADS}; convert the model again")
    config = read_object(folder / "config.json") or {}
    return WhisperModel(
        place,
        weights,
        (heads["encoder"], heads["decoder"]),
        {},
        config.get("suppress_ids"),
        config.get("suppress_ids_begin"),
    )


def _exact(tensor: torch.Tensor, scale: torch.Tensor | None) -> torch.Tensor:
    """A weight as floats; integers there are the weight times the scale."""
    if scale is None:
        return tensor
    scale = scale.float()
    shape = (-1, *[1] * (tensor.dim() - 1)) if scale.dim() else ()
    return tensor.float() / scale.view(shape)


def _named(part: str, rest: str, tensor: torch.Tensor) -> dict[str, torch.Tensor]:
    """A tensor under the names of Hugging Face; a joined one in its pieces."""
    if rest in OUTER:
        return {f"{part}.{OUTER[rest]}": tensor}
    stem, _, end = rest.rpartition("/")
    end = ENDS.get(end, end)
    if not stem.startswith("layer_") or "/" not in stem:
        return {f"{part}.{stem.replace('/', '.')}.{end}": tensor}
    number, _, inner = stem.removeprefix("layer_").partition("/")
    layer = f"{part}.layers.{number}"
    if inner not in JOINED:
        return {f"{layer}.{NAMES.get(inner, inner)}.{end}": tensor}
    block, names = JOINED[inner]
    pieces = tensor.chunk(len(names))
    return {f"{layer}.{block}.{n}.{end}": piece for n, piece in zip(names, pieces)}
