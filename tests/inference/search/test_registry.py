"""A search of somebody else's decodes as those of this package do."""

import json
import re
import sys
from pathlib import Path

import pytest
import soundfile

from espnet_smoe.cli import main
from espnet_smoe.inference import load
from espnet_smoe.inference.decode import driver
from espnet_smoe.inference.search.registry import SEARCHES, register_search
from tests.inference.tiny_u2pp import save_tiny_u2pp
from tests.tiny import save_experiment, talk, tiny_config, tiny_ctc_config

PAGE = Path(__file__).resolve().parents[3] / "docs/extend_decoding.md"
MODULE, SEARCH = "my_searches", "length_bonus"


@pytest.fixture
def plugged(tmp_path, monkeypatch):
    """The module of the page, named in the environment; forgotten afterwards."""
    [code] = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.S)
    (tmp_path / f"{MODULE}.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("ESPNET_SMOE_PLUGINS", MODULE)
    yield
    SEARCHES.pop(SEARCH, None)
    sys.modules.pop(MODULE, None)


@pytest.fixture(scope="module")
def u2pp(tmp_path_factory):
    folder = tmp_path_factory.mktemp("u2pp")
    save_tiny_u2pp(folder)
    return folder


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "test"
    folder.mkdir()
    for name, seconds in {"a": 0.9, "b": 1.4}.items():
        soundfile.write(folder / f"{name}.wav", talk(seconds), 16000, "FLOAT")
    (folder / "wav.scp").write_text(f"a {folder}/a.wav\nb {folder}/b.wav\n")
    return folder


def score(result) -> float:
    return result[0]["asr"].score


def test_its_name_and_its_options_reach_it(plugged, u2pp):
    wave = talk(1.4)
    with_bonus = load(u2pp, search=SEARCH, length_bonus=2.5, beam_size=4)
    assert with_bonus.options.as_dict()["length_bonus"] == 2.5
    (found,) = with_bonus([wave])
    plain = load(u2pp, search="prefix_beam", beam_size=4)([wave])
    bonus = 2.5 * len(found["asr"].tokens)
    assert bonus > 0 and found["asr"].timed
    assert found["asr"].score >= score(plain) + 2.5 * len(plain[0]["asr"].tokens) - 1e-3


@pytest.mark.parametrize("kind", ["smoe", "speech_moe"])
def test_it_decodes_every_kind_of_model(plugged, tmp_path, kind):
    config = tiny_config(tmp_path)
    if kind == "speech_moe":
        config = tiny_ctc_config(config["token_list"])
    save_experiment(tmp_path / "exp", config)
    model = load(tmp_path / "exp", search=SEARCH, length_bonus=3.0)
    (found,) = model([talk(1.4)])
    assert tuple(found) == model.tasks
    assert all(result.text for result in found.values())


def test_stage_12_and_transcribe_take_it_from_a_yaml_file(plugged, u2pp, data, capsys):
    yaml = data.parent / "decode_length_bonus.yaml"
    yaml.write_text(f"search: {SEARCH}\nlength_bonus: 2.5\nbeam_size: 4\n")
    out, files = data.parent / "out", ["config.yaml", "model.pth"]
    names = [str(u2pp / file) for file in files]
    words = ["--train-config", names[0], "--model-file", names[1], "--nj", "2"]
    words += ["--data", str(data), "--out", str(out), "--config", str(yaml)]
    driver.main(words)
    lines = (out / "hyp.asr").read_text().splitlines()
    texts = {line[0]: line[2:] for line in lines}
    summary = json.loads((out / "decode.json").read_text())
    assert (summary["search"], summary["length_bonus"]) == (SEARCH, 2.5)
    capsys.readouterr()
    waves = [str(data / f"{name}.wav") for name in texts]
    assert (
        main(["transcribe", *waves, "--model", str(u2pp), "--config", str(yaml)]) == 0
    )
    told = [line.split("\t")[2] for line in capsys.readouterr().out.splitlines()]
    assert told == list(texts.values()) and any(told)


def test_a_wrong_option_of_it_is_named(plugged, u2pp):
    with pytest.raises(ValueError, match="'length_bonu', did you mean 'length_bonus'"):
        load(u2pp, search=SEARCH, length_bonu=1.0)
    with pytest.raises(ValueError, match="length_bonus: 'x' is not a number"):
        load(u2pp, search=SEARCH, length_bonus="x")
    with pytest.raises(ValueError, match="'length_bons' .* mean 'length_bonus'"):
        load(u2pp, search="length_bons")


def test_a_name_is_given_once():
    with pytest.raises(ValueError, match="the search 'greedy' is that of espnet_smoe"):
        register_search("greedy")(lambda model, options: None)


def test_a_search_is_for_the_models_that_it_names(tmp_path):
    save_experiment(tmp_path / "exp", tiny_config(tmp_path))
    with pytest.raises(ValueError, match="search: 'greedy' is not one of attention"):
        load(tmp_path / "exp", search="greedy")
