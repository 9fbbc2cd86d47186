"""WeNet's weights under our names."""

import re
from collections.abc import Mapping
from typing import Any

import torch

from espnet_smoe.importers.wenet_files import WeNetFolder

# computed, or kept in the statistics
DROPPED = re.compile(r"(.*\.)?pe|encoder\.global_cmvn\..*")
NAMES = (
    (r"^encoder\.embed\.linear\.", "encoder.embed.out.0."),
    (r"^decoder\.left_decoder\.", "decoder."),
    (r"^decoder\.right_decoder\.", "decoder.right."),
    (r"(\.feed_forward(_macaron)?)\.gate\.", r"\1.gate.router."),
)
# option of WeNet -> layers that have no bias where it is false
BIASES = {
    "query_bias": ("self_attn.linear_q", "self_attn.linear_out"),
    "key_bias": ("self_attn.linear_k",),
    "value_bias": ("self_attn.linear_v",),
    "src_query_bias": ("src_attn.linear_q", "src_attn.linear_out"),
    "src_key_bias": ("src_attn.linear_k",),
    "src_value_bias": ("src_attn.linear_v",),
    "conv_bias": ("pointwise_conv1", "depthwise_conv", "pointwise_conv2"),
    "mlp_bias": ("w_1", "w_2"),
}


def carry(folder: WeNetFolder) -> dict[str, torch.Tensor]:
    """All weights but those of the statistics, in float32.

    A layer that WeNet has no bias for gets one of zeros.
    """
    state = {}
    for name, tensor in folder.weights.items():
        if DROPPED.fullmatch(name):
            continue
        for pattern, replacement in NAMES:
            name = re.sub(pattern, replacement, name)
        # others are refused with the model that they do not fit
        state[name] = tensor.float() if tensor.is_floating_point() else tensor
    for part in ("encoder", "decoder"):
        state |= _zero_biases(state, part, folder.section(f"{part}_conf"))
    return state


def _zero_biases(
    state: Mapping[str, torch.Tensor], part: str, given: Mapping[str, Any]
) -> dict[str, torch.Tensor]:
    """What a part lacks because its options say so."""
    layers = [
        layer
        for option, layers in BIASES.items()
        if given.get(option, True) is False
        for layer in layers
    ]
    return {
        f"{stem}.bias": tensor.new_zeros(len(tensor))
        for stem, tensor in _matrices(state, part)
        if stem.endswith(tuple(f".{layer}" for layer in layers))
        and f"{stem}.bias" not in state
    }


def _matrices(
    state: Mapping[str, torch.Tensor], part: str
) -> list[tuple[str, torch.Tensor]]:
    """Name without ``.weight``, and weight, of a part."""
    return [
        (name.removesuffix(".weight"), tensor)
        for name, tensor in state.items()
        if name.startswith(f"{part}.") and name.endswith(".weight") and tensor.dim()
    ]
