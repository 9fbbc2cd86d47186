"""The U2++ recipe of mini_cmn, from nothing to tables of what streams and what not."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.warm_python import environment

ROOT = Path(__file__).parents[2]
WAYS = ("greedy", "prefix_beam", "attention", "rescoring")
SMALL = (
    "--max_epoch 1 --batch_bins 200000 --keep_nbest_models 1 --use_tensorboard false "
    "--encoder_conf num_blocks=1 --encoder_conf output_size=32"
)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory) -> Path:
    """A copy of the recipe, run through all of its stages on a tiny corpus."""
    egs2 = tmp_path_factory.mktemp("clone") / "egs2"
    for folder in ("TEMPLATE", "mini_cmn"):
        ignore = shutil.ignore_patterns("data", "dump", "exp", "RESULTS.md")
        source, copy = ROOT / "egs2" / folder, egs2 / folder
        shutil.copytree(source, copy, symlinks=True, ignore=ignore)
    folder = egs2 / "mini_cmn/u2pp1"
    options = {
        "asr_config": "conf/tuning/train_moe2k1.yaml",
        "asr_args": SMALL,
        "inference_config": " ".join(f"conf/decode_{way}.yaml" for way in WAYS),
        "chunk_sizes": "0 4",
        "local_data_opts": "--num-train 24 --num-dev 4 --num-test 4 --num-lm 0",
    }
    run(folder, options)
    return folder


def run(folder: Path, options: dict[str, str]) -> None:
    options = {"nj": "1", **options}
    command = ["./run.sh", *(w for k, v in options.items() for w in (f"--{k}", v))]
    pipes = {"env": environment(), "capture_output": True, "text": True}
    done = subprocess.run(command, cwd=folder, **pipes)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


def test_the_report_has_every_way_whole_and_in_chunks(recipe):
    report = (recipe / "exp/train_moe2k1_char/RESULTS.md").read_text()
    assert "| | full | chunk 4 (0.16 s) |" in report
    rows = [line for line in report.splitlines() if line.startswith("| ")]
    for row, way in zip(rows[1:], WAYS, strict=True):
        assert row.startswith(f"| {way.replace('_', ' ')} | ")
        assert row.count("RTF 0.") == 2


def test_each_way_has_a_text_of_every_test_utterance(recipe):
    wanted = [
        line.split()[0] for line in (recipe / "data/test/text").read_text().splitlines()
    ]
    for way in WAYS:
        for chunk in ("full", "chunk4"):
            folder = recipe / f"exp/train_moe2k1_char/decode_{way}_{chunk}/test"
            lines = (folder / "hyp.words").read_text().splitlines()
            assert [line.split(" ")[0] for line in lines] == wanted
            assert list(json.loads((folder / "scores.json").read_text())) == ["words"]


def test_the_tokens_are_the_characters_of_the_training_set(recipe):
    tokens = (recipe / "data/token_list/char/tokens.txt").read_text().splitlines()
    lines = (recipe / "dump/raw/train/text_plain").read_text().splitlines()
    said = {char for line in lines for char in line.partition(" ")[2]}
    assert {"<space>" if c == " " else c for c in said} == set(tokens[2:-1])


def test_the_packed_model_exists(recipe):
    assert (recipe / "exp/train_moe2k1_char/train_moe2k1_char.zip").stat().st_size


def test_syllables_are_learned_and_scored_as_such(recipe):
    options = {
        "asr_config": "conf/tuning/train_dense.yaml",
        "token_type": "syllable",
        "asr_args": SMALL,
        "inference_config": "conf/decode_rescoring.yaml",
        "chunk_sizes": "0",
        "stage": "5",
    }
    run(recipe, options)
    folder = recipe / "exp/train_dense_syllable/decode_rescoring_full/test"
    scores = json.loads((folder / "scores.json").read_text())
    assert list(scores) == ["units"] and list(scores["units"]["all"]) == ["ser"]
    assert (
        "In a cell: SER %"
        in (recipe / "exp/train_dense_syllable/RESULTS.md").read_text()
    )
