"""A training's options: what check-config refuses, training refuses, and the same."""

from pathlib import Path

import pytest
import yaml
from espnet2.tasks.abs_task import AbsTask
from espnet2.tasks.asr import ASRTask
from espnet2.tasks.enh import EnhancementTask
from espnet2.tasks.s2t import S2TTask

from espnet_smoe import check_config, register
from espnet_smoe.training.options import check_training
from espnet_smoe.training.start import check_before_training

SMALL = """
model: smoe
model_conf:
  tasks:
    asr: {target: text, prompt: ["<transcribe>", "<ko>"]}
    st: {target: text_st, prompt: ["<translate>", "<en>"]}
frontend_conf: {n_fft: 512, hop_length: 160, n_mels: 10}
specaug: specaug
specaug_conf: {apply_time_warp: false, apply_time_mask: false}
encoder: smoe_transformer
encoder_conf:
  {input_layer: conv1d_glu, subsampling_channels: 16, output_size: 8,
   attention_heads: 2, linear_units: 16, num_blocks: 1, moe: {gate: label}}
decoder: smoe_transformer
decoder_conf:
  {attention_heads: 2, linear_units: 16, num_blocks: 1,
   moe: {gate: topk, num_experts: 4, top_k: 2}}
preprocessor: smoe
preprocessor_conf: {channel: {share: 0.5, conditions: [nb]}}
optim: adamw
optim_conf: {lr: 0.002, betas: [0.9, 0.98]}
scheduler: cosineannealingwarmuprestarts
scheduler_conf:
  {first_cycle_steps: 100, max_lr: 0.002, min_lr: 0.00002, warmup_steps: 10}
best_model_criterion: [[valid, acc, max]]
"""
TOKENS = ["<blank>", "<unk>", "<transcribe>", "<translate>", "<ko>", "<en>", "<wb>"]
TOKENS += ["<nb>", "<beginning_of_sentence>", *"abcd", "<sos/eos>"]
WRONG = [  # place, value, what is said of it
    ("save_every_steps", -1, "-1 is not a whole number of at least 0"),
    ("save_every_steps", "often", "'often'"),
    ("encoder_conf.dropout_rate", -0.1, "-0.1 is not a number from 0"),
    ("encoder_conf.num_blocks", 0, "0 is not a whole number of at least 1"),
    ("encoder_conf.num_blocks", "two", "'two' is not a whole number"),
    ("encoder_conf.attention_heads", 3, "3 does not divide output_size 8; 2 does"),
    ("encoder_conf.input_layer", "conv2b", "did you mean 'conv2d'"),
    ("encoder_conf.subsampling_channels", 15, "subsampling_channels must be even"),
    ("encoder_conf.normalize_before", "yes", "'yes' is not true or false"),
    (
        "encoder_conf.moe.labels",
        ["<wb>"],
        "makes speech of 'nb', whose label <nb> is not one of <wb>",
    ),
    ("encoder_conf.moe", True, "encoder_conf.moe: True is not a section"),
    ("encoder_conf.moe", "topk", "encoder_conf.moe: 'topk' is not a section"),
    ("encoder_conf.moe.num_experts", "four", "moe.num_experts: 'four' is not a whole"),
    ("encoder_conf.moe.labels", ["<wb>", "<wb>"], "write each label once"),
    ("encoder_conf.moe.labels", [], "encoder_conf.moe: 'gate: label' needs labels"),
    ("encoder_conf.moe.labels", "<wb>", "'<wb>' is not a list"),
    ("decoder_conf.moe.top_k", 1.5, "decoder_conf.moe.top_k: 1.5 is not a whole"),
    ("decoder_conf.moe.top_k", 5, "top_k is 5; choose 1 to 4"),
    ("decoder_conf.moe.jitter", 1, "jitter: 1 is not a number from 0 to less than 1"),
    ("decoder_conf.moe.z_weight", -1e-3, "z_weight: -0.001 is not a number of at"),
    ("decoder_conf.moe.balance_weight", float("nan"), "balance_weight: nan is not"),
    ("decoder_conf.attention_heads", 5, "does not divide the encoder's output size 8"),
    ("decoder", None, "decoder_conf: there is no decoder .* name one"),
    ("model_conf.ctc_weight", 1.0, "ctc_weight: 1.0 is not .* less than 1"),
    ("model_conf.lsm_weight", 1.2, "lsm_weight: 1.2 is not a number from 0"),
    ("model_conf.ctc_task", "asrr", "'asrr' is not one of .* did you mean 'asr'"),
    ("model_conf.schedule", "alternately", "did you mean 'alternate'"),
    ("model_conf.tasks", "asr", "model_conf.tasks: .asr. is not a"),
    ("model_conf.tasks.asr.prompt", "<ko>", "asr: prompt.*not a list|prompt: '<ko>'"),
    ("preprocessor_conf.channel.share", 2, "channel.share: 2 is not a number from 0"),
    ("preprocessor_conf.channel", "nb", "channel: 'nb' is not a section"),
    ("preprocessor_conf.token_type", "bpe", "unknown key 'token_type'"),
    ("preprocessor_conf.data_aug_effects", [[1, "revers", {}]], "no effect 'revers'"),
    ("frontend_conf.n_mels", 0, "frontend_conf.n_mels: 0 is not a whole number"),
    ("frontend_conf.fs", -1, "frontend_conf.fs: -1 is not .* of at least 1"),
    ("frontend_conf.win_length", 1024, "win_length: 1024 is above n_fft 512"),
    ("frontend_conf.n_mels", "many", "frontend_conf.n_mels: 'many' is not a whole"),
    ("specaug_conf.num_freq_mask", "x", "num_freq_mask: 'x' is not a whole number"),
    ("ctc_conf", {"dropout": 0.1}, "ctc_conf: unknown key 'dropout', did you mean"),
    ("optim", "adamww", "optim: 'adamww' is not one of .* did you mean 'adamw'"),
    ("optim_conf.weight_decy", 0.1, "did you mean 'weight_decay'"),
    ("optim_conf.lr", -0.1, "optim_conf.lr: -0.1 is not a number above 0"),
    ("optim_conf.betas", [0.9, 1.5], "optim_conf of 'adamw': Invalid beta parameter"),
    ("optim_conf.betas", 0.9, "optim_conf.betas: 0.9 is not a list of 2"),
    ("scheduler", "warmuplrs", "did you mean 'warmuplr'"),
    ("scheduler_conf.warmup_steps", 100, "100 is not below first_cycle_steps 100"),
    ("scheduler_conf.warmup_step", 1, "did you mean 'warmup_steps'"),
    ("scheduler_conf.min_lr", 1.0, "min_lr: 1.0 is above max_lr 0.002"),
    ("max_epoch", 1.5, "max_epoch: 1.5 is not a whole number"),
    ("max_epoch", None, "max_epoch: None is not a whole number"),
    ("num_workers", True, "num_workers: True is not a whole number"),
    ("max_epoch", 0, "max_epoch: 0 is not a whole number of at least 1"),
    ("accum_grad", "two", "accum_grad: 'two' is not a whole number"),
    ("batch_type", "numels", "batch_type: .* did you mean 'numel'"),
    ("batch_bins", -5, "batch_bins: -5 is not a whole number"),
    ("grad_clip", -1, "grad_clip: -1 is not a number above 0"),
    ("patience", "none yet", "patience: 'none yet' is not a whole number"),
    ("keep_nbest_models", 0, "keep_nbest_models: 0 is not"),
    ("best_model_criterion", "acc", "best_model_criterion: 'acc' is not a list"),
    ("best_model_criterion", [["valid", "acc", "most"]], r"\[0\]\[2\]: 'most' is not"),
    (
        "best_model_criterion",
        [["valid", "acc", "max"], ["valid", "acc_as", "max"]],
        "best_model_criterion: the model reports no 'acc_as' in valid, did you mean "
        "'acc_asr'",
    ),
    (
        "early_stopping_criterion",
        ["train", "cer_asr", "min"],
        "early_stopping_criterion: the model reports no 'cer_asr' in train",
    ),
    ("val_scheduler_criterion", ["valid", "los"], "did you mean 'loss'"),
    ("use_amp", "maybe", "use_amp: 'maybe' is not true or false"),
    ("num_workers", -1, "num_workers: -1 is not a whole number"),
    ("encoder_conf", "small", "encoder_conf: 'small' is not a section"),
]


def options(place: str = "", value: object = None) -> dict:
    """A small training's options, with another value at one place."""
    found = yaml.safe_load(SMALL)
    *parents, key = place.split(".")
    inner = found
    for name in parents:
        inner = inner.setdefault(name, {})
    if key:
        inner[key] = value
    return found


def written(folder: Path, content: dict) -> Path:
    path = folder / "train.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


@pytest.fixture
def train(tmp_path, monkeypatch):
    """A training that builds everything and stops before its first batch."""
    register()
    monkeypatch.setattr(AbsTask, "main", AbsTask.__dict__["main"])  # back afterwards
    monkeypatch.setattr(ASRTask, "build_model", ASRTask.__dict__["build_model"])
    monkeypatch.setattr("logging.basicConfig", lambda **_: None)
    check_before_training()
    tokens = tmp_path / "tokens.txt"
    tokens.write_text("\n".join(TOKENS) + "\n")

    def run(content: dict, *more: str) -> dict:
        path = written(tmp_path, content)
        given = ["--config", str(path), "--dry_run", "true", *more]
        given += ["--output_dir", str(tmp_path / "exp"), "--token_list", str(tokens)]
        ASRTask.main(cmd=given)
        return yaml.safe_load((tmp_path / "exp/config.yaml").read_text())

    return run


@pytest.mark.parametrize(("place", "value", "said"), WRONG)
def test_check_config_and_training_refuse_the_same(tmp_path, train, place, value, said):
    wrong = options(place, value)
    with pytest.raises(ValueError, match=said) as checked:
        check_config.main([str(written(tmp_path, wrong)), "--vocab-size", "20"])
    with pytest.raises(ValueError, match=said) as trained:
        train(wrong)
    assert str(trained.value) == str(checked.value)
    assert "\n" not in str(checked.value)
    assert not (tmp_path / "exp").exists()


def test_numbers_that_yaml_reads_as_text_are_numbers_in_training(train):
    asked = options("optim_conf.lr", "2e-3")
    asked["scheduler_conf"] |= {"min_lr": "1e-5", "first_cycle_steps": "1e2"}
    asked["model_conf"]["lsm_weight"] = "1e-1"
    asked["decoder_conf"]["moe"] |= {"z_weight": "1e-3", "jitter": "1e-2"}
    asked |= {"grad_clip": "5", "max_epoch": "3", "batch_bins": "1e6"}
    asked["frontend_conf"]["fs"] = "16k"
    used = train(asked)
    assert used["optim_conf"]["lr"] == 0.002
    assert used["scheduler_conf"]["min_lr"] == 1e-5
    assert used["scheduler_conf"]["first_cycle_steps"] == 100
    assert used["model_conf"]["lsm_weight"] == 0.1
    assert (used["grad_clip"], used["max_epoch"]) == (5.0, 3)
    assert used["batch_bins"] == 1_000_000 and used["frontend_conf"]["fs"] == "16k"


def test_numbers_of_the_command_line_are_numbers_too(train):
    used = train(
        options(), "--optim_conf", "lr=1e-3", "--model_conf", "lsm_weight=1e-1"
    )
    assert used["optim_conf"]["lr"] == 0.001 and used["model_conf"]["lsm_weight"] == 0.1


def test_a_broken_file_is_refused_before_it_is_read_by_espnet(tmp_path, train):
    for content, said in (("a: [", "not YAML"), ("- a", "found a list")):
        path = tmp_path / "broken.yaml"
        path.write_text(content)
        with pytest.raises(ValueError, match=said):
            ASRTask.main(cmd=["--config", str(path), "--output_dir", str(tmp_path)])


def test_classes_of_espnet_are_held_to_the_same(tmp_path):
    stock = {
        "encoder": "conformer",
        "encoder_conf": {"output_size": "64", "attention_heads": 4},
        "decoder": "transformer",
        "decoder_conf": {"dropout_rate": "1e-1"},
        "model_conf": {"ctc_weight": "3e-1"},
        "optim": "Adam",
        "optim_conf": {"lr": "1e-3"},
        "scheduler": "WarmupLR",
        "scheduler_conf": {"warmup_steps": "25e3"},
    }
    checked = check_training(ASRTask, stock)
    assert checked["encoder_conf"]["output_size"] == 64
    assert checked["decoder_conf"]["dropout_rate"] == 0.1
    assert checked["model_conf"]["ctc_weight"] == 0.3
    assert (checked["optim"], checked["scheduler"]) == ("adam", "warmuplr")
    assert checked["scheduler_conf"]["warmup_steps"] == 25000
    for section, key, value, said in (
        ("encoder_conf", "dropout_rate", 1.5, "dropout_rate: 1.5 is not"),
        ("encoder_conf", "num_blocks", "six", "num_blocks: 'six' is not a whole"),
        ("model_conf", "lsm_weight", 1.2, "lsm_weight: 1.2 is not"),
        ("model_conf", "ctc_weight", -0.1, "ctc_weight: -0.1 is not"),
        ("scheduler_conf", "warmup_steps", 0, "scheduler_conf of 'warmuplr': "),
    ):
        wrong = {**stock, section: {**stock[section], key: value}}
        with pytest.raises(ValueError, match=said):
            check_training(ASRTask, wrong)


def test_heads_that_do_not_divide_are_one_line_for_a_class_of_espnet_too(tmp_path):
    content = {"encoder": "conformer", "encoder_conf": {"attention_heads": 3}}
    content |= {"decoder": "transformer"}
    with pytest.raises(ValueError, match="cannot be built: .*n_feat % n_head == 0"):
        check_config.main([str(written(tmp_path, content)), "--vocab-size", "20"])


def test_espnets_own_model_without_a_decoder_is_refused(tmp_path):
    with pytest.raises(ValueError, match="ctc_weight: 0.5 needs a decoder"):
        check_training(ASRTask, {"encoder": "conformer"})
    check_training(ASRTask, {"encoder": "conformer", "model_conf": {"ctc_weight": 1}})


def test_weights_of_another_vocabulary_say_how_to_go_on(tmp_path, train, monkeypatch):
    import torch
    from espnet2.tasks import abs_task

    load = abs_task.load_pretrained_model
    monkeypatch.setattr(abs_task, "load_pretrained_model", load)  # back afterwards
    train(options())  # from now on with a cure
    torch.save({"weight": torch.zeros(3, 2), "bias": torch.zeros(3)}, tmp_path / "a")
    with pytest.raises(ValueError, match="size mismatch .*--ignore_init_mismatch true"):
        abs_task.load_pretrained_model(
            init_param=str(tmp_path / "a"),
            model=torch.nn.Linear(2, 5),
            ignore_init_mismatch=False,
            map_location="cpu",
        )
    torch.save({f"layer{i}": torch.zeros(1) for i in range(500)}, tmp_path / "a")
    with pytest.raises(ValueError, match="--ignore_init_mismatch true") as error:
        abs_task.load_pretrained_model(
            init_param=str(tmp_path / "a"),
            model=torch.nn.Linear(2, 5),
            ignore_init_mismatch=False,
            map_location="cpu",
        )
    assert len(str(error.value)) < 1000 + len(str(tmp_path))


@pytest.mark.parametrize("other", ["use_deepspeed", "sharded_ddp"])
def test_steps_are_not_promised_where_another_trainer_would_save_none(other):
    register()
    options = yaml.safe_load(SMALL) | {"save_every_steps": 100}
    assert check_training(ASRTask, options)["save_every_steps"] == 100
    with pytest.raises(ValueError, match=f"save_every_steps: .* {other}; leave one"):
        check_training(ASRTask, options | {other: True})


@pytest.mark.parametrize(
    ("task", "chosen", "conf"),
    [
        (ASRTask, {"decoder": "transformer"}, {"fs": 8000}),
        (ASRTask, {"decoder": "transformer", "preprocessor": "smoe"}, {}),
        (S2TTask, {"decoder": "transformer"}, {}),
        (EnhancementTask, {"preprocessor": "enh"}, {}),
    ],
)
def test_effects_know_the_sampling_rate_of_their_preprocessor(task, chosen, conf):
    register()
    conf = conf | {"data_aug_effects": [[1, "reverse", {}]]}
    checked = check_training(task, chosen | {"preprocessor_conf": conf})
    assert checked["preprocessor_conf"] == conf


def test_effects_of_a_preprocessor_without_a_sampling_rate_are_refused():
    conf = {"data_aug_effects": [[1, "reverse", {}]]}
    with pytest.raises(ValueError, match="preprocessor_conf: .* add 'fs: 16000'"):
        check_training(ASRTask, {"preprocessor_conf": conf})
