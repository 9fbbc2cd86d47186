"""Options that do nothing: ESPnet's that ours lack, ours that others switch off."""

import logging
from collections.abc import Mapping

FEED_FORWARD = "feed-forward blocks are two matrices, so that they can be experts"
FUSED = "PyTorch's fused attention is used wherever it can be"
POSITIONS = "pos_enc_layer_type alone chooses the positions"
INTERCTC = (
    "there is one CTC head, after the last layer; 'encoder: smoe_transformer' with "
    "'model: smoe' has CTC losses inside the encoder"
)
DROPPED = (
    "a layer that is left out would take its experts' frames with it; regularize with "
    "dropout_rate"
)
RESIDUAL = "every layer normalizes its input and adds its output"
COUNTED = "positions that a stream counts from its start would grow without an end"
STRIDED = (
    "the input layer shortens the features by convolutions that a stream can cut at "
    "its chunks"
)

# key, or 'key: value' for a value that another encoder takes -> reason
REASONS = {
    "interctc_layer_idx": INTERCTC,
    "interctc_use_conditioning": INTERCTC,
    "stochastic_depth_rate": DROPPED,
    "layer_drop_rate": DROPPED,
    "ctc_trim": "frames that CTC finds empty stay, a stream has no place to put them",
    "positionwise_layer_type": FEED_FORWARD,
    "positionwise_conv_kernel_size": FEED_FORWARD,
    "rel_pos_type": POSITIONS,
    "selfattention_layer_type": POSITIONS,
    "zero_triu": POSITIONS,
    "max_pos_emb_len": "positions are computed for any length",
    "normalize_before": RESIDUAL,
    "concat_after": RESIDUAL,
    "padding_idx": "the encoder reads features, no tokens",
    "use_sdpa": FUSED,
    "use_flash_attn": FUSED,
    "pos_enc_layer_type: abs_pos": COUNTED,
    "pos_enc_layer_type: scaled_abs_pos": COUNTED,
    "pos_enc_layer_type: legacy_rel_pos": (
        "its positions depend on what an utterance shares a batch with"
    ),
    **{
        f"input_layer: {kind}": STRIDED
        for kind in ("linear", "embed", "conv1d2", "conv2d1", "conv1d_glu", None)
    },
}


def why_not(key: str) -> str:
    """'; ESPnet's option, ...' for an option that we know and lack, or nothing.

    Example:
        >>> why_not("zero_triu")
        "; ESPnet's option is not ours: pos_enc_layer_type alone chooses the positions"
    """
    reason = REASONS.get(key)
    return f"; ESPnet's option is not ours: {reason}" if reason else ""


def warn_without_effect(cases: Mapping[str, bool]) -> None:
    """Log each message whose case is there."""
    for message, there in cases.items():
        if there:
            logging.warning(message)
