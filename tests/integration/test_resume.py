"""Training killed with -9 and started again ends as a training that was let be."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from espnet_smoe.data.text.tokens import train_tokens

EPOCHS = 4
CONFIG = """
model: smoe
model_conf: {schedule: SCHEDULE, ctc_weight: 0.3, lsm_weight: 0.1}
preprocessor: smoe
frontend: default
frontend_conf: {n_fft: 256, hop_length: 160, n_mels: 10}
specaug: specaug
specaug_conf:
  {apply_time_warp: false, apply_time_mask: false, freq_mask_width_range: [0, 2]}
normalize: utterance_mvn
encoder: smoe_transformer
encoder_conf:
  {input_layer: conv1d_glu, subsampling_channels: 16, output_size: 8,
   attention_heads: 2, linear_units: 16, num_blocks: 1, moe: {gate: label}}
decoder: smoe_transformer
decoder_conf: {attention_heads: 2, linear_units: 16, num_blocks: 1, moe: {gate: label}}
optim: adamw
optim_conf: {lr: 0.01}
scheduler: warmuplr
scheduler_conf: {warmup_steps: 10}
best_model_criterion: [[valid, acc, max]]
keep_nbest_models: 2
batch_type: unsorted
batch_size: 2
num_att_plot: 0
use_matplotlib: false
use_tensorboard: false
allow_variable_data_keys: true
log_interval: 1
seed: 3
"""
SENTENCES = ["물 을 마셔요", "문 을 열어요", "책 을 읽어요", "저는 학교 에 가요"]
TRANSLATIONS = ["i drink water", "<na>", "i read a book", "i go to school"]
UTTERANCES = 24


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    """Noise of 0.3 s an utterance, as a data directory with its tokens."""
    folder: Path = tmp_path_factory.mktemp("corpus")
    noise = np.random.default_rng(0)
    lines: dict[str, list[str]] = {}
    for i in range(UTTERANCES):
        wav = folder / f"{i}.wav"
        soundfile.write(wav, 0.1 * noise.standard_normal(4800), 16000)
        values = {
            "wav.scp": wav,
            "text": SENTENCES[i % 4],
            "text_st": TRANSLATIONS[i % 4],
            "utt2bandwidth": ("wb", "nb")[i % 3 == 0],
            "shape": 4800,
        }
        for name, value in values.items():
            lines.setdefault(name, []).append(f"utt{i:02} {value}\n")
    for name, content in lines.items():
        (folder / name).write_text("".join(content), encoding="utf-8")
    train_tokens([*SENTENCES, *TRANSLATIONS], 300, folder)
    return folder


def start(corpus: Path, out: Path, schedule: str) -> subprocess.Popen:
    config = out.with_suffix(".yaml")
    config.write_text(CONFIG.replace("SCHEDULE", schedule), encoding="utf-8")
    words = ["--config", str(config), "--output_dir", str(out)]
    words += ["--max_epoch", str(EPOCHS), "--resume", "true", "--num_workers", "1"]
    words += ["--token_type", "bpe", "--bpemodel", str(corpus / "bpe.json")]
    words += ["--token_list", str(corpus / "tokens.txt")]
    for part in ("train", "valid"):
        words += [f"--{part}_shape_file", str(corpus / "shape")]
        for triplet in (
            *("wav.scp,speech,sound", "text,text,text", "text_st,text_st,text"),
            "utt2bandwidth,bandwidth,text",
        ):
            words += [f"--{part}_data_path_and_name_and_type", f"{corpus}/{triplet}"]
    return subprocess.Popen(
        [sys.executable, "-m", "espnet_smoe", "-m", "espnet2.bin.asr_train", *words],
        stdout=open(out.with_suffix(".log"), "a"),
        stderr=subprocess.STDOUT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        start_new_session=True,  # so that the kill reaches the data loader too
    )


def finish(process: subprocess.Popen, out: Path) -> None:
    assert process.wait(120) == 0, out.with_suffix(".log").read_text()[-3000:]


def kill_in_the_middle(process: subprocess.Popen, out: Path) -> None:
    """Kill while the third epoch is running."""
    log = out.with_suffix(".log")
    while "3epoch:train:5-" not in log.read_text():
        assert process.poll() is None, log.read_text()[-3000:]
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert (out / "2epoch.pth").exists() and not (out / "3epoch.pth").exists()


def test_a_killed_training_ends_as_an_unbroken_one(corpus, tmp_path):
    broken, unbroken = tmp_path / "broken", tmp_path / "unbroken"
    runs = [start(corpus, out, "alternate") for out in (broken, unbroken)]
    try:
        kill_in_the_middle(runs[0], broken)
        runs.append(start(corpus, broken, "alternate"))
        finish(runs[2], broken)
        finish(runs[1], unbroken)
    finally:
        for run in runs:
            run.kill()
    assert "The training was resumed" in broken.with_suffix(".log").read_text()
    for name in (f"{EPOCHS}epoch.pth", "valid.acc.ave.pth"):
        one, other = (torch.load(out / name) for out in (broken, unbroken))
        assert one.keys() == other.keys()
        assert [key for key in one if not torch.equal(one[key], other[key])] == []
