"""A checkpoint goes on only with what it was made from; nothing is written before."""

import json
import os
import subprocess
import sys

import pytest
import torch
import yaml
from espnet2.tasks.abs_task import AbsTask
from espnet2.tasks.asr import ASRTask
from espnet2.torch_utils.safe_torch_load import safe_torch_load

from espnet_smoe import processes, register
from espnet_smoe.training import provenance
from espnet_smoe.training import start as training_start
from tests.tiny import tiny_config
from tests.warm_python import environment

TABLES = ("wav.scp", "text")


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    """Data, tokens, statistics and a configuration, as stages 1 to 10 leave them."""
    register()
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(training_start.ALLOW, raising=False)
    for part in ("train", "valid"):
        for name in TABLES:
            path = tmp_path / part / name
            path.parent.mkdir(exist_ok=True)
            path.write_text("a one\nb two\n")
        shapes = tmp_path / "stats" / part
        shapes.mkdir(parents=True)
        (shapes / "speech_shape").write_text("a 100\nb 200\n")
    config = tiny_config(tmp_path)
    keys = ("model", "model_conf", "encoder", "encoder_conf", "decoder")
    chosen = {key: config[key] for key in (*keys, "decoder_conf", "frontend_conf")}
    write(tmp_path, chosen)
    start(tmp_path / "stats", "--collect_stats", "true")
    return tmp_path


def write(folder, config):
    (folder / "train.yaml").write_text(yaml.safe_dump(config))


def edit(folder, **changes):
    """Change options of the configuration; a mapping changes what it names."""
    config = yaml.safe_load((folder / "train.yaml").read_text())
    for key, value in changes.items():
        if isinstance(value, dict):
            value = {**config.get(key, {}), **value}
        config[key] = value
    write(folder, config)


def words(*more):
    options = ["--config", "train.yaml", "--token_list", "tokens.txt"]
    options += ["--bpemodel", "bpe.json", "--preprocessor", "smoe", "--token_type"]
    options += [
        "bpe",
        "--normalize",
        "utterance_mvn",
        "--max_epoch",
        "3",
        "--resume",
        "true",
    ]
    for part in ("train", "valid"):
        options += [f"--{part}_shape_file", f"stats/{part}/speech_shape"]
        for name, triplet in zip(TABLES, ("speech,sound", "text,text")):
            option = f"--{part}_data_path_and_name_and_type"
            options += [option, f"{part}/{name},{triplet}"]
    return [*options, *more]


def start(folder, *more):
    """What a training does first, which then ends."""
    args = ASRTask.get_parser().parse_args(words("--output_dir", str(folder), *more))
    try:
        training_start.begin(ASRTask, args)
    finally:
        while processes._held:
            processes._held.pop().close()


@pytest.fixture
def trained(recipe):
    """An experiment whose training has ended."""
    folder = recipe / "exp"
    start(folder)
    (folder / "3epoch.pth").touch()
    return folder


def contents(folder):
    files = [p for p in folder.rglob("*") if p.is_file() and p.name != processes.LOCK]
    return {path: path.read_bytes() for path in files}


def refused(folder, *more):
    """What is said; nothing may have been written."""
    before = contents(folder)
    with pytest.raises(ValueError) as refusal:
        start(folder, *more)
    assert contents(folder) == before
    return str(refusal.value)


def test_what_was_trained_may_be_started_again(trained, capsys):
    start(trained)
    assert "is trained already: epoch 3 of 3" in capsys.readouterr().err


def test_a_longer_training_goes_on(trained, capsys):
    options = ["--max_epoch", "9", "--patience", "2", "--num_workers", "0"]
    start(trained, *options, "--log_interval", "7", "--keep_nbest_models", "1")
    assert capsys.readouterr().err == ""


def test_an_edited_configuration_is_refused_key_by_key(trained, recipe):
    edit(recipe, model_conf={"ctc_weight": 0.7}, encoder_conf={"linear_units": 48})
    said = refused(trained)
    assert "  model_conf.ctc_weight: 0.3 -> 0.7" in said.splitlines()
    assert "  encoder_conf.linear_units: 32 -> 48" in said.splitlines()
    for way in ("another --asr_tag", f"rm -r {trained}", "--allow_changes true"):
        assert way in said


def test_options_of_the_command_line_count_as_those_of_the_file(trained):
    assert "model_conf.lsm_weight" in refused(trained, "--model_conf", "lsm_weight=0.2")
    assert "seed: " in refused(trained, "--seed", "2")


def test_other_tokens_are_refused(trained, recipe):
    tokens = (recipe / "tokens.txt").read_text()
    (recipe / "tokens.txt").write_text(tokens.replace("<unk>\n", "<unk>\nnew\n"))
    edit(recipe, token_type="bpe")
    (recipe / "stats" / provenance.RECORD).unlink()  # stage 10 was run again
    assert "tokens.token_list: 300 tokens" in refused(trained)


@pytest.mark.parametrize("table", TABLES)
def test_other_data_are_refused(trained, recipe, table):
    (recipe / "train" / table).write_text("a one\nb two\nc three\n")
    (recipe / "stats" / provenance.RECORD).unlink()
    name = {"wav.scp": "speech", "text": "text"}[table]
    assert f"data.train.{name}: 2 lines" in refused(trained)


def test_a_copied_experiment_tells_where_it_was_trained(trained, recipe, monkeypatch):
    record = provenance.read_record(trained)
    provenance.write_record(trained, {**record, "folder": "/old/recipe"})
    edit(recipe, model_conf={"ctc_weight": 0.7})
    assert "was trained in /old/recipe from something else" in refused(trained)


def test_changes_that_are_allowed_are_noted(trained, recipe, monkeypatch):
    monkeypatch.setenv(training_start.ALLOW, "true")
    edit(recipe, model_conf={"ctc_weight": 0.7})
    start(trained)
    record = provenance.read_record(trained)
    assert record["config"]["model_conf.ctc_weight"] == 0.7
    assert record["history"][0]["changes"] == ["model_conf.ctc_weight: 0.3 -> 0.7"]
    start(trained)
    assert provenance.read_record(trained) == record


def test_what_a_checkpoint_brings_along_cannot_be_changed(trained, recipe, monkeypatch):
    monkeypatch.setenv(training_start.ALLOW, "true")
    edit(recipe, optim_conf={"lr": 0.5})
    said = refused(trained)
    assert "optim_conf.lr" in said and "--pretrained_model" in said


def test_another_size_is_refused_even_if_allowed(trained, recipe, monkeypatch):
    args = ASRTask.get_parser().parse_args(words("--output_dir", str(trained)))
    states = ASRTask.build_model(args).state_dict()
    torch.save({"model": states}, trained / "checkpoint.pth")
    monkeypatch.setenv(training_start.ALLOW, "true")
    edit(recipe, encoder_conf={"linear_units": 48})
    assert "of another shape" in refused(trained)


def test_an_experiment_without_a_record_is_held_against_config_yaml(
    trained, recipe, capsys
):
    args = ASRTask.get_parser().parse_args(words("--output_dir", str(trained)))
    ASRTask.build_model(args)  # which fills in the tokens, as before config.yaml
    (trained / "config.yaml").write_text(yaml.safe_dump(vars(args)))
    (trained / provenance.RECORD).unlink()
    edit(recipe, model_conf={"ctc_weight": 0.7})
    assert "model_conf.ctc_weight: 0.3 -> 0.7" in refused(trained)
    edit(recipe, model_conf={"ctc_weight": 0.3})
    capsys.readouterr()
    start(trained)
    assert "has no provenance.json" in capsys.readouterr().err
    assert provenance.read_record(trained)["data"]


def test_another_release_is_said_and_goes_on(trained, capsys):
    record = provenance.read_record(trained)
    code = {**record["code"], "espnet": "202001"}
    provenance.write_record(trained, {**record, "code": code})
    start(trained)
    assert "code.espnet: 202001 -> " in capsys.readouterr().err


def test_statistics_of_other_data_are_refused(recipe):
    (recipe / "train" / "text").write_text("a one\nb other\n")
    (recipe / "exp").mkdir()
    said = refused(recipe / "exp")
    assert "statistics of something else" in said and "--stage 10" in said
    assert "data.train.text" in said


def test_statistics_of_other_features_are_refused(recipe):
    edit(recipe, frontend_conf={"n_mels": 40})
    (recipe / "exp").mkdir()
    assert "frontend_conf.n_mels: missing -> 40" in refused(recipe / "exp")


def test_statistics_serve_another_model(recipe):
    edit(recipe, model_conf={"ctc_weight": 0.9}, encoder_conf={"num_blocks": 1})
    start(recipe / "exp")


def test_statistics_cut_short_are_refused(recipe):
    (recipe / "stats" / "train" / "speech_shape").write_text("a 100\n")
    (recipe / "exp").mkdir()
    assert "has 1 lines, its data 2: cut short" in refused(recipe / "exp")


def test_a_refused_training_never_begins(trained, recipe, monkeypatch, capsys):
    started = []
    original = AbsTask.__dict__["main"]
    monkeypatch.setattr(AbsTask, "main_worker", lambda args: started.append(args))
    monkeypatch.setattr(AbsTask, "main", original)
    training_start.check_before_training()
    training_start.check_before_training()
    ASRTask.main(cmd=words("--output_dir", str(trained)))
    assert len(started) == 1
    processes._held.pop().close()
    edit(recipe, model_conf={"ctc_weight": 0.7})
    with pytest.raises(SystemExit, match="1"):
        ASRTask.main(cmd=words("--output_dir", str(trained)))
    assert len(started) == 1
    processes._held.pop().close()
    assert "error: " in capsys.readouterr().err


def test_the_check_alone_is_a_command(trained, recipe):
    edit(recipe, model_conf={"ctc_weight": 0.7})
    module = ["-m", "espnet_smoe.training.start", "-m", "espnet2.bin.asr_train"]
    command = ["python3", *module, *words("--output_dir", str(trained))]
    pipes = {"env": environment(), "capture_output": True, "text": True}
    done = subprocess.run(command, **pipes)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "  model_conf.ctc_weight: 0.3 -> 0.7\n" in done.stderr
    assert json.loads((trained / provenance.RECORD).read_text())


def test_two_trainings_never_share_a_folder(recipe):
    holder = "import sys; from pathlib import Path; from espnet_smoe.processes import *"
    holder += "; hold(Path('exp')); print('held', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", holder]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, text=True, **pipes) as other:
        assert other.stdout.readline() == "held\n"
        said = refused(recipe / "exp")
        assert f"exp is being trained by host {os.uname().nodename}" in said
        assert f"process {other.pid}, since 2" in said
        other.stdin.close()
    start(recipe / "exp")  # the lock died with its process


def test_other_ranks_of_a_training_take_no_lock(recipe, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    start(recipe / "exp")
    assert not (recipe / "exp" / processes.LOCK).exists()


@pytest.mark.parametrize("share", [0, 0.5])
def test_a_damaged_checkpoint_is_refused(trained, share):
    torch.save({"model": {"w": torch.ones(3)}}, trained / "checkpoint.pth")
    content = (trained / "checkpoint.pth").read_bytes()
    (trained / "checkpoint.pth").write_bytes(content[: int(share * len(content))])
    said = refused(trained)
    assert "checkpoint.pth: not a checkpoint of weights" in said
    assert "remove it and start anew" in said and "weights_only" not in said


def test_weights_that_espnet_cannot_begin_with_are_refused(recipe):
    (recipe / "exp").mkdir()
    said = refused(recipe / "exp", "--init_param", "koen/model.safetensors")
    assert "ESPnet begins with a file of torch.save; 'espnet-smoe pack koen --o" in said


def test_a_checkpoint_of_nan_is_refused(trained):
    states = {"model": {"w": torch.tensor([float("nan")])}}
    torch.save(states, trained / "checkpoint.pth")
    assert "no numbers (NaN or infinite): w" in refused(trained)


def test_tokens_cut_short_are_refused_before_statistics_and_training(recipe):
    tokens = (recipe / "tokens.txt").read_text().splitlines(keepends=True)
    (recipe / "tokens.txt").write_text("".join(tokens[:200]))
    (recipe / "exp").mkdir()
    assert "tokens.txt ends with" in refused(recipe / "exp")
    assert "cut short" in refused(recipe / "exp", "--collect_stats", "true")


def test_statistics_that_are_damaged_are_refused(recipe):
    (recipe / "feats_stats.npz").write_bytes(b"PK\x03\x04")
    (recipe / "exp").mkdir()
    options = ["--normalize", "global_mvn", "--normalize_conf"]
    said = refused(recipe / "exp", *options, "stats_file=feats_stats.npz")
    assert "feats_stats.npz is damaged" in said and "stage 10" in said


def test_espnets_advice_to_load_unsafely_is_not_passed_on(recipe, monkeypatch, capsys):
    (recipe / "4epoch.pth").write_bytes(b"damaged")

    def average(args):
        safe_torch_load("4epoch.pth")

    monkeypatch.setattr(AbsTask, "main_worker", average)
    monkeypatch.setattr(AbsTask, "main", AbsTask.__dict__["main"])
    training_start.check_before_training()
    with pytest.raises(SystemExit, match="1"):
        ASRTask.main(cmd=words("--output_dir", str(recipe / "exp")))
    processes._held.pop().close()
    said = capsys.readouterr().err
    assert "error: 4epoch.pth is damaged" in said
    assert "UNSAFE" not in said and "weights_only" not in said
