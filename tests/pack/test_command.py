"""A model becomes a folder that the hub takes: tensors, and a card that is true."""

import json

import pytest
import torch
import yaml
from huggingface_hub import ModelCard
from safetensors.torch import load_file

from espnet_smoe.cli import main
from espnet_smoe.inference import load
from tests.tiny import save_experiment, talk, tiny_config, tiny_ctc_config

SCORE = {"value": 17.0909, "low": 5.3, "high": 40.0, "n": 200}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """An experiment with statistics and a scored decoding of its checkpoint."""
    folder = tmp_path_factory.mktemp("exp") / "train"
    folder.mkdir()
    config = tiny_config(folder, train_shape_file=["speech_shape"])
    config["train_data_path_and_name_and_type"] = [["dump/raw/ko/wav.scp", "s", "s"]]
    save_experiment(folder, config)
    (folder / "speech_shape").write_text("a 16000\nb 57600000\n")
    (folder / "params.json").write_text('{"total": 5380200, "active": 3604968}')
    for name, checkpoint in (("test", "model.pth"), ("old", "valid.acc.best.pth")):
        decoding = folder / "decode_default" / name
        decoding.mkdir(parents=True)
        (decoding / "decode.json").write_text(json.dumps({"model_file": checkpoint}))
        nothing = SCORE | {"value": None, "low": None, "high": None}
        scores = {"asr": {"all": {"wer": SCORE}}, "st": {"all": {"bleu": SCORE}}}
        scores["st"]["all"]["chrf"] = nothing
        (decoding / "scores.json").write_text(json.dumps(scores))
    return folder


def test_the_folder_holds_tensors_and_no_code(trained, tmp_path):
    assert main(["pack", str(trained), "--out", str(tmp_path / "koen")]) == 0
    names = {path.name for path in (tmp_path / "koen").iterdir()}
    assert names == {
        *("README.md", "bpe.json", "config.yaml", "lengths.json", "meta.yaml"),
        "model.safetensors",
    }
    given = torch.load(trained / "model.pth", weights_only=True)
    kept = load_file(tmp_path / "koen" / "model.safetensors")
    assert set(kept) == set(given)
    assert all(torch.equal(kept[key], given[key]) for key in given)


def test_tensors_that_share_memory_are_kept_apart(trained, tmp_path):
    state = torch.load(trained / "model.pth", weights_only=True)
    key, other = [k for k in state if k.endswith("norm1.weight")][:2]
    state[other] = state[key]
    state["decoder.embed.0.weight"] = state["decoder.embed.0.weight"].T.contiguous().T
    torch.save(state, trained / "tied.pth")
    command = ["pack", str(trained), "--checkpoint", "tied.pth", "--out"]
    assert main([*command, str(tmp_path / "tied")]) == 0
    kept = load_file(tmp_path / "tied" / "model.safetensors")
    assert torch.equal(kept[other], state[key])


def test_the_card_has_scores_data_and_limits(trained, tmp_path):
    options = ["--name", "lab/koen", "--license", "cc-by-4.0"]
    assert main(["pack", str(trained), "--out", str(tmp_path / "x"), *options]) == 0
    card = ModelCard.load(tmp_path / "x/README.md")
    assert (card.data.license, card.data.language) == ("cc-by-4.0", ["ko", "en"])
    assert card.data.pipeline_tag == "automatic-speech-recognition"
    assert {"espnet", "smoe", "speech-translation"} <= set(card.data.tags)
    found = {(r.task_name, r.metric_type): r for r in card.data.eval_results}
    assert set(found) == {("asr", "wer"), ("st", "bleu")}  # none of the other model
    assert found["asr", "wer"].metric_value == 17.0909
    assert found["asr", "wer"].dataset_name == "test"
    assert found["st", "bleu"].task_type == "speech-translation"
    text = card.text
    assert "espnet-smoe transcribe --model lab/koen talk.wav" in text
    assert "17.09 [5.30–40.00]" in text and "5.4M, 3.6M active" in text
    assert "2 utterances, 1.0 h" in text and "lasts 3600.0 s" in text and "`ko`" in text
    assert "## Limits" in text and "{" not in text.split("## Scores")[1]


def test_a_model_without_scores_has_a_card_that_says_so(trained, tmp_path, capsys):
    assert main(["pack", str(trained), "--out", str(tmp_path / "m.zip")]) == 0
    command = ["pack", str(tmp_path / "m.zip"), "--out", str(tmp_path / "x")]
    assert main([*command, "--language", "de"]) == 0
    card = ModelCard.load(tmp_path / "x/README.md")
    assert card.data.eval_results is None and card.data.language == ["de"]
    assert "None are known." in card.text
    assert "name it with --license" in capsys.readouterr().out


def test_a_folder_becomes_a_zip_file_that_decodes_alike(trained, tmp_path):
    assert main(["pack", str(trained), "--out", str(tmp_path / "x")]) == 0
    zipped = str(tmp_path / "m.zip")
    assert main(["pack", str(tmp_path / "x"), "--out", zipped]) == 0
    options = {"maxlenratio": -8, "beam_size": 2}
    expected = load(trained, **options)([talk(1)])
    assert load(zipped, **options)([talk(1)]) == expected


WRONG = {
    "--name: 'a b' is no name": ["--name", "a b"],
    "--license: 'CC BY' is no name": ["--license", "CC BY"],
    "--language: 'Korean' is no code": ["--language", "Korean"],
    "none.pth does not exist": ["--checkpoint", "none.pth"],
}


@pytest.mark.parametrize("message", WRONG)
def test_a_wrong_option_leaves_nothing_behind(trained, tmp_path, capsys, message):
    command = ["pack", str(trained), "--out", str(tmp_path / "x"), *WRONG[message]]
    assert main(command) == 1
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "command",
    [
        "pack {zip} --checkpoint x.pth --out {out}",
        "slice --model {zip} --checkpoint x.pth --label <translate> --out {out}",
        "upcycle {zip} --model x.pth --config train.yaml --out {out}",
    ],
)
def test_a_checkpoint_of_a_zip_file_cannot_be_chosen(
    trained, tmp_path, capsys, command
):
    zipped, out = tmp_path / "m.zip", tmp_path / "x"
    assert main(["pack", str(trained), "--out", str(zipped)]) == 0
    assert main(command.format(zip=zipped, out=out).split()) == 1
    assert "m.zip holds one checkpoint; leave 'x.pth' out" in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize("name", ["x", "x.zip"])
def test_a_decoding_that_is_none_of_the_models_is_not_packed(
    trained, tmp_path, capsys, name
):
    (tmp_path / "other.yaml").write_text("reverse_weight: 0.3\n")
    command = ["pack", str(trained), "--out", str(tmp_path / name)]
    assert main([*command, "--decoding", str(tmp_path / "other.yaml")]) == 1
    assert "other.yaml: unknown key 'reverse_weight'" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["other.yaml"]
    assert not (trained / "decode.yaml").exists()


@pytest.mark.parametrize("name", ["x", "x.zip"])
def test_the_state_of_a_training_is_no_model(trained, tmp_path, capsys, name):
    state = {"model": torch.load(trained / "model.pth"), "optimizers": [{}]}
    torch.save(state, trained / "checkpoint.pth")
    command = ["pack", str(trained), "--checkpoint", "checkpoint.pth", "--out"]
    assert main([*command, str(tmp_path / name)]) == 1
    assert "checkpoint.pth: model is no tensor; take" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_graph_that_does_not_go_along_is_told(tmp_path, caplog):
    config = tiny_ctc_config(["<blank>", "<unk>", "a", "<sos/eos>"])
    save_experiment(tmp_path / "exp", config)
    (tmp_path / "exp/decode.yaml").write_text("search: wfst\ngraph: data/graph\n")
    command = ["pack", str(tmp_path / "exp"), "--out", str(tmp_path / "x")]
    assert main(command) == 0
    assert "decode.yaml names the decoding graph data/graph" in caplog.text


def test_a_pack_that_fails_leaves_the_models_own_decoding(trained, tmp_path, capsys):
    exp = tmp_path / "exp"
    exp.mkdir()
    for path in trained.iterdir():
        (exp / path.name).symlink_to(path)
    (exp / "valid.acc.best.pth").write_bytes(b"damaged")
    (exp / "decode.yaml").write_text("beam_size: 7\n")
    (tmp_path / "new.yaml").write_text("beam_size: 2\n")
    command = ["pack", str(exp), "--out", str(tmp_path / "m.zip")]
    command += ["--decoding", str(tmp_path / "new.yaml")]
    assert main([*command, "--checkpoint", "valid.acc.best.pth"]) == 1
    assert (exp / "decode.yaml").read_text() == "beam_size: 7\n"
    assert main(command) == 0
    assert (exp / "decode.yaml").read_text() == "beam_size: 2\n"


def test_nothing_is_written_over(trained, tmp_path, capsys):
    (tmp_path / "mine").write_text("mine")
    assert main(["pack", str(trained), "--out", str(tmp_path)]) == 1
    assert "is there already" in capsys.readouterr().err


def test_weights_of_another_model_are_told_by_their_shapes(trained, tmp_path):
    assert main(["pack", str(trained), "--out", str(tmp_path / "x")]) == 0
    path = tmp_path / "x/config.yaml"
    config = yaml.safe_load(path.read_text())
    config["decoder_conf"]["linear_units"] = 48
    path.write_text(yaml.safe_dump(config))
    with pytest.raises(ValueError, match="model.safetensors does not fit .*of another"):
        load(tmp_path / "x")
