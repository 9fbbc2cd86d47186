"""The mini_cmn recipe, from nothing to words found by a graph."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.warm_python import environment

ROOT = Path(__file__).parents[2]
SMALL = (
    "--max_epoch 1 --batch_bins 100000 --keep_nbest_models 1 --use_tensorboard false "
    "--encoder_conf num_blocks=1 --encoder_conf attention_every=1"
)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory) -> Path:
    """A copy of the recipe, run through all of its stages on a tiny corpus."""
    egs2 = tmp_path_factory.mktemp("clone") / "egs2"
    for folder in ("TEMPLATE", "mini_cmn/ctc1"):
        ignore = shutil.ignore_patterns("data", "dump", "exp", "RESULTS.md")
        source, copy = ROOT / "egs2" / folder, egs2 / folder
        shutil.copytree(source, copy, symlinks=True, ignore=ignore)
    folder = egs2 / "mini_cmn/ctc1"
    command = ["./run.sh", "--nj", "1", "--asr_config", "conf/tuning/train_2e.yaml"]
    command += ["--lm_text", "data/lm_text", "--ngram_num", "3", "--asr_args", SMALL]
    command += ["--inference_config", "conf/decode.yaml conf/decode_greedy.yaml"]
    command += ["--local_data_opts"]
    command += ["--num-train 24 --num-dev 4 --num-test 6 --num-lm 200"]
    pipes = {"env": environment(), "capture_output": True, "text": True}
    done = subprocess.run(command, cwd=folder, **pipes)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return folder


def test_the_report_has_both_searches(recipe):
    report = (recipe / "exp/train_2e/RESULTS.md").read_text()
    for word in ("SER", "CER", "decode_greedy/test", "decode_default/test", "./ctc.sh"):
        assert word in report, word


def test_words_and_syllables_of_every_test_utterance(recipe):
    wanted = [
        line.split()[0] for line in (recipe / "data/test/text").read_text().splitlines()
    ]
    for name in ("default/test/hyp.words", "default/test/hyp.units"):
        lines = (recipe / f"exp/train_2e/decode_{name}").read_text().splitlines()
        assert [line.split(" ")[0] for line in lines] == wanted
    scores = json.loads(
        (recipe / "exp/train_2e/decode_greedy/test/scores.json").read_text()
    )
    assert list(scores) == ["units"]


def test_training_logs_what_each_layer_does(recipe):
    log = (recipe / "exp/train_2e/train.log").read_text()
    for key in ("encoder_sparsity", "encoder_importance", "loss_embedding_ctc"):
        assert f"{key}=" in log
    assert "encoder_layer1_load_1=" in log and "encoder_dead=" in log
