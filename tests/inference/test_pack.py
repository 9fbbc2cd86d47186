"""A packed model unpacks anywhere, with paths that fit the new place."""

import pytest
import yaml
from espnet2.main_funcs.pack_funcs import unpack

from espnet_smoe.inference import pack as module


@pytest.fixture
def experiment(tmp_path, monkeypatch):
    """A trained experiment, as far as packing reads it; the recipe's folder is cwd."""
    recipe = tmp_path / "recipe"
    recipe.mkdir()
    monkeypatch.chdir(recipe)
    (recipe / "bpe.json").write_text("pieces")
    (recipe / "feats_stats.npz").write_bytes(b"statistics")
    folder = tmp_path / "other_disk"
    folder.mkdir()
    (recipe / "exp").symlink_to(folder)
    (folder / "best.pth").write_bytes(b"weights")
    config = {
        "bpemodel": "bpe.json",
        "token_list": ["<blank>", "가"],
        "normalize_conf": {"stats_file": str(recipe / "feats_stats.npz")},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    return folder


def test_unpacked_model_finds_its_files(experiment, tmp_path):
    module.main(["--exp", "exp", "--model", "best.pth", "--out", "exp/m.zip"])
    (tmp_path / "recipe" / "bpe.json").unlink()  # another machine lacks it
    files = unpack(experiment / "m.zip", tmp_path / "unpacked")
    with open(files["asr_model_file"], "rb") as weights:
        assert weights.read() == b"weights"
    with open(files["asr_train_config"], encoding="utf-8") as text:
        config = yaml.safe_load(text)
    assert config["token_list"] == ["<blank>", "가"]
    with open(config["bpemodel"]) as pieces:
        assert pieces.read() == "pieces"
    with open(config["normalize_conf"]["stats_file"], "rb") as statistics:
        assert statistics.read() == b"statistics"


def test_missing_checkpoint_names_the_stage(experiment):
    with pytest.raises(SystemExit, match="stage 11"):
        module.main(["--exp", "exp", "--model", "no.pth", "--out", "m.zip"])


def test_missing_tokenizer_names_its_key(experiment, tmp_path):
    (tmp_path / "recipe" / "bpe.json").unlink()
    with pytest.raises(SystemExit, match="config.yaml: bpemodel names"):
        module.main(["--exp", "exp", "--model", "best.pth", "--out", "m.zip"])
