"""A tiny random model as WeNet's training leaves it: four files in a folder."""

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

MELS, SIZE, HEADS, UNITS, EXPERTS = 20, 16, 2, 24, 3
TOKENS = ["<blank>", "<unk>", "<sos/eos>", "▁", *"abcdefgh"]
CONFIG: dict[str, Any] = {
    "encoder": "conformer",
    "encoder_conf": {
        "output_size": SIZE,
        "attention_heads": HEADS,
        "linear_units": UNITS,
        "num_blocks": 2,
        "input_layer": "conv2d",
        "normalize_before": True,
        "cnn_module_kernel": 5,
        "use_cnn_module": True,
        "activation_type": "swish",
        "pos_enc_layer_type": "rel_pos",
        "selfattention_layer_type": "rel_selfattn",
        "causal": True,
        "use_dynamic_chunk": True,
        "cnn_module_norm": "layer_norm",
        "use_dynamic_left_chunk": False,
    },
    "decoder": "bitransformer",
    "decoder_conf": {
        "attention_heads": HEADS,
        "linear_units": UNITS,
        "num_blocks": 2,
        "r_num_blocks": 1,
    },
    "tokenizer": "char",
    "tokenizer_conf": {
        "symbol_table_path": "data/dict/units.txt",
        "split_with_space": False,
        "special_tokens": {"<blank>": 0, "<unk>": 1, "<sos>": 2, "<eos>": 2},
    },
    "ctc": "ctc",
    "ctc_conf": {"ctc_blank_id": 0},
    "cmvn": "global_cmvn",
    "cmvn_conf": {"cmvn_file": "data/train/global_cmvn", "is_json_cmvn": True},
    "model": "asr_model",
    "model_conf": {"ctc_weight": 0.3, "lsm_weight": 0.1, "reverse_weight": 0.3},
    "dataset_conf": {
        "resample_conf": {"resample_rate": 16000},
        "fbank_conf": {"num_mel_bins": MELS, "frame_shift": 10, "frame_length": 25},
    },
    "input_dim": MELS,
    "output_dim": len(TOKENS),
}
MOE = {"mlp_type": "moe", "n_expert": EXPERTS, "n_expert_activated": 2}
ROPE = {"pos_enc_layer_type": "rope_pos"}
ROPE |= {"selfattention_layer_type": "rope_abs_selfattn"}
# kernel and stride of each convolution
CONVOLUTIONS = {"conv2d": [(3, 2), (3, 2)], "conv2d6": [(3, 2), (5, 3)]}
CONVOLUTIONS |= {"conv2d8": [(3, 2)] * 3}


def config_with(
    encoder: dict | None = None, decoder: dict | None = None, **others: Any
) -> dict:
    """The configuration above, with other options of encoder and decoder."""
    config = copy.deepcopy(CONFIG) | others
    config["encoder_conf"] |= encoder or {}
    config["decoder_conf"] |= decoder or {}
    return config


def make_wenet(folder: Path, config: dict, seed: int = 0) -> dict[str, torch.Tensor]:
    """Write the folder; returns the weights."""
    torch.manual_seed(seed)
    state = Weights(config).state
    folder.mkdir(parents=True)
    (folder / "train.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    torch.save(state, folder / "final.pt")
    lines = "".join(f"{token} {i}\n" for i, token in enumerate(TOKENS))
    (folder / "units.txt").write_text(lines, encoding="utf-8")
    count = 1000
    mean, istd = (state[f"encoder.global_cmvn.{k}"].double() for k in ("mean", "istd"))
    statistics = {
        "frame_num": count,
        "mean_stat": (count * mean).tolist(),
        "var_stat": (count * (istd**-2 + mean**2)).tolist(),
    }
    (folder / "global_cmvn").write_text(json.dumps(statistics))
    return state


class Weights:
    """Random weights under WeNet's names, biases and norms too."""

    def __init__(self, config: dict):
        self.state: dict[str, torch.Tensor] = {}
        encoder, decoder = config["encoder_conf"], config["decoder_conf"]
        self.state["encoder.global_cmvn.mean"] = torch.randn(MELS) + 8
        self.state["encoder.global_cmvn.istd"] = 0.3 + 0.1 * torch.rand(MELS)
        self.subsampling(encoder["input_layer"])
        for n in range(encoder["num_blocks"]):
            self.encoder_layer(f"encoder.encoders.{n}", encoder)
        self.norm("encoder.after_norm")
        self.linear("ctc.ctc_lo", SIZE, len(TOKENS))
        if config["decoder"] == "transformer":
            self.decoder("decoder", decoder["num_blocks"], decoder)
        else:
            self.decoder("decoder.left_decoder", decoder["num_blocks"], decoder)
            self.decoder("decoder.right_decoder", decoder["r_num_blocks"], decoder)

    def tensor(self, name: str, *shape: int, scale: float = 1.0) -> None:
        self.state[name] = torch.randn(*shape) * scale

    def linear(self, name: str, size: int, out: int, bias: bool = True) -> None:
        self.tensor(f"{name}.weight", out, size, scale=size**-0.5)
        if bias:
            self.tensor(f"{name}.bias", out, scale=0.3)

    def norm(self, name: str) -> None:
        self.state[f"{name}.weight"] = 1 + 0.2 * torch.randn(SIZE)
        self.tensor(f"{name}.bias", SIZE, scale=0.2)

    def subsampling(self, kind: str) -> None:
        channels, width = 1, MELS
        for n, (kernel, stride) in enumerate(CONVOLUTIONS[kind]):
            name, scale = f"encoder.embed.conv.{2 * n}", (channels * kernel**2) ** -0.5
            shape = SIZE, channels, kernel, kernel
            self.tensor(f"{name}.weight", *shape, scale=1.5 * scale)
            self.tensor(f"{name}.bias", SIZE, scale=0.3)
            channels, width = SIZE, (width - kernel) // stride + 1
        last = "out.0" if kind == "conv2d" else "linear"
        self.linear(f"encoder.embed.{last}", SIZE * width, SIZE)
        self.tensor("encoder.embed.pos_enc.pe", 1, 50, SIZE)  # a table, computed

    def attention(self, name: str) -> None:
        for part in "qkv":
            self.linear(f"{name}.linear_{part}", SIZE, SIZE)
        self.linear(f"{name}.linear_out", SIZE, SIZE)

    def block(self, name: str, conf: dict) -> None:
        if conf.get("mlp_type") != "moe":
            self.linear(f"{name}.w_1", SIZE, UNITS)
            self.linear(f"{name}.w_2", UNITS, SIZE)
            return
        self.linear(f"{name}.gate", SIZE, EXPERTS, bias=False)
        for expert in range(EXPERTS):
            self.block(f"{name}.experts.{expert}", {})

    def encoder_layer(self, name: str, conf: dict) -> None:
        self.attention(f"{name}.self_attn")
        if conf["pos_enc_layer_type"] == "rel_pos":
            self.linear(f"{name}.self_attn.linear_pos", SIZE, SIZE, bias=False)
            for bias in "uv":
                shape = HEADS, SIZE // HEADS
                self.tensor(f"{name}.self_attn.pos_bias_{bias}", *shape)
        for block in ("feed_forward", "feed_forward_macaron"):
            self.block(f"{name}.{block}", conf)
        kernel, module = conf["cnn_module_kernel"], f"{name}.conv_module"
        for part, shape in {
            "pointwise_conv1": (2 * SIZE, SIZE, 1),
            "depthwise_conv": (SIZE, 1, kernel),
            "pointwise_conv2": (SIZE, SIZE, 1),
        }.items():
            scale = (shape[1] * shape[2]) ** -0.5
            self.tensor(f"{module}.{part}.weight", *shape, scale=scale)
            self.tensor(f"{module}.{part}.bias", shape[0], scale=0.5)
        self.norm(f"{module}.norm")
        for part in ("ff", "mha", "ff_macaron", "conv", "final"):
            self.norm(f"{name}.norm_{part}")

    def decoder(self, name: str, blocks: int, conf: dict) -> None:
        self.tensor(f"{name}.embed.0.weight", len(TOKENS), SIZE, scale=0.5)
        self.tensor(f"{name}.embed.1.pe", 1, 50, SIZE)
        for n in range(blocks):
            layer = f"{name}.decoders.{n}"
            self.attention(f"{layer}.self_attn")
            self.attention(f"{layer}.src_attn")
            self.block(f"{layer}.feed_forward", conf)
            for part in "123":
                self.norm(f"{layer}.norm{part}")
        self.norm(f"{name}.after_norm")
        self.linear(f"{name}.output_layer", SIZE, len(TOKENS))


def speech(samples: int = 20000, seed: int = 1) -> np.ndarray:
    """Noise that is louder here than there: ``(samples,)``."""
    random = np.random.default_rng(seed)
    loud = np.repeat(random.uniform(0.01, 0.3, samples // 800 + 1), 800)[:samples]
    return (random.normal(0, 1, samples) * loud).clip(-1, 1).astype(np.float32)
