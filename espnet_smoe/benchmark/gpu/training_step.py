"""The models whose steps of training are timed, and their minibatch."""

from typing import Any

import torch
from torch import nn

from espnet_smoe.benchmark import rtf, train
from espnet_smoe.data.text.tokens import BLANK, SOS_EOS, UNKNOWN


def large_u2pp(sizes: rtf.Sizes, kind: str, moe: dict | None) -> nn.Module:
    """One of the models of ``espnet-smoe benchmark rtf``, to be trained.

    Args:
        sizes: Of that benchmark.
        kind: ``large`` for the large dense model's sizes, else the others'.
        moe: Its mixtures; None for a dense model.
    """
    prefix = "large_" if kind == "large" else ""
    common = {
        "attention_heads": getattr(sizes, f"{prefix}heads"),
        "linear_units": getattr(sizes, f"{prefix}hidden"),
        "moe": moe,
    }
    layers = sizes.decoder_layers
    torch.manual_seed(0)
    return train.build_from(
        token_list=[BLANK, UNKNOWN, *map(str, range(sizes.vocabulary - 3)), SOS_EOS],
        model="u2pp",
        frontend_conf=train.FRONTEND | {"n_mels": 80},
        normalize=None,
        encoder="u2pp_conformer",
        encoder_conf={
            **common,
            "output_size": getattr(sizes, f"{prefix}size"),
            "num_blocks": getattr(sizes, f"{prefix}layers"),
        },
        decoder="u2pp_transformer",
        decoder_conf={**common, "num_blocks": layers, "r_num_blocks": layers},
    )


def speech_and_text(sizes: train.Sizes) -> dict[str, Any]:
    """A minibatch for a model of one task."""
    names = "speech", "speech_lengths", "text", "text_lengths"
    whole = train.minibatch(sizes)
    return {name: whole[name] for name in names}
