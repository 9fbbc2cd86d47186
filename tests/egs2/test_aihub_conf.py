"""aihub_koen: the paper's hyper-parameters, what each system changes, run.sh."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from espnet2.samplers.build_batch_sampler import build_batch_sampler
from hypothesis import given
from hypothesis import strategies as st

from espnet_smoe.check_config import build_model, count_parameters
from espnet_smoe.config.yaml_file import read_yaml

RECIPE = Path(__file__).resolve().parents[2] / "egs2" / "aihub_koen" / "smoe1"
TUNING = RECIPE / "conf" / "tuning"
SYSTEMS = sorted(path.stem.removeprefix("train_") for path in TUNING.glob("*.yaml"))
BASE = 107_087_936

sys.path.insert(0, str(RECIPE / "local"))
import schedule  # noqa: E402

FINE_TUNING = {
    "max_epoch",
    "scheduler_conf.first_cycle_steps",
    "scheduler_conf.max_lr",
    "scheduler_conf.warmup_steps",
}
DIFFERENCES = {
    ("base", "decffnx2"): {"decoder_conf.linear_units"},
    ("base", "decsmoe"): {"decoder_conf.moe"},
    ("base", "base_nbwb"): FINE_TUNING,
    ("base_nbwb", "encdecsmoe"): {"encoder_conf.moe", "decoder_conf.moe"},
    ("decsmoe", "encdecsmoe"): {"encoder_conf.moe"} | FINE_TUNING,
    ("decsmoe", "decsmoe_joint"): {"model_conf.schedule"},
    ("decsmoe", "decsmoe_topk"): {"decoder_conf.moe"},
    ("decsmoe", "decsmoe_dlg"): {"decoder_conf.moe"},
    ("encdecsmoe", "encdecsmoe_bandwidth_embedding"): {"encoder_conf.moe"},
}


def config(system: str) -> dict:
    """Keys and values, those of a section as ``section.key``."""
    flat = {}
    for key, value in read_yaml(TUNING / f"train_{system}.yaml").items():
        if isinstance(value, dict) and key.endswith("_conf"):
            flat |= {f"{key}.{name}": inner for name, inner in value.items()}
        else:
            flat[key] = value
    return flat


# -- configurations -----------------------------------------------------------------


@pytest.mark.parametrize(("one", "other"), DIFFERENCES)
def test_a_pair_differs_in_what_it_is_named_after(one, other):
    a, b = config(one), config(other)
    differ = {key for key in a | b if a.get(key) != b.get(key)}
    assert differ == DIFFERENCES[one, other]


def test_every_system_has_its_pair():
    assert {name for pair in DIFFERENCES for name in pair} == set(SYSTEMS)


@pytest.mark.parametrize(
    ("system", "total", "routers"),
    [  # the router of a layer has D x E weights, and E a label it sees
        ("decsmoe_topk", 119_686_208, 6 * 512 * 2),
        ("decsmoe_dlg", 119_686_208 + 6 * 6 * 2_099_712, 6 * 512 * 8),
        ("encdecsmoe_bandwidth_embedding", 144_882_752, 12 * (512 * 2 + 2 * 2)),
    ],
)
def test_a_learned_router_adds_routers_to_the_papers_experts(system, total, routers):
    model = build_model(TUNING / f"train_{system}.yaml", vocab_size=40000)
    assert count_parameters(model)["total"] == total + routers


def test_the_default_is_the_papers_first_step():
    assert (RECIPE / "conf/train.yaml").resolve() == TUNING / "train_decsmoe.yaml"


@pytest.mark.parametrize("name", ["smoe.sh", "run_job", "path.sh"])
def test_the_recipe_shares_the_template(name):
    assert (RECIPE / name).resolve() == RECIPE.parents[1] / "TEMPLATE/smoe1" / name


def test_deepspeed_trains_as_the_configuration_says():
    """ESPnet's DeepSpeed trainer takes everything below from the JSON file alone."""
    deepspeed = json.loads((RECIPE / "conf/deepspeed_zero1.json").read_text())
    options = read_yaml(RECIPE / "conf/train.yaml")
    a_gpu = options["batch_size"] / 8
    assert deepspeed["train_micro_batch_size_per_gpu"] == a_gpu
    assert deepspeed["gradient_accumulation_steps"] == options["accum_grad"]
    # its loss is smaller by the utterances a GPU: so are gradients, limit and epsilon
    assert deepspeed["gradient_clipping"] * a_gpu == options["grad_clip"]
    optimizer = deepspeed["optimizer"]
    assert optimizer["type"].lower() == options["optim"]
    assert optimizer["params"].pop("eps") * a_gpu == pytest.approx(1e-8)
    assert optimizer["params"].pop("torch_adam")
    assert optimizer["params"] == options["optim_conf"]
    cosine, scheduler = deepspeed["scheduler"]["params"], options["scheduler_conf"]
    assert cosine["total_num_steps"] == scheduler["first_cycle_steps"]
    assert cosine["warmup_num_steps"] == scheduler["warmup_steps"]
    assert optimizer["params"]["lr"] == scheduler["max_lr"]
    for ratio in ("warmup_min_ratio", "cos_min_ratio"):
        assert cosine[ratio] * scheduler["max_lr"] == pytest.approx(scheduler["min_lr"])
    # a section bf16, fp16 or amp would make ESPnet round the waveform itself
    assert not {"bf16", "fp16", "amp"} & set(deepspeed)


# -- local/schedule.py --------------------------------------------------------------


def test_the_cosine_of_the_configurations_is_that_of_40000_hours():
    utterances = 40_000 * 3600 // 5
    for system, share in (("decsmoe", 100), ("encdecsmoe", 15)):
        options = read_yaml(TUNING / f"train_{system}.yaml")
        steps = schedule.updates(utterances * share // 100, options)
        assert steps == options["scheduler_conf"]["first_cycle_steps"]
        warmup = options["scheduler_conf"]["warmup_steps"]
        assert warmup == pytest.approx(schedule.WARMUP * steps, rel=0.01)


@given(st.integers(3200, 10**7), st.integers(1, 12))
def test_updates_are_as_many_as_espnets_trainer_makes(utterances, epochs):
    options = {"batch_size": 200, "accum_grad": 16, "max_epoch": epochs}
    minibatches = utterances // 200  # the rest is shared out, see below
    steps = sum(i % 16 == 0 for i in range(1, minibatches + 1))
    assert schedule.updates(utterances, options) == steps * epochs


@pytest.fixture
def data(tmp_path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "wav.scp").write_text("utt file.wav\n" * 64_000)
    return folder


@pytest.mark.parametrize("kind", ["sorted", "unsorted", "numel", "length", "folded"])
def test_minibatches_are_counted_as_espnets_samplers_make_them(tmp_path, kind):
    folder = tmp_path / "train"
    folder.mkdir()
    lengths = {f"utt{i:03}": 1000 + 37 * i % 900 for i in range(107)}
    for name, scale in (("speech_shape", 100), ("text_shape", 1)):
        lines = [f"{utt} {length * scale}" for utt, length in lengths.items()]
        (folder / name).write_text("\n".join(lines) + "\n")
    (tmp_path / "wav.scp").write_text("".join(f"{utt} x.wav\n" for utt in lengths))
    options = {"batch_type": kind, "batch_size": 10, "batch_bins": 1_000_000}
    options |= {"accum_grad": 3, "max_epoch": 2}
    sampler = build_batch_sampler(
        type=kind,
        batch_size=10,
        batch_bins=1_000_000,
        shape_files=[str(folder / name) for name in ("speech_shape", "text_shape")],
        fold_lengths=[80000, 150],
    )
    steps = len(list(sampler)) // 3 * 2
    assert steps > 4 and schedule.count_updates(options, tmp_path, tmp_path) == steps


def test_options_of_the_training_count(data, capsys):
    words = ["--max_epoch", "3", "--seed", "2", "--accum_grad", "32"]
    schedule.main([str(RECIPE / "conf/train.yaml"), str(data), "--", *words])
    assert "first_cycle_steps=30 " in capsys.readouterr().out


def test_a_training_that_goes_on_keeps_its_cosine(data, tmp_path, capsys):
    words = [str(RECIPE / "conf/train.yaml"), str(data), "--exp", str(tmp_path)]
    longer = ["--", "--max_epoch", "20"]
    record = {"scheduler_conf.first_cycle_steps": 7, "scheduler_conf.warmup_steps": 1}
    (tmp_path / "provenance.json").write_text(json.dumps({"config": record}))
    schedule.main([*words, *longer])
    assert "first_cycle_steps=400 " in capsys.readouterr().out  # nothing was trained
    (tmp_path / "checkpoint.pth").touch()
    schedule.main([*words, *longer])
    told = capsys.readouterr()
    assert told.out.split()[1::2] == ["first_cycle_steps=7", "warmup_steps=1"]
    assert "keeps its cosine of 7 updates" in told.err


def test_the_options_of_the_schedule_can_be_passed_on(data, capsys):
    schedule.main([str(RECIPE / "conf/train.yaml"), str(data)])
    assert capsys.readouterr().out == (
        "--scheduler_conf first_cycle_steps=200 --scheduler_conf warmup_steps=10\n"
    )


def test_too_little_data_for_one_update_is_said(data):
    (data / "wav.scp").write_text("utt file.wav\n" * 1000)
    with pytest.raises(ValueError, match="1000 utterances are 5 minibatches of 200"):
        schedule.main([str(RECIPE / "conf/train.yaml"), str(data)])


def test_data_that_is_not_there_names_its_stage(tmp_path):
    with pytest.raises(ValueError, match="wav.scp does not exist .stage 4"):
        schedule.main([str(RECIPE / "conf/train.yaml"), str(tmp_path)])


def test_another_schedule_is_left_alone(data, tmp_path, capsys):
    (tmp_path / "own.yaml").write_text("scheduler: warmuplr\n")
    schedule.main([str(tmp_path / "own.yaml"), str(data)])
    assert capsys.readouterr().out == ""


# -- run.sh -------------------------------------------------------------------------


@pytest.fixture
def recipe(tmp_path) -> Path:
    """The recipe after stage 10, with a Python that notes what it trains."""
    folder = tmp_path / "egs2/aihub_koen/smoe1"
    folder.mkdir(parents=True)
    for name in ("run.sh", "smoe.sh", "run_job", "path.sh", "cmd.sh", "local", "conf"):
        (folder / name).symlink_to(RECIPE / name)
    (folder / "note").write_text(
        "#!/usr/bin/env bash\n"
        f'[ "$1" != local/schedule.py ] || exec {sys.executable} "$@"\n'
        '[[ "$*" != *task_table* ]] || { echo text text_st; exit; }\n'
        'echo "$@" >>calls\n'
    )
    (folder / "note").chmod(0o755)
    for name in ("tokens.txt", "bpe.json"):
        write(folder / "data/token_list/bbpe40000" / name)
    write(folder / "data/test_male/wav.scp")
    return folder


def write(path: Path, text: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ([], "train"),
        (["--speed_perturb_factors", "0.9 1.0 1.1"], "train_sp"),
        (["--on_nbwb", "true"], "train_nbwb"),
    ],
)
def test_training_has_the_cosine_of_its_data_before_the_users_options(
    recipe, options, name
):
    write(recipe / "dump/raw" / name / "wav.scp", "utt file.wav\n" * 64_000)
    stats = recipe / f"exp/stats_{name}_bbpe40000"
    write(stats / "train/feats_stats.npz")
    write(stats / "valid/speech_shape")
    user = ["--asr_args", "--max_epoch 3", "--stage", "11", "--stop_stage", "11"]
    subprocess.run(
        ["./run.sh", "--python", "./note", *options, *user], cwd=recipe, check=True
    )
    training = (recipe / "calls").read_text().splitlines()[0]
    assert training.endswith(
        "--scheduler_conf first_cycle_steps=60 --scheduler_conf warmup_steps=3 "
        "--max_epoch 3"
    )


def test_every_test_set_of_stage_1_is_decoded_in_every_condition(recipe):
    write(recipe / "data/eval_clean/wav.scp")
    write(recipe / "exp/x/config.yaml")
    write(recipe / "exp/x/valid.acc.ave.pth")
    sets = [f"{name}{e}" for name in ("test_male", "eval_clean") for e in ("", "_nbwb")]
    for name in sets:
        write(recipe / f"dump/raw/{name}/wav.scp")
    options = ["--asr_tag", "x", "--stage", "12", "--stop_stage", "12"]
    subprocess.run(["./run.sh", "--python", "./note", *options], cwd=recipe, check=True)
    (line,) = (recipe / "calls").read_text().splitlines()
    decoded = line.split("--data ")[1].split(" --out")[0]
    assert decoded.split() == [f"dump/raw/{name}" for name in sets]
