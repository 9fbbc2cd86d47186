"""The mini_koen recipe, from nothing to a packed model that transcribes a file."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.warm_python import environment

ROOT = Path(__file__).parents[2]
SMALL = (
    "--max_epoch 1 --batch_bins 200000 --keep_nbest_models 1 --use_tensorboard false "
    "--encoder_conf num_blocks=1 --decoder_conf num_blocks=1"
)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory) -> Path:
    """A copy of the recipe, run through all of its stages on a tiny corpus."""
    egs2 = tmp_path_factory.mktemp("clone") / "egs2"
    for folder in ("TEMPLATE", "mini_koen/smoe1"):
        ignore = shutil.ignore_patterns("data", "dump", "exp", "RESULTS.md")
        source, copy = ROOT / "egs2" / folder, egs2 / folder
        shutil.copytree(source, copy, symlinks=True, ignore=ignore)
    folder = egs2 / "mini_koen/smoe1"
    command = ["./run.sh", "--nbpe", "330", "--asr_args", SMALL]
    command += ["--local_data_opts", "--num-train 16 --num-dev 4 --num-test 10"]
    (folder / "conf/decode.yaml").write_text("beam_size: 2\nmaxlenratio: -8\n")
    pipes = {"env": environment(), "capture_output": True, "text": True}
    done = subprocess.run(command, cwd=folder, **pipes)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert f"results:      {folder}/exp/train_bbpe330/RESULTS.md" in done.stdout
    assert "epoch 1/1  loss" in done.stderr
    return folder


def test_the_report_has_every_condition_of_both_tasks(recipe):
    report = (recipe / "exp/train_bbpe330/RESULTS.md").read_text()
    for word in ("WER", "BLEU", "amr_nb", "g711_nb", "amr_wb", "./smoe.sh"):
        assert word in report, word


def test_every_test_utterance_has_both_texts(recipe):
    out = recipe / "exp/train_bbpe330/decode_default/test"
    names = (recipe / "data/test/text").read_text().split("\n")
    wanted = [line.split()[0] for line in names if line]
    for task in ("asr", "st"):
        lines = (out / f"hyp.{task}").read_text().split("\n")
        assert [line.split(" ")[0] for line in lines if line] == wanted
    assert json.loads((out / "scores.json").read_text())


def test_the_packed_model_transcribes_a_file(recipe):
    wav = next(iter((recipe / "data/wav").glob("*.wav")))
    model = recipe / "exp/train_bbpe330/train_bbpe330.zip"
    command = ["transcribe", str(wav), "--model", str(model), "--format", "json"]
    done = subprocess.run(
        ["python3", "-m", "espnet_smoe", *command, "--beam-size", "2"],
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert {"file", "asr", "st"} <= set(json.loads(done.stdout))
