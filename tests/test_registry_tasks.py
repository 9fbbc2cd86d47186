"""Whatever ESPnet's tasks offer of ours can be built, trained and decoded there."""

import argparse
import importlib
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from espnet_smoe import register
from espnet_smoe.registry import OFFERED, TASKS

register()
SPECIALS = ["<blank>", "<unk>", "<na>", "<kor>", "<asr>", "<notimestamps>", "<0.00>"]
SPECIALS += [
    "<30.00>",
    "<sop>",
    "<sos>",
    "<eos>",
    "<transcribe>",
    "<translate>",
    "<ko>",
]
SPECIALS += ["<en>", "<beginning_of_sentence>", "<space>"]
TOKENS = [*SPECIALS, *"abcdef", "<sos/eos>"]
SIZES = {"attention_heads": 2, "linear_units": 8, "num_blocks": 1}
ENCODERS = {  # what each class wants beside its sizes
    "smoe_conformer": {"cnn_module_kernel": 3},
    "smoe_e_branchformer": {"cgmlp_linear_units": 8, "cgmlp_conv_kernel": 3},
    "smoe_transformer": {"input_layer": "conv2d"},
    "smoe_whisper": {},
    "speech_moe": {"moe": {"num_experts": 2}, "embedding": {"num_blocks": 1}},
    "u2pp_conformer": {"cnn_module_kernel": 3},
}
MODELS = {  # a model with the parts that it is for
    "espnet": ("smoe_transformer", "smoe_transformer"),
    "smoe": ("smoe_transformer", "smoe_transformer"),
    "u2pp": ("u2pp_conformer", "u2pp_transformer"),
    "speech_moe": ("speech_moe", None),
}
SEARCHES = {
    "asr": ("espnet2.bin.asr_inference", "Speech2Text"),
    "st": ("espnet2.bin.st_inference", "Speech2Text"),
    "s2t": ("espnet2.bin.s2t_inference", "Speech2Text"),
    "mt": ("espnet2.bin.mt_inference", "Text2Text"),
}


def offered() -> list[tuple[str, str, str]]:
    """Task, kind and name of each class of ours that an ESPnet task offers."""
    found = []
    for task in TASKS:
        module = importlib.import_module(f"espnet2.tasks.{task}")
        for choices in getattr(module, TASKS[task]).class_choices_list:
            found += [
                (task, choices.name, name)
                for name, cls in choices.classes.items()
                if cls.__module__.startswith("espnet_smoe.")
            ]
    return found


def configuration(task: str, kind: str, name: str, folder: Path) -> dict:
    """A tiny model of the task with the class in question."""
    cls = getattr(importlib.import_module(f"espnet2.tasks.{task}"), TASKS[task])
    model = name if kind == "model" else "espnet"
    encoder, decoder = MODELS[model]
    encoder = name if kind == "encoder" else encoder
    decoder = name if kind == "decoder" else decoder
    quiet = {"report_cer": False, "report_wer": False} if task in ("asr", "s2t") else {}
    config = cls.get_default_config() | {
        "token_list": TOKENS,
        "token_type": "char",
        "specaug": None,
        "encoder": encoder,
        "encoder_conf": {"output_size": 8, **SIZES, **ENCODERS[encoder]},
        "decoder": decoder,
        "decoder_conf": dict(SIZES) if decoder else {},
        "model_conf": quiet,
        "init": None,
    }
    frontend = {"n_mels": 16, "hop_length": 160}
    if kind == "frontend":
        config |= {"frontend": name}
        frontend = frontend if name == "smoe_padded" else {"n_mels": 16}
    if task == "mt":
        config |= {"src_token_list": TOKENS, "src_token_type": "char"}
        config["frontend_conf"] = {"embed_dim": 8}
        config["encoder_conf"]["input_layer"] = "linear"
    else:
        config |= {"frontend_conf": frontend, "normalize": "utterance_mvn"}
    if task == "st":
        config |= {"src_token_list": TOKENS, "src_token_type": "char"}
        config["preprocessor_conf"] = {}
        config["model_conf"] = {"report_bleu": False}
    if task == "s2t":
        config["preprocessor_conf"] = {
            "speech_length": 1.0,
            "fs": 16000,
            "notime_symbol": "<notimestamps>",
            "first_time_symbol": "<0.00>",
            "last_time_symbol": "<30.00>",
        }
    if kind == "preencoder":
        config |= {"preencoder": name, "preencoder_conf": {"input_size": 16}}
    if model != "espnet":
        config |= {"model": model, "model_conf": {}}
    if (kind, name) == ("preprocessor", "smoe"):
        from espnet_smoe.data.text.tokens import train_tokens

        tokens = train_tokens(["abc def", "fed cba"], 300, folder)
        config |= {"preprocessor": "smoe", "token_list": tokens}
        config |= {"bpemodel": str(folder / "bpe.json"), "token_type": "bpe"}
    return config


def example(task: str) -> dict:
    """An utterance as a data directory has it."""
    wave = np.random.default_rng(0).normal(0, 0.1, 16000).astype(np.float32)
    if task == "mt":
        return {"src_text": "abcdefabcdef", "text": "fed"}
    if task == "s2t":
        text = "_<kor><asr><0.00>abc<30.00>"
        return {"speech": wave, "text": text, "text_prev": "<na>", "text_ctc": "abc"}
    return {"speech": wave, "text": "abc"}


@pytest.mark.parametrize("task, kind, name", offered())
def test_what_a_task_offers_trains_and_decodes_there(task, kind, name, tmp_path):
    cls = getattr(importlib.import_module(f"espnet2.tasks.{task}"), TASKS[task])
    config = configuration(task, kind, name, tmp_path)
    specials = tmp_path / "specials.txt"
    specials.write_text("\n".join(SPECIALS) + "\n")
    if config["token_type"] == "char":
        config["non_linguistic_symbols"] = str(specials)
    args = argparse.Namespace(**config)
    torch.manual_seed(0)
    model = cls.build_model(args).train()
    preprocess = cls.build_preprocess_fn(args, True)
    rows = [(f"utt{i}", preprocess(f"utt{i}", example(task))) for i in range(2)]
    names, fields = cls.build_collate_fn(args, True)(rows)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    loss, *_ = model(**fields, utt_id=names)
    loss.backward()
    optimizer.step()
    assert loss.isfinite() and any(p.grad is not None for p in model.parameters())

    torch.save(model.state_dict(), tmp_path / "model.pth")
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config, allow_unicode=True))
    module, search = SEARCHES[task]
    given = {f"{task}_train_config": str(tmp_path / "config.yaml")}
    given |= {f"{task}_model_file": str(tmp_path / "model.pth"), "beam_size": 2}
    given |= {"maxlenratio": -4.0}
    if task == "s2t":
        given |= {"lang_sym": "<kor>"}
    if task == "mt":
        given |= {"ctc_weight": 0.0}
    if config["decoder"] is None:
        given |= {"ctc_weight": 1.0}
    decode = getattr(importlib.import_module(module), search)(**given)
    source = preprocess("utt", example(task))
    heard = "src_text" if task == "mt" else "speech"
    (best, *_) = decode(source[heard] if task == "mt" else example(task)[heard])
    assert isinstance(best[1], list)


def test_the_table_of_what_is_offered_is_what_the_tasks_have():
    found = offered()
    for task, kinds in OFFERED.items():
        assert {kind for t, kind, _ in found if t == task} == {*kinds}
    assert ("s2t", "model", "smoe") not in found
    assert ("mt", "frontend", "smoe_whisper") not in found
