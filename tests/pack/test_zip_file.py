"""A packed model unpacks anywhere, with paths that fit the new place."""

import runpy
import sys

import numpy as np
import pytest
import torch
import yaml
from espnet2.main_funcs.pack_funcs import unpack

from espnet_smoe.pack.command import main


@pytest.fixture
def experiment(tmp_path, monkeypatch):
    """A trained experiment, as far as packing reads it; the recipe's folder is cwd."""
    recipe = tmp_path / "recipe"
    recipe.mkdir()
    monkeypatch.chdir(recipe)
    (recipe / "bpe.json").write_text("pieces")
    values = {"count": 10, "sum": np.ones(80), "sum_square": np.ones(80)}
    np.savez(recipe / "feats_stats.npz", **values)
    folder = tmp_path / "other_disk"
    folder.mkdir()
    (recipe / "exp").symlink_to(folder)
    torch.save({"weight": torch.ones(3)}, folder / "best.pth")
    config = {
        "bpemodel": "bpe.json",
        "token_list": ["<blank>", "가"],
        "model": "smoe",
        "normalize_conf": {"stats_file": str(recipe / "feats_stats.npz")},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    return folder


def test_unpacked_model_finds_its_files(experiment, tmp_path):
    main(["exp", "--checkpoint", "best.pth", "--out", "exp/m.zip"])
    (tmp_path / "recipe" / "bpe.json").unlink()  # another machine lacks it
    files = unpack(experiment / "m.zip", tmp_path / "unpacked")
    assert torch.load(files["asr_model_file"])["weight"].tolist() == [1, 1, 1]
    with open(files["asr_train_config"], encoding="utf-8") as text:
        config = yaml.safe_load(text)
    assert config["token_list"] == ["<blank>", "가"]
    with open(config["bpemodel"]) as pieces:
        assert pieces.read() == "pieces"
    assert np.load(config["normalize_conf"]["stats_file"])["count"] == 10


def test_the_decoding_goes_along_and_stays_with_the_experiment(experiment, tmp_path):
    yaml_file = tmp_path / "conf_decode.yaml"
    yaml_file.write_text("maxlenratio: 2\n")
    given = ["exp", "--checkpoint", "best.pth", "--out", "exp/m.zip"]
    main([*given, "--decoding", str(yaml_file)])
    unpack(experiment / "m.zip", tmp_path / "unpacked")
    packed = list((tmp_path / "unpacked").rglob("decode.yaml"))
    kept = experiment / "decode.yaml"
    assert [p.read_text() for p in (*packed, kept)] == ["maxlenratio: 2\n"] * 2
    main([*given, "--decoding", str(kept)])  # its own
    assert kept.read_text() == "maxlenratio: 2\n"


def test_a_copied_recipe_of_before_packs_as_it_did(experiment, tmp_path, monkeypatch):
    given = "--exp exp --model best.pth --out exp/m.zip".split()
    monkeypatch.setattr(sys, "argv", ["pack", *given])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("espnet_smoe.inference.pack", run_name="__main__")
    assert not ended.value.code
    assert unpack(experiment / "m.zip", tmp_path / "unpacked")


def test_half_statistics_are_not_packed(experiment, tmp_path):
    path = tmp_path / "recipe" / "feats_stats.npz"
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(ValueError, match="feats_stats.npz is damaged .*stage 10"):
        main(["exp", "--checkpoint", "best.pth", "--out", "exp/m.zip"])
    assert not (experiment / "m.zip").exists()


def test_missing_checkpoint_names_the_stage(experiment):
    with pytest.raises(ValueError, match="stage 11"):
        main(["exp", "--checkpoint", "no.pth", "--out", "m.zip"])


def test_missing_tokenizer_names_its_key(experiment, tmp_path):
    (tmp_path / "recipe" / "bpe.json").unlink()
    with pytest.raises(ValueError, match="config.yaml: bpemodel names"):
        main(["exp", "--checkpoint", "best.pth", "--out", "m.zip"])
