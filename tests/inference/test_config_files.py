"""What a model was trained on is known wherever its folder or zip file is."""

import json

import numpy as np
import pytest
import soundfile
import yaml

from espnet_smoe.inference import SpeechToText
from espnet_smoe.inference.config_files import (
    Lengths,
    read_config,
    trained_lengths,
    write_lengths,
)
from espnet_smoe.pack.zip_file import write_zip
from tests.tiny import save_experiment, talk, tiny_config


@pytest.fixture
def recipe(tmp_path):
    """A recipe with a trained experiment, its paths relative to the recipe."""
    folder = tmp_path / "recipe"
    config = tiny_config(folder / "data")
    stats = folder / "exp/stats/train"
    stats.mkdir(parents=True)
    (stats / "speech_shape").write_text("a 32000\nb 68800\nc 16000\n")
    lines = []
    for i in range(3):
        silence = np.zeros(3200, np.float32)
        wave = np.concatenate([silence, talk(1.0, i) + 0.05, silence, silence])
        soundfile.write(folder / f"{i}.wav", wave, 16000)
        lines.append(f"u{i} {i}.wav\n")
    (folder / "dump").mkdir()
    (folder / "dump/wav.scp").write_text("".join(lines))
    changes = {
        "bpemodel": "data/bpe.json",
        "train_shape_file": ["exp/stats/train/speech_shape", "exp/stats/x/text_shape"],
        "train_data_path_and_name_and_type": [
            ["dump/wav.scp", "speech", "sound"],
            ["dump/text", "text", "text"],
        ],
    }
    save_experiment(folder / "exp/a", config | changes)
    return folder


def test_lengths_are_those_of_the_training_data(recipe, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # not the recipe's folder
    path = recipe / "exp/a/config.yaml"
    found = trained_lengths(path, read_config(path))
    assert found.longest_seconds == 4.3
    assert found.lead_seconds == pytest.approx(0.2, abs=0.005)
    assert found.tail_seconds == pytest.approx(0.4, abs=0.05)


def test_lengths_stay_with_the_experiment_and_its_zip_file(recipe, tmp_path):
    write_lengths(recipe / "exp/a")
    kept = json.loads((recipe / "exp/a/lengths.json").read_text())
    assert kept["longest_seconds"] == 4.3
    (recipe / "exp/stats/train/speech_shape").write_text("a 16000\n")
    (recipe / "dump/wav.scp").unlink()
    write_zip(
        recipe / "exp/a/config.yaml", recipe / "exp/a/model.pth", tmp_path / "m.zip"
    )
    for path in (recipe / "exp/a", tmp_path / "m.zip"):
        assert SpeechToText.from_pretrained(path).longest_seconds == 4.3
    write_lengths(recipe / "exp/a")  # trained again
    assert SpeechToText.from_pretrained(recipe / "exp/a").longest_seconds == 1.0


def test_an_old_experiment_is_packed_with_its_lengths(recipe, tmp_path):
    write_zip(
        recipe / "exp/a/config.yaml", recipe / "exp/a/model.pth", tmp_path / "m.zip"
    )
    assert SpeechToText.from_pretrained(tmp_path / "m.zip").longest_seconds == 4.3


def test_without_statistics_the_paper_tells(tmp_path):
    files = save_experiment(tmp_path, tiny_config(tmp_path))
    assert trained_lengths(files[0], read_config(files[0])) == Lengths()
    assert SpeechToText(*files).longest_seconds == 30.0
    assert SpeechToText(*files, longest_seconds=5.0).longest_seconds == 5.0


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"longest_sec', "lengths.json"),
        ("[3]", "lengths.json"),
        ('{"longest_seconds": "long"}', "lengths.json: longest_seconds: 'long'"),
        ('{"longest_seconds": -3}', "lengths.json: longest_seconds: -3"),
        ('{"mean_seconds": 3}', "lengths.json: unknown key 'mean_seconds'"),
    ],
)
def test_damaged_lengths_are_named(tmp_path, content, said):
    (tmp_path / "lengths.json").write_text(content)
    with pytest.raises(ValueError, match=said):
        trained_lengths(tmp_path / "config.yaml", {})


def test_statistics_of_frames_are_no_samples(recipe):
    (recipe / "exp/stats/train/speech_shape").write_text("a 320,80\n")
    path = recipe / "exp/a/config.yaml"
    assert trained_lengths(path, read_config(path)).longest_seconds is None


def test_the_own_recipe_comes_before_the_current_folder(recipe, tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/bpe.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    config = read_config(recipe / "exp/a/config.yaml")
    assert config["bpemodel"] == str(recipe / "data/bpe.json")


def test_a_linked_experiment_is_of_the_recipe_where_it_lies(recipe, tmp_path):
    (tmp_path / "link").symlink_to(recipe / "exp/a")
    config = read_config(tmp_path / "link/config.yaml")
    assert yaml.safe_load(config["bpemodel"]).endswith("recipe/data/bpe.json")
