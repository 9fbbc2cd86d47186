"""A third task, of a YAML file alone: prepared, trained, decoded, scored, compared."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import soundfile

from espnet_smoe.data.data_dir import write_table
from tests.tiny import talk
from tests.warm_python import environment

ROOT = Path(__file__).parents[2]
CONFIG = """
model: smoe
model_conf:
  tasks:
    asr: {target: text, prompt: ["<transcribe>", "<ko>"]}
    st: {target: text_st, prompt: ["<translate>", "<en>"]}
    ja: {target: text_ja, prompt: ["<interpret>", "<ja>"], metrics: [cer, chrf]}
  ctc_weight: 0.3
preprocessor: smoe
frontend_conf: {n_fft: 512, win_length: 400, hop_length: 160, n_mels: 10}
normalize: utterance_mvn
encoder: smoe_transformer
encoder_conf:
  {input_layer: conv1d_glu, subsampling_channels: 16, output_size: 16,
   attention_heads: 2, linear_units: 16, num_blocks: 1, moe: {gate: label}}
decoder: smoe_transformer
decoder_conf:
  attention_heads: 2
  linear_units: 16
  num_blocks: 1
  moe: {gate: label, labels: ["<transcribe>", "<translate>", "<interpret>"]}
optim: adam
batch_type: unsorted
batch_size: 4
max_epoch: 1
best_model_criterion: [[valid, loss, min]]
num_workers: 0
num_att_plot: 0
use_matplotlib: false
use_tensorboard: false
"""
TEXTS = {
    "text": ["물 을 마셔요", "문 을 열어요", "책 을 읽어요"],
    "text_st": ["i drink water", "<na>", "i read a book"],
    "text_ja": ["水 を 飲みます", "窓 を 開けます", "<na>"],
}


def run(folder: Path, *words: object) -> str:
    """What a module of the package prints."""
    command = ["python3", "-m", *map(str, words)]
    pipes = {"env": environment(), "capture_output": True, "text": True}
    done = subprocess.run(command, cwd=folder, **pipes)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    return done.stdout


def prepared(folder: Path, name: str, count: int) -> Path:
    """A data directory of three tasks as the stages 1, 3 and 4 leave it."""
    data, org = folder / "data" / name, folder / "dump/org" / name
    names = [f"{name}{i}" for i in range(count)]
    data.mkdir(parents=True)
    for i, utt in enumerate(names):
        soundfile.write(data / f"{utt}.wav", talk(0.6, seed=i), 16000)
    write_table(data / "wav.scp", {u: data / f"{u}.wav" for u in names})
    write_table(data / "utt2bandwidth", {u: "wb" for u in names})
    for target, texts in TEXTS.items():
        write_table(data / target, {u: texts[i % 3] for i, u in enumerate(names)})
    tools = "espnet_smoe.data"
    run(folder, f"{tools}.prepare", "--in", data, "--out", org, "--tasks", "train.yaml")
    run(folder, f"{tools}.filter", "--in", org, "--out", folder / "dump" / name)
    return folder / "dump" / name


def data_options(part: str, directory: Path, targets: list[str]) -> list[str]:
    fields = ["wav.scp,speech,sound", "utt2bandwidth,bandwidth,text"]
    fields += [f"{target},{target},text" for target in targets]
    option = f"--{part}_data_path_and_name_and_type"
    return [word for field in fields for word in (option, f"{directory}/{field}")]


@pytest.fixture(scope="module")
def recipe(tmp_path_factory) -> Path:
    """A model of three tasks: trained, decoded and scored."""
    folder = tmp_path_factory.mktemp("third")
    (folder / "train.yaml").write_text(CONFIG, encoding="utf-8")
    (folder / "decode.yaml").write_text("beam_size: 2\nmaxlenratio: -5\n")
    train, test = prepared(folder, "train", 12), prepared(folder, "test", 6)
    show = "espnet_smoe.data.task_table", "train.yaml", "--show"
    targets = run(folder, *show, "targets").split()
    run(
        *(folder, "espnet_smoe.data.text.tokens", "--size", "310", "--out", "tokens"),
        *("--tasks", "train.yaml", "--text", *(train / name for name in targets)),
    )
    run(
        *(folder, "espnet_smoe", "-m", "espnet2.bin.asr_train"),
        *("--config", "train.yaml", "--use_preprocessor", "true"),
        *("--allow_variable_data_keys", "true", "--token_type", "bpe"),
        *("--bpemodel", "tokens/bpe.json", "--token_list", "tokens/tokens.txt"),
        *data_options("train", train, targets),
        *data_options("valid", test, targets),
        *("--train_shape_file", train / "utt2num_samples"),
        *("--valid_shape_file", test / "utt2num_samples"),
        *("--output_dir", "exp/one"),
    )
    out = folder / "exp/one/decode_default/test"
    run(
        *(folder, "espnet_smoe.inference.decode", "--data", test, "--out", out),
        *("--train-config", "exp/one/config.yaml"),
        *("--model-file", "exp/one/1epoch.pth", "--config", "decode.yaml"),
    )
    run(folder, "espnet_smoe", "score", "--data", test, "--hyp", out)
    return folder


def test_a_third_task_is_decoded_and_its_table_kept(recipe):
    out = recipe / "exp/one/decode_default/test"
    assert len((out / "hyp.ja").read_text().splitlines()) == 6
    table = json.loads((out / "decode.json").read_text())["task_table"]
    assert table["ja"] == {
        "target": "text_ja",
        "prompt": ["<interpret>", "<ja>"],
        "metrics": ["cer", "chrf"],
        "language": "ja",
        "spoken": "",
    }


def test_a_third_task_is_scored_by_its_metrics(recipe):
    out = recipe / "exp/one/decode_default/test"
    scores = json.loads((out / "scores.json").read_text())
    assert list(scores) == ["asr", "st", "ja"]
    assert {metric: s["n"] for metric, s in scores["ja"]["all"].items()} == {
        "cer": 4,  # two of six have no Japanese
        "chrf": 4,
    }


def test_three_tasks_of_two_systems_are_compared(recipe):
    shutil.copytree(recipe / "exp/one", recipe / "exp/two")
    hyp = recipe / "exp/two/decode_default/test/hyp.ja"
    names = [line.split()[0] for line in hyp.read_text().splitlines()]
    write_table(hyp, {name: "水 を 飲みます" for name in names})
    told = run(
        *(recipe, "espnet_smoe", "compare", "exp/one", "exp/two"),
        *("--data", recipe / "dump/test", "--test-set", "test"),
    )
    for part in ("asr", "st", "ja", "CER %", "BLEU", "chrF"):
        assert part in told


def test_a_packed_model_of_three_tasks_transcribes(recipe):
    run(
        *(recipe, "espnet_smoe", "pack", "exp/one"),
        *("--checkpoint", "1epoch.pth", "--out", "one.zip"),
    )
    wav = recipe / "data/test/test0.wav"
    options = "--beam-size", "2", "--keep-silence", "--format", "json"
    for tasks, names in (([], {"asr", "st", "ja"}), (["--tasks", "ja"], {"ja"})):
        words = "transcribe", "--model", "one.zip", *options, *tasks, wav
        found = json.loads(run(recipe, "espnet_smoe", *words))
        assert set(found["confidence"]) == names <= set(found)


def test_what_the_experts_do_is_told_of_three_tasks(recipe):
    told = run(
        *(recipe, "espnet_smoe", "experts", "exp/one", "--model", "1epoch.pth"),
        *("--data", recipe / "dump/test", "--limit", "2"),
    )
    assert "ja" in told
