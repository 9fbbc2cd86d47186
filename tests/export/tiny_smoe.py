"""Tiny S-MoE models on the features that sherpa-onnx computes, and how it asks them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from tests.tiny import SIZE, save_experiment, tiny_config

MELS = 16
MOE = {"moe": {"gate": "label"}}
SMALL = {k: v for k, v in SIZE.items() if k != "output_size"}
# what sherpa-onnx asks of a Whisper stands at the same places
LIKE_WHISPER = {
    "encoder": "smoe_whisper",
    "encoder_conf": SIZE | MOE,
    "decoder": "smoe_whisper",
    "decoder_conf": SMALL | MOE | {"max_length": 60, "suppress_tokens": [0, [2, 8]]},
    "model_conf": {
        "ctc_weight": 0.0,
        "tasks": {
            "asr": {
                "target": "text",
                "prompt": ["<unk>", "<ko>", "<transcribe>"],
                "spoken": "ko",
            },
            "st": {
                "target": "text_st",
                "prompt": ["<unk>", "<ko>", "<translate>"],
                "spoken": "ko",
                "language": "en",
            },
        },
    },
}
KINDS = {"ours": {}, "like Whisper": LIKE_WHISPER}


def save_smoe(folder: Path, kind: str, seed: int = 0, **changes: object) -> Path:
    """An experiment of random weights that writes, and now and then ends a text."""
    front = {"n_mels": MELS, "framing": "kaldi"}
    config = tiny_config(folder, normalize="utterance_mvn") | KINDS[kind]
    config |= {"frontend": "smoe_whisper", "frontend_conf": front} | changes
    save_experiment(folder, config, seed)
    path = folder / "model.pth"
    weights = torch.load(path)
    torch.manual_seed(seed)
    for name in [n for n in weights if n.startswith("decoder.")]:
        if weights[name].dim() == 2 and "output_layer" not in name:
            weights[name] *= 3  # so that what was written so far counts
    if (bias := weights.get("decoder.output_layer.bias")) is not None:
        bias[-1] += 1  # the end
    torch.save(weights, path)
    return folder


class OfSherpa:
    """sherpa-onnx's greedy search, as its source has it.

    Args:
        encoder: ``(1, F, T)`` to keys and values.
        decoder: A step.
        metadata: Of the encoder.
    """

    def __init__(self, encoder: Callable, decoder: Callable, metadata: dict):
        self.encoder, self.decoder = encoder, decoder
        self.read = {key: str(value) for key, value in metadata.items()}
        codes = self.read["all_language_codes"].split(",")
        ids = map(int, self.read["all_language_tokens"].split(","))
        self.languages = dict(zip(codes, ids))

    def number(self, name: str) -> int:
        return int(self.read[name])

    def __call__(
        self, features: np.ndarray, language: str, task: str, padding: int = 100
    ) -> list[int]:
        """Tokens of features ``(T, F)``."""
        padded = np.pad(features, ((0, padding), (0, 0)))
        cross = self.encoder(np.ascontiguousarray(padded.T[None]))
        tokens = list(map(int, self.read["sot_sequence"].split(",")))
        tokens[1] = self.languages[language] if language else self.detect(cross)
        if task == "translate":
            tokens[2] = self.number("translate")
        tokens.append(self.number("no_timestamps"))
        places = self.number("n_text_ctx")
        logits, *cache = self.decoder(np.array([tokens]), *self.cache(), *cross, [0])
        offset, found, last = len(tokens), [], int(logits[0, -1].argmax())
        most = min(int(len(features) / 100.0 * 6), places // 2)
        for _ in range(most):
            if last == self.number("eot"):
                break
            found.append(last)
            logits, *cache = self.decoder(np.array([[last]]), *cache, *cross, [offset])
            offset += 1
            if offset >= places - 1:
                break
            last = int(logits[0, -1].argmax())
        return found

    def cache(self) -> list[np.ndarray]:
        sizes = "n_text_layer", "n_text_ctx", "n_text_state"
        layers, places, size = map(self.number, sizes)
        return [np.zeros((layers, 1, places, size), np.float32) for _ in range(2)]

    def detect(self, cross: list[np.ndarray]) -> int:
        """The likeliest language."""
        start = np.array([[self.number("sot")]])
        logits = self.decoder(start, *self.cache(), *cross, [0])[0][0, 0]
        return max(self.languages.values(), key=lambda token: logits[token])
