"""Every shipped configuration is checked, built and takes one training step."""

from pathlib import Path

import pytest
import torch
from espnet2.bin import asr_inference
from espnet2.tasks.abs_task import scheduler_classes
from espnet2.tasks.asr import ASRTask

from espnet_smoe import register
from espnet_smoe.check_config import build_model, count_parameters
from espnet_smoe.config.yaml_file import read_yaml
from espnet_smoe.data.text.tokens import BEGIN, BLANK, LABELS, SOS_EOS, UNKNOWN
from espnet_smoe.inference.recognizers.smoe import SMoEDecodeOptions
from espnet_smoe.inference.recognizers.speech_moe import CTCDecodeOptions
from espnet_smoe.inference.recognizers.u2pp import U2PPDecodeOptions
from espnet_smoe.training.options import check_training

EGS2 = Path(__file__).resolve().parents[2] / "egs2"
TRAIN = sorted(EGS2.glob("*/*/conf/**/train*.yaml"))
DECODE = sorted(EGS2.glob("*/*/conf/**/decode*.yaml"))
PAPER = EGS2 / "aihub_koen/smoe1/conf/tuning"
AISHELL = EGS2 / "aishell/ctc1/conf/tuning"
AISHELL_U2PP = EGS2 / "aishell/u2pp1/conf/tuning"
WHISPER = EGS2 / "aihub_koen/smoe1/conf/whisper"
MINI = EGS2 / "mini_koen/smoe1/conf"
ENCDECSMOE = MINI / "tuning" / "train_encdecsmoe.yaml"
BASE = (
    107_087_936  # S-MoE, Section 3.2: 107M, with what the paper leaves open filled in
)
SPOKEN = ("en", "es", "fr", "it", "ru")
WHISPERS = ("startoftranscript", "transcribe", "translate", "notimestamps", "endoftext")
WHISPERS = [f"<|{token}|>" for token in (*WHISPERS, *SPOKEN, "ko")]
SPECIALS = dict.fromkeys([*LABELS, *(f"<{x}>" for x in SPOKEN), BEGIN, *WHISPERS])
TOKENS = [BLANK, UNKNOWN, *SPECIALS, *"abcd", SOS_EOS]
ID = {token: i for i, token in enumerate(TOKENS)}
OPTIONS = {  # of stage 12
    "smoe1": SMoEDecodeOptions,
    "ctc1": CTCDecodeOptions,
    "u2pp1": U2PPDecodeOptions,
}
SMALL = {"attention_heads": 2, "linear_units": 24, "num_blocks": 2}
SMALL_ENCODER = {**SMALL, "output_size": 16, "subsampling_channels": 32}
SMALL_SPEECH_MOE = {**SMALL, "output_size": 16, "attention_every": 2}

register()


def name(path: Path) -> str:
    return str(path.relative_to(EGS2))


def arguments(path: Path):
    """What asr_train makes of the file; paper sizes shrink to fit a test."""
    options = read_yaml(path)
    if path.resolve().parent == PAPER:
        options["encoder_conf"] |= SMALL_ENCODER
        options["decoder_conf"] |= SMALL
    if path.parent.name == "whisper":
        options["encoder_conf"] |= {**SMALL, "output_size": 16}
        options["decoder_conf"] |= SMALL
    if path.resolve().parent == AISHELL_U2PP:
        options["encoder_conf"] |= {**SMALL, "output_size": 16}
        if "gradient_checkpoint_layers" in options["encoder_conf"]:
            options["encoder_conf"]["gradient_checkpoint_layers"] = [1, 2]
        options["decoder_conf"] |= SMALL
    if path.resolve().parent == AISHELL:
        options["encoder_conf"] |= SMALL_SPEECH_MOE
        if "embedding" in options["encoder_conf"]:
            options["encoder_conf"]["embedding"] = {"num_blocks": 2}
    parser = ASRTask.get_parser()
    parser.set_defaults(**options)
    args = parser.parse_args(["--output_dir", "unused"])
    args.token_list, args.normalize, args.normalize_conf = TOKENS, "utterance_mvn", {}
    return args


def batch(of_smoe: bool) -> dict[str, torch.Tensor]:
    """Two utterances of 0.4 s; one is narrowband."""
    torch.manual_seed(0)
    text = torch.tensor([[ID["a"], ID["b"], ID["c"]], [ID["d"], ID["a"], -1]])
    fields = {
        "speech": torch.randn(2, 6400),
        "speech_lengths": torch.tensor([6400, 6000]),
        "text": text,
        "text_lengths": torch.tensor([3, 2]),
    }
    if of_smoe:
        fields |= {"text_st": text.flip(0), "text_st_lengths": torch.tensor([2, 3])}
        fields["bandwidth"] = torch.tensor([[ID["<nb>"]], [ID["<wb>"]]])
    return fields


def batches(args) -> list[dict[str, torch.Tensor]]:
    """As many as give every part its turn: a task each, or a spoken language each."""
    one = batch(of_smoe=args.model == "smoe")
    if any("spoken" in row for row in (args.model_conf.get("tasks") or {}).values()):
        form = "<|{}|>" if "<|es|>" in str(args.model_conf) else "<{}>"
        spoken = [ID[form.format(language)] for language in SPOKEN]
        return [one | {"lang": torch.tensor([[token]] * 2)} for token in spoken]
    return [one] * (2 if args.model_conf.get("schedule") == "alternate" else 1)


def may_be_idle(key: str, options: dict) -> bool:
    """An expert that a learned router sends none of the few frames of a test."""
    moe = options.get(f"{key.split('.')[0]}_conf", {}).get("moe") or {}
    learned = moe.get("gate", "label") != "label" and ".experts." in key
    return learned or key.endswith(".linear_k.bias")  # softmax cancels it


def test_the_recipes_have_configurations():
    assert len(TRAIN) >= 12
    assert {path.parts[len(EGS2.parts)] for path in TRAIN} >= {
        *("aihub_koen", "aishell", "asterisk", "mini_an4", "mini_koen")
    }


@pytest.mark.parametrize("path", TRAIN, ids=name)
def test_one_training_step_moves_every_parameter(path):
    options = read_yaml(path)
    check_training(ASRTask, options)
    args = arguments(path)
    torch.manual_seed(0)
    model = ASRTask.build_model(args).train()
    (optimizer,) = ASRTask.build_optimizers(args, model)
    scheduler_classes[args.scheduler](optimizer, **args.scheduler_conf)
    before = {key: p.detach().clone() for key, p in model.named_parameters()}
    for fields in batches(args):
        loss, _, _ = model(**fields)
        assert loss.isfinite()
        loss.sum().backward()
    idle = {key for key, p in model.named_parameters() if p.grad is None}
    assert all(may_be_idle(key, options) for key in idle), idle
    for group in optimizer.param_groups:
        # a warm-up may begin with what float32 cannot tell beside 1
        group["lr"] = max(group["lr"], 1e-6)
    optimizer.step()
    still = {k for k, p in model.named_parameters() if torch.equal(p, before[k])}
    assert all(may_be_idle(key, options) for key in still), still
    assert all(p.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("path", DECODE, ids=name)
def test_the_decoder_knows_every_option(path):
    task = path.parts[len(EGS2.parts) + 1]
    if task in OPTIONS:
        OPTIONS[task].read(str(path))
    else:
        known = {action.dest for action in asr_inference.get_parser()._actions}
        assert set(read_yaml(path)) <= known


def test_no_configuration_is_left_out():
    files = set(EGS2.glob("*/*/conf/**/*.yaml"))
    assert files == {*TRAIN, *DECODE}


@pytest.mark.parametrize(
    ("system", "total", "active"),
    [
        ("base", BASE, BASE),
        ("decffnx2", 119_683_136, 119_683_136),
        ("decsmoe", 119_686_208, BASE),
        ("encdecsmoe", 144_882_752, BASE),
    ],
)
def test_paper_sizes_have_the_papers_parameters(system, total, active):
    model = build_model(PAPER / f"train_{system}.yaml", vocab_size=40000)
    assert count_parameters(model) == {"total": total, "active": active}


@pytest.mark.parametrize("folder", [MINI / "tuning", WHISPER], ids=name)
def test_the_compared_systems_differ_in_nothing_else(folder):
    """What a comparison may vary: experts, widths, ESPnet's classes; no training."""
    files = sorted(folder.glob("train_*.yaml"))
    systems = {path.stem: read_yaml(path) for path in files}
    # the demo, which compares with none
    systems.pop("train_encdecsmoe_from_scratch", None)
    tuned = systems.pop("train_base_nbwb")
    fine_tuned = [name for name in systems if name.startswith("train_encdecsmoe")]
    differing_only_in_experts(tuned, {name: systems.pop(name) for name in fine_tuned})
    differing_only_in_experts(systems.pop("train_base"), systems)


def differing_only_in_experts(base: dict, systems: dict[str, dict]) -> None:
    free = {"encoder", "encoder_conf", "decoder", "decoder_conf"}
    for system, options in systems.items():
        assert {k for k in base | options if base.get(k) != options.get(k)} <= free
        for part in ("encoder_conf", "decoder_conf"):
            differ = {
                k
                for k in base[part] | options[part]
                if base[part].get(k) != options[part].get(k)
            }
            allowed = {
                "train_decffnx2": {"linear_units"},
                "train_espnet": {"input_layer", "subsampling_channels"},
            }.get(system, {"moe"})
            assert differ <= allowed, f"{system}: {part}"


def test_mini_systems_have_the_shape_of_the_comparison():
    count = {
        p.stem.removeprefix("train_"): count_parameters(build_model(p, vocab_size=500))
        for p in (MINI / "tuning").glob("train_*.yaml")
    }
    assert set(count) == {
        *("base", "decffnx2", "decsmoe", "base_nbwb", "encdecsmoe", "espnet"),
        *("decsmoe_topk", "encdecsmoe_bandwidth_embedding", "encdecsmoe_from_scratch"),
    }
    assert count["base_nbwb"] == count["base"]
    active = {count[k]["active"] for k in ("base", "decsmoe", "encdecsmoe")}
    assert active == {count["base"]["total"]}
    wide, experts = count["decffnx2"]["total"], count["decsmoe"]["total"]
    assert 0 < experts - wide < 0.01 * wide  # but for the experts' own biases
    assert count["encdecsmoe"]["total"] > experts


def test_the_demo_trains_the_whole_mixture():
    demo, paper = read_yaml(MINI / "train.yaml"), read_yaml(ENCDECSMOE)
    for part in ("encoder", "encoder_conf", "decoder", "decoder_conf"):
        assert demo[part] == paper[part]
