"""A model of the hub is loaded by its name: fetched once, then from the cache."""

import shutil
from pathlib import Path

import pytest
import yaml
from huggingface_hub import constants

from espnet_smoe.cli import main
from espnet_smoe.inference import load
from espnet_smoe.inference.hub import is_name
from tests.inference.hub_server import fetched, hub, put_in_cache
from tests.tiny import save_experiment, talk, tiny_config

LIMIT = {"maxlenratio": -8, "beam_size": 2}
FILES = "README.md bpe.json config.yaml lengths.json meta.yaml model.safetensors"


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exp")
    return save_experiment(folder, tiny_config(folder))[0].parent


@pytest.fixture(scope="module")
def packed(experiment, tmp_path_factory):
    folder = tmp_path_factory.mktemp("packed") / "koen"
    assert main(["pack", str(experiment), "--out", str(folder)]) == 0
    return folder


@pytest.fixture
def cache(packed, tmp_path, monkeypatch):
    """A cache with the model as lab/koen; there is no network."""
    put_in_cache(packed, tmp_path / "cache", "lab/koen")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "cache"


def test_a_name_a_folder_and_the_experiment_decode_alike(experiment, packed, cache):
    put_in_cache(packed, cache, "lab/koen", "v1.0")
    expected = load(experiment, **LIMIT)([talk(1)])
    for model in ("lab/koen", "lab/koen@v1.0", packed):
        assert load(model, **LIMIT)([talk(1)]) == expected


@pytest.mark.parametrize(
    "command",
    [
        "slice --model {} --label <translate> <wb> --format smoe --out out",
        "pack {} --out out.zip",
        "pack {} --out out",
        "upcycle {} --config train.yaml --out out.pth",
    ],
)
def test_commands_take_a_name(cache, packed, command, capsys):
    config = yaml.safe_load((packed / "config.yaml").read_text())
    keys = ("model", "encoder", "encoder_conf", "decoder", "decoder_conf")
    Path("train.yaml").write_text(yaml.safe_dump({key: config[key] for key in keys}))
    assert main(command.format("lab/koen").split()) == 0, capsys.readouterr().err


def test_a_path_into_a_folder_that_is_here_is_asked_of_no_hub(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert is_name("exp/train") and is_name("lab/koen@v1.0")
    (tmp_path / "exp").mkdir()
    assert not is_name("exp/train")
    for text in ("train", "./lab/koen", "/lab/koen", "a/b/c", "lab/koen/", "lab/ko en"):
        assert not is_name(text)
    with pytest.raises(ValueError, match="exp/train does not exist; give the folder"):
        load("exp/train")


FAULTS = {
    "lab/koen has no model.safetensors on the hub": "model.safetensors",
    "lab/koen has no config.yaml on the hub": "config.yaml",
    "bpemodel names ./bpe.json, which is neither": "bpe.json",
}


@pytest.mark.parametrize("message", FAULTS)
def test_a_file_that_the_model_lacks_is_named(cache, message):
    [link] = cache.glob(f"*/snapshots/*/{FAULTS[message]}")
    link.unlink()
    with pytest.raises(ValueError, match=message) as caught:
        load("lab/koen")
    assert "\n" not in str(caught.value)


def test_a_name_that_is_in_no_cache_says_what_to_do(cache):
    with pytest.raises(ValueError, match="nor in the cache .*'hf download lab/other'"):
        load("lab/other")


def test_weights_that_are_cut_off_are_fetched_again(cache):
    [link] = cache.glob("*/snapshots/*/model.safetensors")
    blob = link.resolve()
    blob.write_bytes(blob.read_bytes()[:-9])
    with pytest.raises(ValueError, match="a damaged one .*fetch it again") as caught:
        load("lab/koen")
    assert "\n" not in str(caught.value)


def test_it_is_fetched_once_and_without_code(packed, tmp_path):
    folder = tmp_path / "on the hub"
    shutil.copytree(packed, folder)
    for name in ("model.pth", "old.pkl", "other.zip"):
        (folder / name).write_bytes(b"what may run")
    cache = tmp_path / "cache"
    with hub("lab/koen", folder) as (address, asked):
        assert fetched("lab/koen", address, cache) == FILES
        assert not [path for path in asked if path.endswith((".pth", ".pkl", ".zip"))]
        files = [path for path in asked if "/resolve/" in path]
        asked.clear()
        assert fetched("lab/koen", address, cache) == FILES
        assert files and not [path for path in asked if "/resolve/" in path]
        asked.clear()
        assert fetched("lab/koen", address, cache, offline=True) == FILES
        assert not asked
    assert fetched("lab/koen", address, cache) == FILES  # the network is gone
    next(cache.glob("hub/*/snapshots/*/bpe.json")).unlink()
    said = fetched("lab/koen", address, cache)
    assert "is not whole" in said and "'hf download lab/koen' where a" in said


def test_what_the_hub_does_not_have_is_said(packed, tmp_path):
    with hub("lab/koen", packed) as (address, _):
        said = fetched("lab/kone", address, tmp_path)
        assert said.startswith("ValueError: lab/kone is no file or folder here, nor a")
        said = fetched("lab/koen@v7", address, tmp_path)
        assert said == "ValueError: lab/koen has no revision 'v7' on the hub"
    said = fetched("lab/koen", address, tmp_path / "cache")
    assert "the hub cannot be reached" in said and "hf download lab/koen" in said
