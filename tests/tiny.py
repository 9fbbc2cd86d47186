"""A tiny random model as training leaves it: tokens, configuration, checkpoint."""

import argparse
from pathlib import Path

import numpy as np
import torch
import yaml

from espnet_smoe import register
from espnet_smoe.data.text.tokens import train_tokens

TEXTS = ("오늘 날씨가 정말 좋네요", "내일 아침에 만나요", "the weather is nice today")
SIZE = {"output_size": 16, "attention_heads": 2, "linear_units": 32, "num_blocks": 2}


def tiny_config(folder: Path, moe: bool = True, **changes: object) -> dict:
    """Train a tokenizer in ``folder`` and describe a model for it.

    Args:
        folder: Receives ``tokens.txt`` and ``bpe.json``.
        moe: Experts in encoder and decoder.
        **changes: Keys of the configuration to set.
    """
    register()
    from espnet2.tasks.asr import ASRTask

    tokens = train_tokens(TEXTS, 300, folder)
    mixture = {"moe": {"gate": "label"}} if moe else {}
    decoder = {k: v for k, v in SIZE.items() if k != "output_size"}
    config = ASRTask.get_default_config() | {
        "token_list": tokens,
        "bpemodel": str(folder / "bpe.json"),
        "token_type": "bpe",
        "model": "smoe",
        "model_conf": {"ctc_weight": 0.3},
        "frontend_conf": {"n_fft": 512, "win_length": 400, "hop_length": 160},
        "normalize": "utterance_mvn",
        "preprocessor": "smoe",
        "encoder": "smoe_transformer",
        "encoder_conf": {
            **SIZE,
            "input_layer": "conv1d_glu",
            "subsampling_channels": 16,
            **mixture,
        },
        "decoder": "smoe_transformer",
        "decoder_conf": decoder | mixture,
    }
    return config | changes


def tiny_ctc_config(tokens: list[str]) -> dict:
    """Describe a model of SpeechMoE's kind that spells with ``tokens``."""
    register()
    from espnet2.tasks.asr import ASRTask

    return ASRTask.get_default_config() | {
        "token_list": tokens,
        "token_type": "word",
        "model": "speech_moe",
        "model_conf": {},
        "frontend_conf": {"n_fft": 512, "hop_length": 160, "n_mels": 8},
        "normalize": "utterance_mvn",
        "preencoder": "stacked_deltas",
        "preencoder_conf": {"input_size": 8},
        "encoder": "speech_moe",
        "encoder_conf": {
            "output_size": 16,
            "linear_units": 32,
            "num_blocks": 2,
            "attention_every": 2,
            "attention_heads": 2,
            "moe": {"num_experts": 3},
            "embedding": {"num_blocks": 1},
        },
        "decoder": None,
    }


def save_experiment(folder: Path, config: dict, seed: int = 0) -> tuple[Path, Path]:
    """Save the configuration and a random checkpoint; return their paths."""
    from espnet2.tasks.asr import ASRTask

    torch.manual_seed(seed)
    folder.mkdir(parents=True, exist_ok=True)
    model = ASRTask.build_model(argparse.Namespace(**config))
    torch.save(model.state_dict(), folder / "model.pth")
    text = yaml.safe_dump(config, allow_unicode=True)
    (folder / "config.yaml").write_text(text, encoding="utf-8")
    return folder / "config.yaml", folder / "model.pth"


def noise(seconds: float, seed: int = 0, rate: int = 16000) -> np.ndarray:
    """White noise ``(samples,)``, float32 within [-1, 1]."""
    rng = np.random.default_rng(seed)
    return rng.uniform(-0.5, 0.5, int(seconds * rate)).astype(np.float32)


def talk(seconds: float, seed: int = 0, rate: int = 16000) -> np.ndarray:
    """What passes for speech, ``(samples,)`` float32 within [-1, 1].

    Noise, ten times a second another mixture of low and high sounds.
    """
    rng = np.random.default_rng(seed)
    wave = rng.uniform(-0.5, 0.5, int(seconds * rate))
    low = np.convolve(wave, np.full(8, 1 / 8), "same")
    blocks = int(seconds * 10) + 1
    level = np.repeat(rng.uniform(0.2, 1, blocks), rate // 10 + 1)[: len(wave)]
    is_low = np.repeat(np.arange(blocks) % 2 == 0, rate // 10 + 1)[: len(wave)]
    return (level * np.where(is_low, low, wave - low)).astype(np.float32)
