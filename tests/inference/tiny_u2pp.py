"""A tiny streaming model, random but talkative."""

import argparse
from pathlib import Path

import numpy as np
import torch
import yaml

from espnet_smoe import register
from tests.tiny import noise

TOKENS = ["<blank>", "<unk>", *"你好吗我很谢再见早上", "<sos/eos>"]
SIZE = {"attention_heads": 2, "linear_units": 24, "num_blocks": 2, "moe": {}}


def tiny_u2pp_config(**changes: object) -> dict:
    """Describe a model that spells in characters.

    Args:
        **changes: Keys of the configuration to set.
    """
    register()
    from espnet2.tasks.asr import ASRTask

    return (
        ASRTask.get_default_config()
        | {
            "token_list": TOKENS,
            "token_type": "char",
            "model": "u2pp",
            "model_conf": {},
            "frontend_conf": {"n_fft": 512, "hop_length": 160, "n_mels": 20},
            "normalize": None,
            "encoder": "u2pp_conformer",
            "encoder_conf": SIZE | {"output_size": 16, "cnn_module_kernel": 5},
            "decoder": "u2pp_transformer",
            "decoder_conf": SIZE | {"num_blocks": 1, "r_num_blocks": 1},
        }
        | changes
    )


def tiny_u2pp(seed: int = 0, blank: float = 4.0, **changes: object) -> torch.nn.Module:
    """Build it with random weights.

    Args:
        seed: Of the weights.
        blank: Added to the blank's logits; the larger, the less is said.
        **changes: Keys of the configuration to set.
    """
    from espnet2.tasks.asr import ASRTask

    config = tiny_u2pp_config(**changes)
    torch.manual_seed(seed)
    model = ASRTask.build_model(argparse.Namespace(**config)).eval()
    _teach_to_talk(model, blank)
    return model


@torch.inference_mode()
def _teach_to_talk(model: torch.nn.Module, blank: float) -> None:
    """Let every token be likely now and then, and sure as a trained model's."""
    wave = torch.from_numpy(babble(4.0))
    encoded, _ = model.encode(wave[None], torch.tensor([len(wave)]))
    head = model.ctc.ctc_lo
    logits = head(encoded[0])  # (T, V)
    head.weight.mul_(3 / logits.std(dim=0)[:, None])
    head.bias.copy_(-(head.weight @ encoded[0].mean(dim=0)))
    head.bias[0] += blank
    head.bias[TOKENS.index("<sos/eos>")] -= 20


def babble(seconds: float, seed: int = 0) -> np.ndarray:
    """Noise ``(samples,)`` that is louder and softer ten times a second."""
    rng = np.random.default_rng(seed)
    loudness = np.repeat(rng.uniform(0, 1, int(seconds * 10) + 1) ** 3, 1600)
    wave = noise(seconds, seed)
    return wave * loudness[: len(wave)].astype(np.float32)


def save_tiny_u2pp(folder: Path, **options: object) -> Path:
    """Save it as an experiment's folder."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(tiny_u2pp(**options).state_dict(), folder / "model.pth")
    config = {k: v for k, v in options.items() if k not in ("seed", "blank")}
    text = yaml.safe_dump(tiny_u2pp_config(**config), allow_unicode=True)
    (folder / "config.yaml").write_text(text, encoding="utf-8")
    return folder
