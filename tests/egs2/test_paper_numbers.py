"""Every number that a paper gives, in every configuration that it holds for.

One table a paper; a key that a file lacks counts as the default of the class that
reads it. What the papers leave open is not here.
"""

import inspect
import re
from pathlib import Path
from typing import Any

import pytest

from espnet_smoe.config.yaml_file import read_yaml
from espnet_smoe.decoder.bidirectional import U2PPTransformerDecoder
from espnet_smoe.decoder.transformer import SMoETransformerDecoder
from espnet_smoe.encoder.conformer import U2PPConformerEncoder
from espnet_smoe.encoder.speech_moe import SpeechMoEEncoder
from espnet_smoe.encoder.stacking import StackedDeltas
from espnet_smoe.encoder.transformer import SMoETransformerEncoder
from espnet_smoe.model.smoe import ESPnetSMoEModel
from espnet_smoe.model.u2pp import ESPnetU2PPModel

EGS2 = Path(__file__).resolve().parents[2] / "egs2"
AIHUB, MINI_KOEN = EGS2 / "aihub_koen/smoe1", EGS2 / "mini_koen/smoe1"
AISHELL, MINI_CMN = EGS2 / "aishell/ctc1", EGS2 / "mini_cmn/ctc1"
U2PP = [EGS2 / name / "u2pp1" for name in ("aishell", "mini_cmn")]
CLASSES = {
    "smoe1": {
        "encoder_conf": SMoETransformerEncoder,
        "decoder_conf": SMoETransformerDecoder,
        "model_conf": ESPnetSMoEModel,
    },
    "ctc1": {"encoder_conf": SpeechMoEEncoder, "preencoder_conf": StackedDeltas},
    "u2pp1": {
        "encoder_conf": U2PPConformerEncoder,
        "decoder_conf": U2PPTransformerDecoder,
        "model_conf": ESPnetU2PPModel,
    },
}

# S-MoE, Section 2.1 and 3.2, and what the published parameter counts imply
ENCODER_EXPERTS = ["<wb>", "<nb>"]  # E0 wideband, E1 narrowband (Eq. 2)
DECODER_EXPERTS = ["<translate>", "<transcribe>"]  # E0 ST, E1 ASR (Eq. 3)
SMOE = {
    "frontend_conf.fs": "16k",
    "frontend_conf.n_mels": 80,
    "frontend_conf.win_length": 400,  # 25 ms
    "frontend_conf.hop_length": 160,  # 10 ms
    "encoder_conf.num_blocks": 12,
    "encoder_conf.output_size": 512,
    "encoder_conf.linear_units": 2048,
    "encoder_conf.attention_heads": 8,
    "encoder_conf.dropout_rate": 0.15,
    "encoder_conf.normalize_before": True,
    "encoder_conf.input_layer": "conv1d_glu",
    "encoder_conf.subsampling_channels": 1024,
    "decoder_conf.num_blocks": 6,
    "decoder_conf.attention_heads": 8,
    "decoder_conf.dropout_rate": 0.15,
    "decoder_conf.normalize_before": True,
    "model_conf.ctc_weight": 0.0,
    "model_conf.schedule": "alternate",  # one task a minibatch, in turns
    "scheduler": "cosineannealingwarmuprestarts",
}
TASKS = {
    "asr": {"target": "text", "prompt": ["<transcribe>", "<ko>"]},
    "st": {"target": "text_st", "prompt": ["<translate>", "<en>"]},
}
EXPERTS = {  # of the encoder, of the decoder, hidden width of the decoder, epochs
    "base": (None, None, 2048, 10),
    "decffnx2": (None, None, 4096, 10),
    "decsmoe": (None, DECODER_EXPERTS, 2048, 10),
    "base_nbwb": (None, None, 2048, 5),
    "encdecsmoe": (ENCODER_EXPERTS, DECODER_EXPERTS, 2048, 5),
}
DRIVER = {  # the drivers' defaults, and those of run.sh
    "max_wav_duration": "30",
    "max_tokens": "120",
    "nbpe": "40000",
    "bpemode": "bbpe",
}

# SpeechMoE, Sections 3 and 4
SPEECH_MOE = {
    "frontend_conf.n_mels": 40,
    "frontend_conf.win_length": 400,  # 25 ms
    "frontend_conf.hop_length": 160,  # 10 ms
    "preencoder": "stacked_deltas",
    "preencoder_conf.delta_order": 2,  # 40 + delta + delta-delta
    "preencoder_conf.stack": 8,
    "preencoder_conf.skip": 3,
    "encoder_conf.output_size": 512,
    "encoder_conf.linear_units": 1024,
    "encoder_conf.attention_every": 10,
    "encoder_conf.attention_heads": 8,
    "encoder_conf.look_back_order": 5,
    "encoder_conf.look_back_stride": 2,
    "encoder_conf.look_ahead_order": 1,
    "encoder_conf.look_ahead_stride": 1,
    "model_conf.embedding_ctc_weight": 0.01,  # gamma
}
SPARSITY, IMPORTANCE, BALANCE = (
    {f"{name}_weight": 0.1} for name in ("sparsity", "importance", "balance")
)
TOPK, SHARED = {"gate": "topk"}, {"gate": "shared_embedding"}
MIXTURES = {  # layers, mixture
    "b1": (60, None),
    "b2": (30, TOPK | BALANCE | {"num_experts": 4}),
    "moe_l1": (30, TOPK | BALANCE | SPARSITY | {"num_experts": 4}),
    "emb": (30, SHARED | BALANCE | SPARSITY | {"num_experts": 4}),
    "2e": (30, SHARED | IMPORTANCE | SPARSITY | {"num_experts": 2}),
    "4e": (30, SHARED | IMPORTANCE | SPARSITY | {"num_experts": 4}),
    "8e": (30, SHARED | IMPORTANCE | SPARSITY | {"num_experts": 8}),
}

# U2++ as WeNet trains it (arXiv 2106.05642, Section 3)
U2PP_NUMBERS = {
    "model_conf.ctc_weight": 0.3,
    "model_conf.reverse_weight": 0.3,
    "model_conf.lsm_weight": 0.1,
    "encoder_conf.use_dynamic_chunk": True,
    "encoder_conf.causal": True,
    "encoder_conf.macaron_style": True,
    "frontend_conf.win_length": 400,  # 25 ms
    "frontend_conf.hop_length": 160,  # 10 ms
}
U2PP_SIZES = {  # not of the miniature
    "frontend_conf.n_mels": 80,
    "decoder_conf.num_blocks": 3,
    "decoder_conf.r_num_blocks": 3,
}


def value(recipe: Path, path: Path, key: str) -> Any:
    """What counts for a key: the file's, else the default of its class."""
    section, _, name = key.partition(".")
    options = read_yaml(path)
    if not name:
        return options.get(section)
    if name in (options.get(section) or {}):
        return options[section][name]
    cls = CLASSES[recipe.name][section]
    return inspect.signature(cls.__init__).parameters[name].default


def held_against(recipe: Path, path: Path, numbers: dict[str, Any]) -> None:
    assert {key: value(recipe, path, key) for key in numbers} == numbers


def system(recipe: Path, name: str) -> Path:
    return recipe / f"conf/tuning/train_{name}.yaml"


def labels(recipe: Path, path: Path, part: str) -> list[str] | None:
    moe = value(recipe, path, f"{part}_conf.moe")
    if moe is None:
        return None
    assert moe["gate"] == "label" and set(moe) == {"gate", "labels"}
    return moe["labels"]


@pytest.mark.parametrize("name", EXPERTS)
def test_smoe_has_the_papers_numbers(name):
    path = system(AIHUB, name)
    encoder, decoder, width, epochs = EXPERTS[name]
    held_against(AIHUB, path, SMOE | {"max_epoch": epochs})
    assert value(AIHUB, path, "decoder_conf.linear_units") == width
    options = read_yaml(path)
    assert options["batch_size"] * options["accum_grad"] == 3200
    for part in ("model_conf", "preprocessor", "encoder", "decoder"):
        assert part in options


@pytest.mark.parametrize("recipe", [AIHUB, MINI_KOEN], ids=["aihub", "mini"])
@pytest.mark.parametrize("name", EXPERTS)
def test_an_expert_stands_where_the_papers_gates_point(recipe, name):
    path = system(recipe, name)
    encoder, decoder, _, _ = EXPERTS[name]
    assert labels(recipe, path, "encoder") == encoder
    assert labels(recipe, path, "decoder") == decoder
    assert value(recipe, path, "model_conf.tasks") == TASKS


def test_the_gates_point_there_by_default():
    from espnet_smoe.decoder.transformer import TASK_LABELS
    from espnet_smoe.moe import BANDWIDTHS

    assert list(TASK_LABELS) == DECODER_EXPERTS
    assert list(BANDWIDTHS) == ENCODER_EXPERTS


def test_every_system_of_smoe_that_is_not_the_papers_is_named_here():
    files = {p.stem.removeprefix("train_") for p in AIHUB.glob("conf/tuning/*.yaml")}
    assert files - set(EXPERTS) == {
        *("decsmoe_dlg", "decsmoe_joint", "decsmoe_topk"),
        "encdecsmoe_bandwidth_embedding",
    }
    for other in files - set(EXPERTS):  # the same sizes and training
        numbers = SMOE | ({"model_conf.schedule": "joint"} if "joint" in other else {})
        held_against(AIHUB, system(AIHUB, other), numbers)


def test_the_driver_filters_as_the_paper_does():
    common = (EGS2 / "TEMPLATE/options.sh").read_text(encoding="utf-8")
    driver = common + (AIHUB / "smoe.sh").read_text(encoding="utf-8")
    defaults = dict(re.findall(r"^([a-z_]+)=(\S*)", driver, re.MULTILINE))
    assert {name: defaults[name] for name in DRIVER} == DRIVER
    run = (AIHUB / "run.sh").read_text(encoding="utf-8")
    assert "--nbpe 40000 --nbwb_share 0.15" in run


@pytest.mark.parametrize("name", MIXTURES)
def test_speech_moe_has_the_papers_numbers(name):
    path = system(AISHELL, name)
    layers, moe = MIXTURES[name]
    held_against(AISHELL, path, SPEECH_MOE | {"encoder_conf.num_blocks": layers})
    assert value(AISHELL, path, "encoder_conf.moe") == moe
    embedding = value(AISHELL, path, "encoder_conf.embedding")
    shared = moe is not None and moe["gate"] == "shared_embedding"
    assert embedding == ({"num_blocks": 30} if shared else None)


@pytest.mark.parametrize("name", MIXTURES)
def test_the_mixtures_in_miniature_are_the_papers(name):
    _, moe = MIXTURES[name]
    assert value(MINI_CMN, system(MINI_CMN, name), "encoder_conf.moe") == moe


@pytest.mark.parametrize("recipe", U2PP, ids=["aishell", "mini_cmn"])
def test_u2pp_has_its_numbers(recipe):
    numbers = U2PP_NUMBERS | (U2PP_SIZES if recipe.parent.name == "aishell" else {})
    for path in sorted(recipe.glob("conf/tuning/*.yaml")):
        held_against(recipe, path, numbers)
