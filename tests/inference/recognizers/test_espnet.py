"""Models of ESPnet's own asr.sh transcribe behind the same door."""

import json

import pytest
import soundfile
import yaml

from espnet_smoe import register
from espnet_smoe.cli import main
from tests.inference.sounds import not_speech
from tests.tiny import save_experiment, talk

TOKENS = ["<blank>", "<unk>", *"abcdefgh", "<space>", "<sos/eos>"]
SIZE = {"linear_units": 16, "attention_heads": 2, "num_blocks": 1}


def stock_config(**changes):
    register()
    from espnet2.tasks.asr import ASRTask

    return (
        ASRTask.get_default_config()
        | {
            "token_list": TOKENS,
            "token_type": "char",
            "model": "espnet",
            "model_conf": {"ctc_weight": 0.3},
            "frontend_conf": {"n_fft": 512, "hop_length": 160, "n_mels": 20},
            "normalize": None,
            "encoder": "conformer",
            "encoder_conf": SIZE | {"output_size": 16},
            "decoder": "transformer",
            "decoder_conf": SIZE,
        }
        | changes
    )


def transcribe(folder, *files, more=()):
    options = ("--model", str(folder), "--format", "json", *more)
    return main(["transcribe", *map(str, files), *options])


@pytest.fixture
def wav(tmp_path):
    soundfile.write(tmp_path / "a.wav", talk(1.0), 16000)
    soundfile.write(tmp_path / "b.wav", not_speech(2.0)["digital zeros"], 16000)
    return tmp_path / "a.wav", tmp_path / "b.wav"


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_attention_and_ctc_models_transcribe(tmp_path, wav, capsys, weight):
    changes = {"model_conf": {"ctc_weight": weight}}
    save_experiment(tmp_path / "exp", stock_config(**changes))
    assert transcribe(tmp_path / "exp", *wav, more=("--nbest", "2")) == 0
    heard, silent = map(json.loads, capsys.readouterr().out.splitlines())
    (piece,) = heard["pieces"]
    assert len(piece["asr"]["nbest"]) == 2
    assert silent["asr"] == "" and silent["pieces"] == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"decoder": "transducer"}, "'decoder: transducer' is not supported"),
        ({"frontend_conf": {"fs": "8k"}}, "the model is for 8000 Hz"),
        ({"frontend": "s3prl"}, "'frontend: s3prl' is not supported"),
        ({"model": "maskctc"}, "'model: maskctc' cannot transcribe"),
    ],
)
def test_what_is_not_supported_is_named(tmp_path, wav, capsys, changes, said):
    save_experiment(tmp_path / "exp", stock_config())
    text = (tmp_path / "exp/config.yaml").read_text()
    config = yaml.safe_load(text) | changes
    (tmp_path / "exp/config.yaml").write_text(yaml.safe_dump(config))
    assert transcribe(tmp_path / "exp", *wav) == 1
    assert said in capsys.readouterr().err


def test_int8_is_of_our_experts_and_refused_without_any(tmp_path, wav, capsys):
    save_experiment(tmp_path / "stock", stock_config())
    assert transcribe(tmp_path / "stock", wav[0], more=["--int8"]) == 1
    assert "int8: none of the model's classes is of espnet_smoe" in (
        capsys.readouterr().err
    )
    moe = SIZE | {"output_size": 16, "moe": {"gate": "topk", "num_experts": 2}}
    config = stock_config(encoder="smoe_conformer", encoder_conf=moe)
    save_experiment(tmp_path / "experts", config)
    scores = []
    for more in ([], ["--int8"]):
        assert transcribe(tmp_path / "experts", wav[0], more=more) == 0
        (piece,) = json.loads(capsys.readouterr().out)["pieces"]
        scores.append(piece["asr"]["score"])
    assert scores[0] != scores[1] == pytest.approx(scores[0], rel=0.05)
