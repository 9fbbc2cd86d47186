"""Made the files beside it, once, with version 0.1.0 before its modules moved.

Not to be run again: the files are worth something because older code wrote them. The
recipes' own drivers trained each model on four sounds until it knew them by heart.

    python3 tests/old_files/make.py    # in the root of that version's checkout
"""

import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import numpy as np
import soundfile
import torch

from espnet_smoe.cli import main

ROOT = Path(__file__).resolve().parents[2]
OUT = Path(__file__).resolve().parent
RATE = 16000
LAUNCH = [sys.executable, *"-m espnet_smoe -m espnet2.bin.asr_train".split()]
SYLLABLES = {  # Hz of two formants
    **{"가": (800, 1200), "너": (550, 950), "도": (420, 800), "루": (330, 700)},
    **{"미": (300, 2300), "새": (600, 1900)},
}
DATA = {  # utterance: sounds, transcript, translation, pinyin's characters, bandwidth
    "u1": ("가너도미", "가너 도미", "one two", "你好", "wb"),
    "u2": ("루미새가", "루미 새가", "three", "谢谢 你", "wb"),
    "u3": ("도가새너", "도가 새너", "two one", "再见", "nb"),
    "u4": ("미루너새", "미루 너새", "<na>", "早上 好", "nb"),
}
COMMON = """
frontend: default
frontend_conf: {fs: 16k, n_fft: 512, win_length: 400, hop_length: 160, n_mels: 20}
optim: adamw
optim_conf: {lr: 0.01, weight_decay: 0.01, betas: [0.9, 0.98]}
scheduler: cosineannealingwarmuprestarts
scheduler_conf: {first_cycle_steps: 250, max_lr: 0.01, min_lr: 0.001, warmup_steps: 20}
max_epoch: 2
num_iters_per_epoch: 100
grad_clip: 5
seed: 1
batch_type: unsorted
batch_size: 4
num_workers: 1
num_att_plot: 0
use_matplotlib: false
use_tensorboard: false
log_interval: 50
keep_nbest_models: 2
"""
SIZE = "attention_heads: 2, linear_units: 16, dropout_rate: 0.0"
NO_DROPOUT = "positional_dropout_rate: 0.0"
SMOE = f"""
model: smoe
model_conf:
  tasks:
    asr: {{target: text, prompt: ["<transcribe>", "<ko>"]}}
    st: {{target: text_st, prompt: ["<translate>", "<en>"]}}
  schedule: joint
  ctc_weight: 0.3
  ctc_task: asr
preprocessor: smoe
encoder: smoe_transformer
encoder_conf:
  {{{SIZE}, {NO_DROPOUT}, output_size: 8, num_blocks: 2, input_layer: conv1d_glu,
   subsampling_channels: 16, moe: {{gate: label, labels: ["<wb>", "<nb>"]}}}}
decoder: smoe_transformer
decoder_conf:
  {{{SIZE}, {NO_DROPOUT}, num_blocks: 1,
   moe: {{gate: label, labels: ["<translate>", "<transcribe>"]}}}}
best_model_criterion: [[valid, acc, max]]
"""
U2PP = f"""
model: u2pp
model_conf: {{ctc_weight: 0.3, reverse_weight: 0.3, report_wer: false}}
encoder: u2pp_conformer
encoder_conf:
  {{{SIZE}, {NO_DROPOUT}, output_size: 8, num_blocks: 1, input_layer: conv2d,
   cnn_module_kernel: 7, use_dynamic_chunk: true,
   moe: {{gate: topk, num_experts: 3, top_k: 2}}}}
decoder: u2pp_transformer
decoder_conf:
  {{{SIZE}, {NO_DROPOUT}, num_blocks: 1, r_num_blocks: 1,
   moe: {{gate: topk, num_experts: 3, top_k: 2}}}}
best_model_criterion: [[valid, acc, max]]
"""
SPEECH_MOE = f"""
model: speech_moe
model_conf: {{embedding_ctc_weight: 0.01}}
token_type: word
preencoder: stacked_deltas
preencoder_conf: {{input_size: 20, stack: 4}}
encoder: speech_moe
encoder_conf:
  {{{SIZE}, output_size: 8, num_blocks: 2, attention_every: 2,
   moe: {{gate: shared_embedding, num_experts: 3, sparsity_weight: 0.1,
         importance_weight: 0.1}},
   embedding: {{num_blocks: 1}}}}
best_model_criterion: [[valid, loss_ctc, min]]
"""
STOCK = f"""
encoder: smoe_transformer
encoder_conf:
  {{{SIZE}, {NO_DROPOUT}, output_size: 8, num_blocks: 2, input_layer: conv1d_glu,
   subsampling_channels: 16,
   moe: {{gate: topk, num_experts: 3, top_k: 2, balance_weight: 0.01}}}}
decoder: transformer
decoder_conf: {{{SIZE}, {NO_DROPOUT}, num_blocks: 1}}
model_conf: {{ctc_weight: 0.3, report_cer: false, report_wer: false}}
best_model_criterion: [[valid, acc, max]]
"""


def sound(syllables: str, narrow: bool) -> np.ndarray:
    """Harmonics of 120 Hz under the formants of each syllable, 0.2 s each."""
    time = np.arange(RATE // 5) / RATE
    fade = np.minimum(1, np.minimum(time, time[::-1]) / 0.03)
    parts = [np.zeros(RATE // 10)]
    for syllable in syllables:
        wave = np.zeros_like(time)
        for frequency in np.arange(120, 3800 if narrow else 7000, 120):
            near = [
                np.exp(-(((frequency - f) / 250) ** 2)) for f in SYLLABLES[syllable]
            ]
            level = sum(near) + 0.02
            wave += level * np.sin(2 * np.pi * frequency * time + frequency)
        parts.append(0.05 * fade * wave)
    return np.concatenate([*parts, parts[0]])


def write(name: str, content: object) -> None:
    """Write JSON beside this file."""
    text = json.dumps(content, indent=1, ensure_ascii=False)
    (OUT / name).write_text(f"{text}\n", encoding="utf-8")


def write_data(recipe: Path, text: int) -> None:
    """One data directory, which is the training, validation and test set."""
    lines: dict[str, list[str]] = {}
    (recipe / "data/wav").mkdir(parents=True)
    for name, values in DATA.items():
        wav = recipe / f"data/wav/{name}.flac"
        wave = sound(values[0], values[4] == "nb")
        soundfile.write(wav, wave, RATE, subtype="PCM_16")
        files = {"wav.scp": f"data/wav/{wav.name}", "utt2spk": name}
        files["text"] = values[text]
        if text == 1:
            files |= {"text_st": values[2], "utt2bandwidth": values[4]}
        for file, value in files.items():
            lines.setdefault(file, []).append(f"{name} {value}\n")
    for part in ("train", "dev", "test"):
        (recipe / "data" / part).mkdir()
        for file, content in lines.items():
            (recipe / "data" / part / file).write_text("".join(content), "utf-8")


def run(folder: Path, *command: str) -> None:
    """Run a command in a recipe's folder."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = os.environ | {"PATH": path, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    subprocess.run(command, cwd=folder, env=env, check=True)


def train(egs2: Path) -> None:
    """Run the drivers, and the training of ESPnet's own model."""
    smoe, u2pp = egs2 / "mini_koen/smoe1", egs2 / "mini_cmn/u2pp1"
    ctc = egs2 / "mini_cmn/ctc1"
    for recipe, text, config in (
        (smoe, 1, SMOE),
        (u2pp, 1, U2PP),
        (ctc, 3, SPEECH_MOE),
    ):
        (recipe / "conf/train.yaml").unlink()  # it may be a link
        (recipe / "conf/train.yaml").write_text(config + COMMON, encoding="utf-8")
        write_data(recipe, text)
    once = ("--nj", "1", "--stage")
    run(smoe, "./smoe.sh", "--nbpe", "275", "--asr_tag", "smoe", *once, "3")
    run(u2pp, "./u2pp.sh", "--asr_tag", "u2pp", *once, "3")
    driver = ("./ctc.sh", "--asr_tag", "speech_moe", *once)
    run(ctc, *driver, "3", "--stop_stage", "5")  # neither language model nor graph
    run(ctc, *driver, "10", "--inference_configs", "conf/decode_greedy.yaml")
    pack = "-m espnet_smoe.inference.pack --model valid.loss_ctc.ave.pth".split()
    files = "--exp exp/speech_moe --out exp/speech_moe/speech_moe.zip".split()
    run(ctc, sys.executable, *pack, *files)
    (u2pp / "conf/stock.yaml").write_text(STOCK + COMMON, encoding="utf-8")
    words = "--config conf/stock.yaml --use_preprocessor true --token_type char"
    words += " --token_list data/token_list/char/tokens.txt --output_dir exp/stock"
    words += " --normalize global_mvn"
    words += " --normalize_conf stats_file=exp/stats_train_char/train/feats_stats.npz"
    for part, data in (("train", "train"), ("valid", "dev")):
        for shape in ("speech", "text"):
            words += f" --{part}_shape_file exp/stats_train_char/{part}/{shape}_shape"
        for triplet in ("wav.scp,speech,sound", "text,text,text"):
            words += f" --{part}_data_path_and_name_and_type dump/raw/{data}/{triplet}"
    run(u2pp, *LAUNCH, *words.split())


def archive(recipe: Path) -> None:
    """Keep what a recipe leaves, but for logs and what only training reads."""

    def kept(info: tarfile.TarInfo) -> tarfile.TarInfo | None:
        name = Path(info.name)
        if name.suffix == ".log" or "lock" in name.name or "logdir" in name.parts:
            return None
        only_one = ("checkpoint.pth", "latest.pth", "1epoch.pth", "2epoch.pth")
        best = name.name.endswith(".best.pth")
        if "smoe" not in name.parts and (name.name in only_one or best):
            return None
        if "smoe1" not in name.parts and name.parts[1:2] == ("dump",):
            return None
        info.mtime = info.uid = info.gid = 0
        info.uname = info.gname = ""
        return info

    for path in (recipe / "exp").glob("**/provenance.json"):
        record = json.loads(path.read_text(encoding="utf-8"))
        record["folder"] = f"/egs2/{recipe.name}"  # wherever it was
        path.write_text(json.dumps(record, indent=1, ensure_ascii=False), "utf-8")
    with tarfile.open(OUT / f"{recipe.name}.tar.xz", "w:xz", preset=9) as out:
        for folder in ("conf/train.yaml", "data/token_list", "data/lang/tokens.txt"):
            if (recipe / folder).exists():
                out.add(recipe / folder, f"{recipe.name}/{folder}", filter=kept)
        if recipe.name == "smoe1":
            out.add(recipe / "data/wav", "smoe1/data/wav", filter=kept)
            out.add(recipe / "dump/raw", "smoe1/dump/raw", filter=kept)
        out.add(recipe / "exp", f"{recipe.name}/exp", filter=kept)


def resumed(recipe: Path) -> dict[str, object]:
    """Train one epoch more; the words that do so, and what the epoch came to."""
    log = (recipe / "exp/smoe/train.log").read_text(encoding="utf-8")
    words = log.splitlines()[0].partition(" espnet2.bin.asr_train ")[2].split()
    run(recipe, *LAUNCH, *words, "--max_epoch", "3")
    states = torch.load(recipe / "exp/smoe/checkpoint.pth")
    epoch = states["reporter"]["stats"][3]["train"]
    return {"words": words} | {key: epoch[key] for key in ("loss", "optim0_lr0")}


def yamls(pattern: str) -> list[dict[str, object]]:
    """Every configuration, with the recipes that have it."""
    names: dict[str, list[str]] = {}
    for path in sorted((ROOT / "egs2").glob(pattern)):
        name = str(path.relative_to(ROOT / "egs2"))
        names.setdefault(path.read_text(encoding="utf-8"), []).append(name)
    return [{"names": same, "text": text} for text, same in names.items()]


def counted(entry: dict[str, object]) -> dict[str, object]:
    """Add how many parameters a model has, in all and active."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        main(["check-config", str(ROOT / "egs2" / entry["names"][0])])
    (row,) = [r for r in out.getvalue().splitlines() if r.startswith("sum ")]
    counts = [int(count.replace(",", "")) for count in row.split()[1:]]
    return {"names": entry["names"], "parameters": counts, "text": entry["text"]}


def write_expected() -> None:
    """What the test finds in the files."""
    from tests.integration import test_old_files as look

    with tempfile.TemporaryDirectory() as folder:
        old = Path(folder)
        for recipe in ("smoe1", "u2pp1", "ctc1"):
            look.unpack(recipe, old)
        exp = old / "ctc1/exp/speech_moe"
        found = {way: look.transcribed(old, way) for way in look.WAYS}
        files = exp / "config.yaml", exp / "valid.loss_ctc.ave.pth"
        write("transcribed.json", found)
        write("streamed.json", look.streamed(old))
        write("syllables.json", look.syllables(old, *files))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as clone:
        egs2 = Path(clone) / "egs2"
        for name in ("TEMPLATE", "mini_koen/smoe1", "mini_cmn"):
            shutil.copytree(ROOT / "egs2" / name, egs2 / name, symlinks=True)
        train(egs2)
        for name in ("mini_koen/smoe1", "mini_cmn/u2pp1", "mini_cmn/ctc1"):
            archive(egs2 / name)
        write("resumed.json", resumed(egs2 / "mini_koen/smoe1"))
    train_yamls = yamls("*/*/conf/**/train*.yaml")
    write("yamls.json", [counted(entry) for entry in train_yamls])
    # those of ctc1 and asr1 are for commands that have no name to keep
    write("decode_yamls.json", yamls("*/[su]*1/conf/**/decode*.yaml"))
    write_expected()
