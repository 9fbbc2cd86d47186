"""Tiny random models of ESPnet's own, as asr.sh, st.sh and s2t.sh leave them."""

import argparse
import importlib
import io
from pathlib import Path

import numpy as np
import torch
import yaml

from espnet_smoe.importers.command import main
from espnet_smoe.registry import TASKS, register

SIZES = {"output_size": 16, "attention_heads": 2, "linear_units": 32, "num_blocks": 2}
ENCODERS = {
    "transformer": {"input_layer": "conv2d", "use_flash_attn": False},
    "conformer": {
        "input_layer": "conv2d",
        "macaron_style": True,
        "cnn_module_kernel": 7,
        "rel_pos_type": "latest",
        "use_flash_attn": False,
    },
    "branchformer": {
        "input_layer": "conv2d",
        "cgmlp_linear_units": 32,
        "cgmlp_conv_kernel": 7,
    },
    "e_branchformer": {
        "input_layer": "conv2d",
        "cgmlp_linear_units": 32,
        "cgmlp_conv_kernel": 7,
        "use_ffn": True,
        "macaron_ffn": True,
    },
}
DECODER = {"attention_heads": 2, "linear_units": 32, "num_blocks": 2}
STOCK_DECODER = {**DECODER, "use_flash_attn": False}
TEXTS = ("오늘 날씨가 정말 좋네요", "the weather is nice today", "내일 아침에 만나요")
TIMES = ["<0.00>", "<0.50>", "<1.00>"]
OWSM = ["<na>", "<nospeech>", "<eng>", "<kor>", "<asr>", "<st_eng>", "<st_jpn>"]
OWSM += ["<notimestamps>", *TIMES]
WINDOW = 1.0  # seconds that the tiny OWSM hears


def tokenizer(symbols: list[str]) -> tuple[bytes, list[str]]:
    """A sentencepiece model that knows the symbols; the pieces that it writes."""
    import sentencepiece

    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS * 4),
        model_writer=written,
        vocab_size=35 + len(symbols),
        user_defined_symbols=symbols,
        minloglevel=2,
    )
    model = sentencepiece.SentencePieceProcessor(model_proto=written.getvalue())
    ids = range(model.get_piece_size())
    special = (model.is_control, model.is_unknown)
    pieces = [model.id_to_piece(i) for i in ids if not any(is_(i) for is_ in special)]
    return written.getvalue(), pieces


def statistics() -> dict[str, np.ndarray]:
    """Of features: `feats_stats.npz`."""
    random = np.random.default_rng(5)
    total = random.normal(0, 1, 16) * 100 - 300
    square = total**2 / 100 + random.uniform(1, 5, 16) * 100
    return {"count": np.array(100), "sum": total, "sum_square": square}


def make_espnet(recipe: Path, task: str, encoder: str, **changes) -> Path:
    """Save an experiment in a recipe's folder; a random checkpoint.

    Args:
        recipe: The folder.
        task: ``asr``, ``st`` or ``s2t``.
        encoder: A key of `ENCODERS`.
        **changes: Keys of the configuration to set; sections are added to.

    Returns:
        The experiment's folder.
    """
    register()
    cls = getattr(importlib.import_module(f"espnet2.tasks.{task}"), TASKS[task])
    model, pieces = tokenizer(OWSM if task == "s2t" else [])
    ends = ["<sop>", "<sos>", "<eos>"] if task == "s2t" else ["<sos/eos>"]
    files = {"data/token_list/bpe.model": model}
    with io.BytesIO() as stats:
        np.savez(stats, **statistics())
        files["exp/stats/train/feats_stats.npz"] = stats.getvalue()
    for name, content in files.items():
        (recipe / name).parent.mkdir(parents=True, exist_ok=True)
        (recipe / name).write_bytes(content)
    config = cls.get_default_config() | {
        "token_list": ["<blank>", "<unk>", *pieces, *ends],
        "token_type": "bpe",
        "bpemodel": "data/token_list/bpe.model",
        "frontend_conf": {"n_mels": 16, "n_fft": 512, "win_length": 400}
        | {"hop_length": 160, "fs": "16k"},
        "specaug": "specaug",
        "specaug_conf": {"time_mask_width_range": [0, 4]},
        "normalize": "global_mvn",
        "normalize_conf": {"stats_file": "exp/stats/train/feats_stats.npz"},
        "encoder": encoder,
        "encoder_conf": {
            **{
                k: v
                for k, v in SIZES.items()
                if (encoder, k) != ("branchformer", "linear_units")
            },
            **ENCODERS[encoder],
        },
        "decoder": "transformer",
        "decoder_conf": DECODER if "decoder" in changes else STOCK_DECODER,
        "model_conf": {"lsm_weight": 0.1, "report_cer": False, "report_wer": False},
        "init": None,
    }
    if task == "asr":
        config["model_conf"] |= {"ctc_weight": 0.3}
    if task == "st":
        config |= {"src_token_list": config["token_list"], "src_token_type": "bpe"}
        config["model_conf"] |= {"st_mtlalpha": 0.3, "report_bleu": False}
    if task == "s2t":
        config["model_conf"] |= {"ctc_weight": 0.3}
        config["preprocessor_conf"] = {"speech_length": WINDOW, "fs": 16000}
        config["preprocessor_conf"] |= {"last_time_symbol": TIMES[-1]}
        config["preprocessor_conf"] |= {"first_time_symbol": TIMES[0]}
        config["preprocessor_conf"] |= {"notime_symbol": "<notimestamps>"}
    for name, value in changes.items():
        old = config.get(name)
        config[name] = old | value if isinstance(old, dict) else value
    folder = recipe / f"exp/{task}_{encoder}"
    folder.mkdir(parents=True)
    save(cls, config, folder, recipe)
    return folder


def save(cls: type, config: dict, folder: Path, recipe: Path) -> None:
    """Write a configuration and random weights for it."""
    torch.manual_seed(7)
    built = {**config}
    if built["normalize"] == "global_mvn":
        stats = recipe / config["normalize_conf"]["stats_file"]
        built["normalize_conf"] = {"stats_file": str(stats)}
    model = cls.build_model(argparse.Namespace(**built))
    with torch.no_grad():  # random weights as they come say the same of every frame
        for name, weight in model.named_parameters():
            if weight.dim() > 1:
                weight.mul_(2.0)
            elif "norm" not in name:
                weight.normal_(0, 0.1)
        for name, buffer in model.named_buffers():  # of batch normalization
            if name.endswith("running_mean"):
                buffer.normal_(0, 0.1)
            elif name.endswith("running_var"):
                buffer.uniform_(0.5, 2.0)
    torch.save(model.state_dict(), folder / "valid.acc.ave.pth")
    text = yaml.safe_dump(config, allow_unicode=True, sort_keys=False)
    (folder / "config.yaml").write_text(text, encoding="utf-8")


def make_mixture(recipe: Path) -> Path:
    """An OWSM with an expert for transcripts and one for translations."""
    moe = {"gate": "label", "labels": ["<asr>", "<st_*>"]}
    parts = {"decoder": "smoe_transformer", "decoder_conf": {"moe": moe}}
    folder = make_espnet(recipe, "s2t", "e_branchformer", **parts)
    path = folder / "valid.acc.ave.pth"
    state = torch.load(path)  # experts of one size differ, and the texts with them
    for name in [n for n in state if ".experts." in n and ".w_2.weight" in n]:
        state[name] *= 6
    torch.save(state, path)
    return folder


def wave(seed: int, seconds: float = 0.8) -> np.ndarray:
    random = np.random.default_rng(seed)
    return random.normal(0, 0.1, int(16000 * seconds)).astype(np.float32)


def imported(folder: Path, out: Path, *options: str) -> Path:
    more = ["--language", "kor"] if folder.name.startswith("s2t") else []
    main(["espnet", str(folder), "--out", str(out), *more, *options])
    return out
