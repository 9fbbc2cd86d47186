"""ESPnet's trainer with weights that two processes share, and its checkpoints."""

import multiprocessing
import os
from pathlib import Path

import pytest
import torch
from espnet2.tasks.asr import ASRTask

from espnet_smoe.__main__ import prepare
from tests.gloo import PATIENCE
from tests.integration.test_launch import CONFIG, make_corpus

EPOCHS = 4
SPREAD = ["--expert_parallel", "2"]
WAYS = {"experts": SPREAD, "fsdp": ["--fsdp", "true"]}
WAYS["both"] = WAYS["experts"] + WAYS["fsdp"]
ADAM = "optim: adam\noptim_conf: {lr: 0.01, eps: 0.01}\nexclude_weight_decay: true"
TABLES = ("wav.scp,speech,sound", "text,text,text", "text_st,text_st,text")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    """Data, tokens and statistics, and a YAML file."""
    folder = tmp_path_factory.mktemp("corpus")
    make_corpus(folder, utterances=8)
    given = CONFIG.replace("schedule: alternate", "schedule: joint")
    given = given.replace("optim: sgd\noptim_conf: {lr: 0.1}", ADAM)
    assert ADAM in given
    (folder / "train.yaml").write_text(given, encoding="utf-8")
    return folder


def words(corpus: Path, out: Path, *more: str) -> list[str]:
    """Of a training, as the driver writes them."""
    stats, tokens = corpus / "exp/stats_train_bbpe300", corpus / "data/token_list"
    given = ["--config", str(corpus / "train.yaml"), "--output_dir", str(out)]
    given += ["--use_preprocessor", "true", "--token_type", "bpe"]
    given += ["--bpemodel", str(tokens / "bbpe300/bpe.json")]
    given += ["--token_list", str(tokens / "bbpe300/tokens.txt")]
    given += ["--allow_variable_data_keys", "true", "--resume", "true"]
    for part, name in (("train", "train"), ("valid", "dev")):
        for table in (*TABLES, "utt2bandwidth,bandwidth,text"):
            path = corpus / "dump/raw" / name / table
            given += [f"--{part}_data_path_and_name_and_type", str(path)]
        given += [f"--{part}_shape_file", str(stats / part / "speech_shape")]
    return [*given, *more]


def run(rank: int, count: int, given: list[str], meeting: Path) -> None:
    torch.set_num_threads(1)
    if count > 1:
        os.environ["RANK"] = str(rank)
        given += ["--dist_world_size", str(count), "--dist_rank", str(rank)]
        given += ["--dist_init_method", f"file://{meeting}", "--dist_backend", "gloo"]
        given += ["--multiprocessing_distributed", "false"]
    prepare()
    ASRTask.main(cmd=given)


def train(corpus: Path, out: Path, count: int, epochs: int, *more: str) -> list[int]:
    """A training by so many processes; their exit codes."""
    out.parent.mkdir(parents=True, exist_ok=True)
    meeting = out.with_name(f"{out.name}.{count}.{epochs}.meeting")
    given = words(corpus, out, "--max_epoch", str(epochs), *more)
    fork = multiprocessing.get_context("fork")
    each = [
        fork.Process(target=run, args=(r, count, list(given), meeting))
        for r in range(count)
    ]
    for process in each:
        process.start()
    for process in each:
        process.join(PATIENCE)
        process.kill()
    return [process.exitcode for process in each]


@pytest.fixture(scope="module")
def alone(corpus, tmp_path_factory) -> Path:
    """The folder of one process."""
    out = tmp_path_factory.mktemp("alone") / "exp"
    assert train(corpus, out, 1, EPOCHS) == [0]
    return out


def assert_same(out: Path, alone: Path) -> None:
    mine, wanted = (
        torch.load(folder / "checkpoint.pth", weights_only=False)
        for folder in (out, alone)
    )
    close = {"atol": 1e-5, "rtol": 1e-4}
    assert mine["model"].keys() == wanted["model"].keys()
    for key, value in wanted["model"].items():
        torch.testing.assert_close(mine["model"][key], value, **close, msg=key)
    (mine,), (wanted,) = mine["optimizers"], wanted["optimizers"]
    assert mine["param_groups"] == wanted["param_groups"]
    assert mine["state"].keys() == wanted["state"].keys()
    for number, state in wanted["state"].items():
        for name, value in state.items():
            torch.testing.assert_close(mine["state"][number][name], value, **close)


def test_a_training_goes_on_however_its_weights_are_shared(corpus, alone, tmp_path):
    out = tmp_path / "exp"
    for epoch, way in enumerate(WAYS, 1):
        assert train(corpus, out, 2, epoch, *WAYS[way]) == [0, 0], way
    assert train(corpus, out, 1, EPOCHS) == [0]
    assert_same(out, alone)


def test_numbers_of_processes_and_experts_that_do_not_fit_are_named(corpus, tmp_path):
    def main(out: Path) -> None:
        with pytest.raises(ValueError, match="expert_parallel: 2 .* processes .* 1;"):
            run(0, 1, words(corpus, out, *SPREAD), out)
        os._exit(9)  # not a status of Python's own

    fork = multiprocessing.get_context("fork").Process(
        target=main, args=(tmp_path / "exp",)
    )
    fork.start()
    fork.join(PATIENCE)
    assert fork.exitcode == 9
