"""Whisper in one neutral form, whatever file it comes from."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from espnet_smoe.layers.whisper import sinusoids

ATTENTION = {"q_proj": "linear_q", "k_proj": "linear_k", "v_proj": "linear_v"}
ATTENTION |= {"out_proj": "linear_out"}
LAYER = {  # names of Hugging Face -> ours; by part
    "encoder": {"self_attn": "self_attn", "self_attn_layer_norm": "norm1"},
    "decoder": {"self_attn": "self_attn", "self_attn_layer_norm": "norm1"},
}
BLOCK = {"fc1": "feed_forward.w_1", "fc2": "feed_forward.w_2"}
LAYER["encoder"] |= {"final_layer_norm": "norm2"} | BLOCK
LAYER["decoder"] |= {"encoder_attn": "src_attn", "encoder_attn_layer_norm": "norm2"}
LAYER["decoder"] |= {"final_layer_norm": "norm3"} | BLOCK
TOLERANCE = 1e-2  # of positions in half precision
LISTED = 5
POSITIONS_A_SECOND = 50  # of the encoder
CURE = "fetch it again"
OTHER_FILE = "take an unchanged Whisper model"
ENGLISH_ALONE = (
    "a model for English alone, whose prompt has no task; take the multilingual model "
    "of this size"
)


@dataclass
class WhisperModel:
    """A Whisper model as it was read.

    Attributes:
        place: The file, for messages.
        weights: By the names of Hugging Face, such as ``encoder.conv1.weight``.
        heads: Of the attention, of encoder and decoder.
        declared: Sizes that the file tells beside the weights, by the names of Hugging
            Face's configuration.
        suppress_tokens: Ids that are never written; None where the file does not tell.
        begin_suppress_tokens: Ids that are not written at first.
        token_ids: Special tokens whose ids the file tells.
    """

    place: Path
    weights: dict[str, torch.Tensor]
    heads: tuple[int, int]
    declared: Mapping[str, int] = field(default_factory=dict)
    suppress_tokens: Sequence[int] | None = None
    begin_suppress_tokens: Sequence[int] | None = None
    token_ids: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("suppress_tokens", "begin_suppress_tokens"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, Sequence):
                raise ValueError(
                    f"{self.place}: {name} is {value!r}, no list of ids; {CURE}"
                )

    def sizes(self) -> dict[str, int]:
        """The sizes that the weights have, by the names of Hugging Face.

        Raises:
            ValueError: They are not those that the file tells, or a tensor is missing.
        """
        conv, tokens = (
            self._get("encoder.conv1.weight", 3),
            "decoder.embed_tokens.weight",
        )
        positions = (f"{part}.embed_positions.weight" for part in LAYER)
        encoder, decoder = (self._get(name, 2) for name in positions)
        sizes = {
            "d_model": conv.shape[0],
            "num_mel_bins": conv.shape[1],
            "vocab_size": self._get(tokens, 2).shape[0],
            "max_source_positions": len(encoder),
            "max_target_positions": len(decoder),
            "encoder_attention_heads": self.heads[0],
            "decoder_attention_heads": self.heads[1],
        }
        for part in LAYER:
            names = [k for k in self.weights if k.startswith(f"{part}.layers.")]
            sizes[f"{part}_layers"] = len({name.split(".")[2] for name in names})
            width = self._get(f"{part}.layers.0.fc1.weight", 2).shape[0]
            sizes[f"{part}_ffn_dim"] = width
        for name, size in self.declared.items():
            if size != sizes.get(name, size):
                raise ValueError(
                    f"{self.place}: its weights have {name} {sizes[name]}, but the "
                    f"configuration beside them says {size}; take both from one model"
                )
        return sizes

    def state(self) -> dict[str, torch.Tensor]:
        """The weights under our names, in float32.

        Raises:
            ValueError: Names what is missing, foreign or cannot be carried.
        """
        sizes = self.sizes()
        self._check_positions()
        names = dict(names_of(sizes))
        output = self.weights.get("proj_out.weight")
        if output is not None and not torch.equal(
            output, self._get("decoder.embed_tokens.weight")
        ):
            raise ValueError(
                f"{self.place}: proj_out.weight is not the embedding of the tokens, "
                f"which cannot be carried; {OTHER_FILE}"
            )
        read = {*names, "encoder.embed_positions.weight", "proj_out.weight"}
        foreign = [name for name in self.weights if name not in read]
        if foreign:
            raise ValueError(
                f"{self.place}: {_list(foreign)} cannot be carried, Whisper has no "
                f"such weights; {OTHER_FILE}"
            )
        state = {"minibatches": torch.zeros((), dtype=torch.long)}
        for name, ours in names.items():
            if name.endswith("k_proj.bias") and name not in self.weights:
                state[ours] = torch.zeros(sizes["d_model"])
            else:
                state[ours] = self._floats(name)
        state["decoder.output_layer.weight"] = state["decoder.embed.0.weight"]
        return state

    def _get(self, name: str, dimensions: int | None = None) -> torch.Tensor:
        if name not in self.weights:
            raise ValueError(
                f"{self.place}: {name} is missing; the file is cut short, or no "
                f"Whisper model: {OTHER_FILE}"
            )
        tensor = self.weights[name]
        if not isinstance(tensor, torch.Tensor):
            raise ValueError(f"{self.place}: {name} is no tensor; {OTHER_FILE}")
        if dimensions not in (None, tensor.dim()):
            raise ValueError(
                f"{self.place}: {name} has {tensor.dim()} dimensions, not {dimensions} "
                f"as Whisper's has; {OTHER_FILE}"
            )
        return tensor

    def _floats(self, name: str) -> torch.Tensor:
        tensor = self._get(name)
        if not tensor.is_floating_point():
            raise ValueError(
                f"{self.place}: {name} is of type {str(tensor.dtype)[6:]}, which "
                "cannot be carried; take the model in float32 or float16"
            )
        return tensor.float()

    def _check_positions(self) -> None:
        """Those of the encoder are computed, for any number of frames."""
        given = self._get("encoder.embed_positions.weight", 2).float()
        length, size = given.shape
        if size % 2 or not torch.allclose(
            given, sinusoids(length, size), atol=TOLERANCE
        ):
            raise ValueError(
                f"{self.place}: encoder.embed_positions.weight is no sinusoids, which "
                f"cannot be carried; {OTHER_FILE}"
            )


def configuration(model: WhisperModel, pad_seconds: float) -> dict[str, Any]:
    """Front-end, encoder and decoder of the training configuration.

    Args:
        model: Without its suppressed tokens, these come from the vocabulary.
        pad_seconds: See `WhisperFrontend`.
    """
    sizes = model.sizes()

    def part(name: str) -> dict[str, int]:
        return {
            "attention_heads": sizes[f"{name}_attention_heads"],
            "linear_units": sizes[f"{name}_ffn_dim"],
            "num_blocks": sizes[f"{name}_layers"],
        }

    return {
        "input_size": None,
        "frontend": "smoe_whisper",
        "frontend_conf": {
            "n_mels": sizes["num_mel_bins"],
            "pad_seconds": pad_seconds,
        },
        "specaug": None,
        "normalize": None,
        "encoder": "smoe_whisper",
        "encoder_conf": {"output_size": sizes["d_model"], **part("encoder")},
        "decoder": "smoe_whisper",
        "decoder_conf": {
            **part("decoder"),
            "max_length": sizes["max_target_positions"],
        },
    }


def sizes_of(config: Mapping[str, Any], vocab_size: int) -> dict[str, int]:
    """The sizes by the names of Hugging Face: the way back from `configuration`.

    Args:
        config: Training configuration of a model that began as Whisper.
        vocab_size: V.
    """
    encoder, decoder = ({**config[f"{part}_conf"]} for part in LAYER)
    front_end = config["frontend_conf"]
    sizes = {
        "d_model": encoder.get("output_size", 512),
        "num_mel_bins": front_end.get("n_mels", 80),
        "vocab_size": vocab_size,
        "max_source_positions": int(front_end["pad_seconds"] * POSITIONS_A_SECOND),
        "max_target_positions": decoder.get("max_length", 448),
    }
    for part, conf in (("encoder", encoder), ("decoder", decoder)):
        sizes[f"{part}_attention_heads"] = conf.get("attention_heads", 8)
        sizes[f"{part}_ffn_dim"] = conf.get("linear_units", 2048)
        sizes[f"{part}_layers"] = conf.get("num_blocks", 6)
    return sizes


def hugging_face_weights(
    state: Mapping[str, torch.Tensor], sizes: Mapping[str, int]
) -> dict[str, torch.Tensor]:
    """The weights by the names of Hugging Face: the way back from `WhisperModel.state`.

    Args:
        state: By our names.
        sizes: From `sizes_of`.

    Raises:
        ValueError: Names what Whisper has no place for.
    """
    names = dict(names_of(sizes))
    output, embedding = "decoder.output_layer.weight", "decoder.embed.0.weight"
    foreign = [name for name in state if name not in {*names.values(), output}]
    if foreign:
        raise ValueError(f"Whisper has no place for {_list(foreign)}")
    if output in state and not torch.equal(state[output], state[embedding]):
        raise ValueError(
            f"{output} is not the embedding of the tokens, as Whisper has it"
        )
    weights = {
        f"model.{theirs}": state[ours]
        for theirs, ours in names.items()
        # attention does not depend on it: the softmax cancels it
        if not theirs.endswith("k_proj.bias")
    }
    positions = sinusoids(sizes["max_source_positions"], sizes["d_model"])
    return {**weights, "model.encoder.embed_positions.weight": positions}


def names_of(sizes: Mapping[str, int]) -> list[tuple[str, str]]:
    """Every weight that is carried: its name at Hugging Face and ours."""
    stems = [
        ("encoder.conv1", "encoder.embed.convs.0"),
        ("encoder.conv2", "encoder.embed.convs.1"),
        ("encoder.layer_norm", "encoder.after_norm"),
        ("decoder.layer_norm", "decoder.after_norm"),
    ]
    for part, layer in LAYER.items():
        for number in range(sizes[f"{part}_layers"]):
            theirs, ours = f"{part}.layers.{number}", f"{part}.{part}s.{number}"
            for name, our_name in layer.items():
                inner = ATTENTION if name.endswith("attn") else {"": ""}
                stems += [
                    (
                        f"{theirs}.{name}.{a}".strip("."),
                        f"{ours}.{our_name}.{b}".strip("."),
                    )
                    for a, b in inner.items()
                ]
    names = [(f"{a}.{x}", f"{b}.{x}") for a, b in stems for x in ("weight", "bias")]
    return names + [
        ("decoder.embed_tokens.weight", "decoder.embed.0.weight"),
        ("decoder.embed_positions.weight", "decoder.embed.1.weight"),
    ]


def _list(names: Sequence[str]) -> str:
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more


def read_json(path: Path) -> Any:
    """Read a JSON file; a missing one is None.

    Raises:
        ValueError: It is damaged.
    """
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}); {CURE}") from error


def read_object(path: Path) -> dict[str, Any] | None:
    """Read a JSON file that holds names and values; a missing one is None.

    Raises:
        ValueError: It is damaged, or holds something else.
    """
    content = read_json(path)
    if content is not None and not isinstance(content, dict):
        raise ValueError(f"{path} holds no names with their values; {CURE}")
    return content
