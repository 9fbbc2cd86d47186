"""Several processes, by --train_nj and by Slurm: what is run, and that it trains.

A sbatch and a srun on PATH stand in for Slurm: they note their arguments, and run the
command once for each node, with the variables that Slurm sets.
"""

import contextlib
import json
import os
import signal
import subprocess
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from espnet2.tasks.asr import ASRTask
from espnet2.train.distributed_utils import (
    get_node_rank,
    get_num_nodes,
    resolve_distributed_mode,
)

from espnet_smoe import register
from espnet_smoe.data.text.tokens import train_tokens
from tests.warm_python import environment

ROOT = Path(__file__).resolve().parents[2]
RECIPE = ROOT / "egs2" / "aihub_koen" / "smoe1"
SBATCH = """\
echo "$@" >>sbatch_calls
[[ "$*" == *--nodes=1* || "$*" == *--ntasks-per-node=1* ]] || exit 1
while [ $# -gt 1 ]; do
    case $1 in
        --nodes=*) export NODES=${1#*=} ;;
        --cpus-per-task) export SLURM_CPUS_PER_TASK=$2 ;;
    esac
    shift
done
bash "$1" || true
"""
SRUN = """\
[ "$1" = --export=ALL ] || exit 1
shift
echo "$SRUN_CPUS_PER_TASK" >srun_cpus
export SLURM_NTASKS=$NODES SLURM_STEP_NUM_NODES=$NODES SLURM_STEP_NODELIST=node[1-2]
export SLURM_LOCALID=0
SLURM_NODEID=0 SLURM_PROCID=0 "$@" &
SLURM_NODEID=1 SLURM_PROCID=1 "$@"
there=$?
wait $! && exit $there
"""
CONFIG = """
model: smoe
model_conf: {schedule: alternate, ctc_weight: 0.0}
preprocessor: smoe
frontend_conf: {n_fft: 512, win_length: 400, hop_length: 160, n_mels: 10}
encoder: smoe_transformer
encoder_conf:
  {input_layer: conv1d_glu, subsampling_channels: 16, output_size: 8,
   attention_heads: 2, linear_units: 16, num_blocks: 1, moe: {gate: label},
   dropout_rate: 0.0, positional_dropout_rate: 0.0}
decoder: smoe_transformer
decoder_conf:
  {attention_heads: 2, linear_units: 16, num_blocks: 1, moe: {gate: label},
   dropout_rate: 0.0, positional_dropout_rate: 0.0}
optim: sgd
optim_conf: {lr: 0.1}
batch_type: unsorted
batch_size: 4
accum_grad: 2
max_epoch: 2
unused_parameters: true
best_model_criterion: [[valid, loss, min]]
num_workers: 0
num_att_plot: 0
use_matplotlib: false
use_tensorboard: false
"""
SENTENCES = ["물 을 마셔요", "문 을 열어요", "책 을 읽어요", "저는 학교 에 가요"]
TRANSLATIONS = ["i drink water", "<na>", "i read a book", "i go to school"]


def executable(path: Path, body: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/usr/bin/env bash\n{body}", encoding="utf-8")
    path.chmod(0o755)


def make_recipe(folder: Path) -> Path:
    """The recipe's scripts and configurations, with a stand-in for Slurm."""
    folder.mkdir(parents=True)
    for name in ("smoe.sh", "run_job"):
        (folder / name).symlink_to(RECIPE / name)
    (folder / "conf").symlink_to(RECIPE / "conf")
    (folder / "path.sh").write_text("")
    (folder / "cmd.sh").symlink_to(RECIPE / "cmd.sh")
    executable(folder / "bin/sbatch", SBATCH)
    executable(folder / "bin/srun", SRUN)
    return folder


def make_corpus(folder: Path, utterances: int = 24) -> None:
    """What stages 1 to 10 leave: noise of 0.3 s an utterance."""
    tokens, stats = (
        folder / "data/token_list/bbpe300",
        folder / "exp/stats_train_bbpe300",
    )
    noise = np.random.default_rng(0)
    lines: dict[str, list[str]] = {}
    for i in range(utterances):
        wav = folder / f"{i}.wav"
        soundfile.write(wav, 0.1 * noise.standard_normal(4800), 16000)
        values = {
            "wav.scp": wav,
            "text": SENTENCES[i % 4],
            "text_st": TRANSLATIONS[i % 4],
            "utt2bandwidth": ("wb", "nb")[i % 3 == 0],
            "speech_shape": 4800,
            "text_shape": 5,
        }
        for name, value in values.items():
            lines.setdefault(name, []).append(f"utt{i:02} {value}\n")
    for part, name in (("train", "train"), ("valid", "dev")):
        for directory in (folder / "dump/raw" / name, stats / part):
            directory.mkdir(parents=True)
            for file, content in lines.items():
                (directory / file).write_text("".join(content), encoding="utf-8")
    np.savez(
        stats / "train/feats_stats.npz",
        **{"count": 1000, "sum": np.zeros(10), "sum_square": np.full(10, 1e4)},
    )
    train_tokens([*SENTENCES, *TRANSLATIONS], 300, tokens)


def train(folder: Path, tag: str, backend: str, *options: str) -> subprocess.Popen:
    """Stage 11 of smoe.sh."""
    env = environment(cmd_backend=backend)
    env["PATH"] = f"{folder / 'bin'}{os.pathsep}{env['PATH']}"
    words = ["./smoe.sh", "--stage", "11", "--stop_stage", "11", "--nbpe", "300"]
    return subprocess.Popen(
        [*words, "--asr_tag", tag, *options],
        cwd=folder,
        env=env,
        start_new_session=True,  # so that `kill` reaches what it starts
    )


def kill(run: subprocess.Popen) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(run.pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> dict[str, dict[str, torch.Tensor]]:
    """The weights after the same training by one process, by two, and on two nodes."""
    folder = make_recipe(tmp_path_factory.mktemp("launch") / "recipe")
    make_corpus(folder)
    (folder / "tiny.yaml").write_text(CONFIG, encoding="utf-8")
    tiny = ["--asr_config", "tiny.yaml"]
    runs = {
        "one": train(folder, "one", "local", *tiny),
        "two": train(folder, "two", "local", *tiny, "--train_nj", "2"),
        "slurm": train(folder, "slurm", "slurm", *tiny, "--num_nodes", "2"),
    }
    try:
        for tag, run in runs.items():
            log = folder / "exp" / tag / "train.log"
            assert run.wait(180) == 0, log.read_text()[-3000:]
    finally:
        for run in runs.values():
            kill(run)
    for tag in runs:
        size = json.loads((folder / "exp" / tag / "params.json").read_text())
        assert size["active"] < size["total"]
        assert (folder / "exp" / tag / "lengths.json").is_file()
    for tag in ("two", "slurm"):
        assert ":0/2]" in (folder / "exp" / tag / "train.log").read_text()
    return {tag: torch.load(folder / "exp" / tag / "2epoch.pth") for tag in runs}


@pytest.mark.parametrize("launcher", ["two", "slurm"])
def test_two_processes_learn_what_one_learns(trained, launcher):
    one, two = trained["one"], trained[launcher]
    assert one.keys() == two.keys()
    for key, weight in one.items():
        torch.testing.assert_close(
            *(two[key], weight), atol=1e-5, rtol=1e-4, msg=lambda m: f"{key}: {m}"
        )


@pytest.fixture
def dry(tmp_path, monkeypatch) -> Path:
    """A recipe after stage 10 whose interpreter only notes where it is called."""
    folder = make_recipe(tmp_path / "recipe")
    for name in (
        *("data/token_list/bbpe300/tokens.txt", "data/token_list/bbpe300/bpe.json"),
        "exp/stats_train_bbpe300/train/feats_stats.npz",
        "exp/stats_train_bbpe300/valid/speech_shape",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    note = 'printf "%s\\n" "$@" >"calls.${SLURM_PROCID:-after}"\n'
    executable(folder / "note", note)
    monkeypatch.chdir(folder)
    return folder


def on_node(rank: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Namespace:
    """What ESPnet makes of the command that a node was given."""
    words = (folder / f"calls.{rank}").read_text().splitlines()
    assert words[:4] == ["-m", "espnet_smoe", "-m", "espnet2.bin.asr_train"]
    register()
    args = ASRTask.get_parser().parse_args(words[4:])
    for name, value in {
        **{"NTASKS": 2, "STEP_NUM_NODES": 2, "STEP_NODELIST": "node[1-2]"},
        **{"NODEID": rank, "PROCID": rank, "LOCALID": 0},
    }.items():
        monkeypatch.setenv(f"SLURM_{name}", str(value))
    resolve_distributed_mode(args)
    return args


def test_two_nodes_of_eight_gpus_are_sixteen_processes(dry, monkeypatch):
    options = ["--ngpu", "8", "--num_nodes", "2", "--python", "./note"]
    assert train(dry, "x", "slurm", *options).wait(30) == 0
    submitted = (dry / "sbatch_calls").read_text().splitlines()[0].split()
    for option in ("--wait", "--nodes=2", "--ntasks-per-node=1", "--gres=gpu:8"):
        assert option in submitted
    nodes = [on_node(rank, dry, monkeypatch) for rank in range(2)]
    for rank, args in enumerate(nodes):
        assert args.distributed and args.multiprocessing_distributed
        assert (args.ngpu, args.dist_backend) == (8, "nccl")
        monkeypatch.setenv("SLURM_NODEID", str(rank))
        assert get_node_rank(args.dist_rank, args.dist_launcher) == rank
        assert get_num_nodes(args.dist_world_size, args.dist_launcher) == len(nodes)
    meet = {args.dist_init_method for args in nodes}
    assert len(meet) == 1 and meet.pop().startswith(f"file://{dry.resolve()}/exp/x/")


def test_cpus_of_a_task_reach_srun(dry):
    """srun does not take them from sbatch."""
    options = ["--ngpu", "8", "--num_nodes", "2", "--python", "./note"]
    assert train(dry, "x", "slurm", *options).wait(30) == 0
    assert (dry / "srun_cpus").read_text() == "40\n"


def test_deepspeed_is_an_option_of_training(dry, monkeypatch):
    config = "conf/deepspeed_zero1.json"
    deepspeed = f"--use_deepspeed true --deepspeed_config {config}"
    options = ["--ngpu", "8", "--num_nodes", "2", "--python", "./note"]
    options += ["--asr_args", deepspeed]
    assert train(dry, "x", "slurm", *options).wait(30) == 0
    args = on_node(0, dry, monkeypatch)
    assert args.use_deepspeed and args.deepspeed_config == config
    assert Path(config).is_file()
    # ESPnet asks for both before it hands the training to DeepSpeed
    assert args.distributed and not args.sharded_ddp
