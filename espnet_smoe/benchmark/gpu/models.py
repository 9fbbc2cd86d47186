"""Models as ESPnet's training builds them, tiny ones and large ones."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import nn

from espnet_smoe.data.text.tokens import BLANK, SOS_EOS, UNKNOWN, train_tokens
from espnet_smoe.registry import register

SAMPLE_RATE = 16000
LETTERS = "abcdefghij"
TEXTS = ("오늘 날씨가 정말 좋네요", "the weather is nice today")
TINY = {"attention_heads": 2, "linear_units": 32, "num_blocks": 2}
FRONTEND = {"fs": SAMPLE_RATE, "n_fft": 512, "win_length": 400, "hop_length": 160}


def build(config: Mapping[str, Any], seed: int = 0) -> nn.Module:
    """Build a model.

    Args:
        config: What a YAML file would say; the rest is ESPnet's default.
        seed: Of the weights.
    """
    from espnet_smoe.compat import ASRTask

    torch.manual_seed(seed)
    return ASRTask.build_model(argparse.Namespace(**whole(config)))


def whole(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration with ESPnet's defaults for what it does not say."""
    register()
    from espnet_smoe.compat import ASRTask

    return ASRTask.get_default_config() | dict(config)


def smoe(folder: Path) -> dict[str, Any]:
    """Model `smoe` with experts in encoder and decoder; its tokenizer in ``folder``."""
    mixture = TINY | {"moe": {"gate": "label"}}
    return {
        "token_list": train_tokens(TEXTS, 300, folder),
        "bpemodel": str(folder / "bpe.json"),
        "token_type": "bpe",
        "model": "smoe",
        "model_conf": {"ctc_weight": 0.3, "lsm_weight": 0.1},
        "frontend_conf": FRONTEND,
        "normalize": "utterance_mvn",
        "preprocessor": "smoe",
        "encoder": "smoe_transformer",
        "encoder_conf": {
            **mixture,
            "output_size": 16,
            "input_layer": "conv1d_glu",
            "subsampling_channels": 16,
            "use_sdpa": True,
        },
        "decoder": "smoe_transformer",
        "decoder_conf": mixture,
    }


def u2pp(**encoder: Any) -> dict[str, Any]:
    """Model `u2pp` that spells.

    Args:
        **encoder: More of its ``encoder_conf``.
    """
    moe = {"num_experts": 4, "top_k": 2, "balance_weight": 0.1, "z_weight": 0.1}
    return {
        "token_list": [BLANK, UNKNOWN, *LETTERS, SOS_EOS],
        "token_type": "char",
        "model": "u2pp",
        "model_conf": {},
        "frontend_conf": FRONTEND | {"n_mels": 20},
        "normalize": None,
        "encoder": "u2pp_conformer",
        "encoder_conf": {
            **TINY,
            "output_size": 16,
            "cnn_module_kernel": 5,
            "moe": moe,
            **encoder,
        },
        "decoder": "u2pp_transformer",
        "decoder_conf": {**TINY, "num_blocks": 1, "r_num_blocks": 1, "moe": moe},
    }


def speech_moe() -> dict[str, Any]:
    """Model `speech_moe` with an embedding network and a window of attention."""
    return {
        "token_list": [BLANK, UNKNOWN, *LETTERS, SOS_EOS],
        "token_type": "char",
        "model": "speech_moe",
        "model_conf": {"embedding_ctc_weight": 0.1},
        "frontend_conf": FRONTEND | {"n_mels": 8},
        "normalize": "utterance_mvn",
        "preencoder": "stacked_deltas",
        "preencoder_conf": {"input_size": 8},
        "encoder": "speech_moe",
        "encoder_conf": {
            **TINY,
            "output_size": 16,
            "attention_every": 2,
            "attention_window": [10, 5],
            "moe": {
                "num_experts": 3,
                "importance_weight": 0.1,
                "sparsity_weight": 0.1,
            },
            "embedding": {"num_blocks": 1},
        },
        "decoder": None,
    }


def large_u2pp(sizes: Any, kind: str, moe: Mapping[str, Any] | None) -> dict[str, Any]:
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
    pieces = [str(i) for i in range(sizes.vocabulary - 3)]
    return {
        "token_list": [BLANK, UNKNOWN, *pieces, SOS_EOS],
        "token_type": "char",
        "model": "u2pp",
        "model_conf": {},
        "frontend_conf": FRONTEND | {"n_mels": 80},
        "normalize": None,
        "encoder": "u2pp_conformer",
        "encoder_conf": {
            **common,
            "output_size": getattr(sizes, f"{prefix}size"),
            "num_blocks": getattr(sizes, f"{prefix}layers"),
        },
        "decoder": "u2pp_transformer",
        "decoder_conf": {
            **common,
            "num_blocks": sizes.decoder_layers,
            "r_num_blocks": sizes.decoder_layers,
        },
    }


def save(folder: Path, config: Mapping[str, Any], model: nn.Module) -> tuple[str, str]:
    """Save a model as an experiment's folder: configuration and checkpoint."""
    torch.save(model.state_dict(), folder / "model.pth")
    text = yaml.safe_dump(whole(config), allow_unicode=True)
    (folder / "config.yaml").write_text(text, encoding="utf-8")
    return str(folder / "config.yaml"), str(folder / "model.pth")


def without_dropout(model: nn.Module) -> nn.Module:
    """The same model, which draws nothing in training."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if hasattr(module, "dropout_rate"):
            module.dropout_rate = 0.0
    return model


@torch.inference_mode()
def sure_of_tokens(model: nn.Module) -> nn.Module:
    """Sharpen a `u2pp` model's CTC head: like a trained one it is sure of a token."""
    wave = torch.from_numpy(talk(2.0))
    encoded, _ = model.encode(wave[None], torch.tensor([len(wave)]))
    head = model.ctc.ctc_lo
    logits = head(encoded[0])  # (T, V)
    head.weight.mul_(3 / logits.std(dim=0)[:, None])
    head.bias.copy_(-(head.weight @ encoded[0].mean(dim=0)))
    head.bias[0] += 2.0  # the blank
    head.bias[-1] -= 20.0  # the end
    return model


def talk(seconds: float, seed: int = 0) -> np.ndarray:
    """What passes for speech: noise, ten times a second another pitch and loudness."""
    rng = np.random.default_rng(seed)
    wave = rng.uniform(-0.5, 0.5, int(seconds * SAMPLE_RATE))
    low = np.convolve(wave, np.full(8, 1 / 8), "same")
    blocks = int(seconds * 10) + 1
    step = SAMPLE_RATE // 10
    level = np.repeat(rng.uniform(0.05, 1, blocks), step)[: len(wave)]
    is_low = np.repeat(np.arange(blocks) % 2 == 0, step)[: len(wave)]
    return (level * np.where(is_low, low, wave - low)).astype(np.float32)
