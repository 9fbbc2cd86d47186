"""`espnet-smoe slice --format espnet`: what ESPnet loads without this package."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import yaml

from espnet_smoe.data.text.unicode_text import normalize_unicode
from espnet_smoe.inference.speech_to_text import SpeechToText
from espnet_smoe.slice.command import main
from tests.slice.stock import texts_by_readme
from tests.tiny import save_experiment, talk, tiny_config

SECONDS = (0.7, 1.1)


def experiment(
    folder: Path, encoder: dict | None, decoder: dict | None, **more
) -> Path:
    """A random model of experts whose parts ESPnet has."""
    config = tiny_config(folder, moe=False)
    config["encoder_conf"] |= {"input_layer": "conv2d", **more}
    config["encoder_conf"].pop("subsampling_channels")
    for part, moe in (("encoder", encoder), ("decoder", decoder)):
        if moe is not None:
            config[f"{part}_conf"] = config[f"{part}_conf"] | {"moe": moe}
    path, weights = save_experiment(folder / "exp", config)
    state = torch.load(weights)  # experts of one size differ, and the texts with them
    for name in [n for n in state if ".w_2.weight" in n]:
        state[name] *= 6
    torch.save(state, weights)
    return path.parent


@pytest.fixture(scope="module")
def mixture(tmp_path_factory):
    """S-MoE with experts by bandwidth and by task."""
    label = {"gate": "label"}
    return experiment(tmp_path_factory.mktemp("espnet"), label, label)


@pytest.fixture(scope="module")
def waves(tmp_path_factory):
    """Recordings."""
    folder, paths = tmp_path_factory.mktemp("waves"), []
    for number, seconds in enumerate(SECONDS):
        paths.append(folder / f"{number}.wav")
        soundfile.write(paths[-1], talk(seconds, number), 16000, subtype="FLOAT")
    return paths


def our_texts(exp: Path, waves: list[Path], task: str, bandwidth: str) -> list[str]:
    """The texts that the whole model writes."""
    options = {"beam_size": 10, "ctc_weight": 0.0, "detect_speech": False}
    model = SpeechToText.load(exp, **options)
    speech = [np.float32(soundfile.read(path)[0]) for path in waves]
    return [r[task].text for r in model(speech, task, bandwidth)]


def told(texts: list[str]) -> list[str]:
    """Texts in one form: of random bytes, ours have left out what is no character."""
    return [normalize_unicode(text.replace("\ufffd", "")).strip() for text in texts]


@pytest.mark.parametrize(
    "task, label", [("asr", "<transcribe>"), ("st", "<translate>")]
)
def test_without_this_package_espnet_writes_the_same_text(
    mixture, waves, tmp_path, task, label, capsys
):
    out = tmp_path / "slice"
    main(["--model", str(mixture), "--label", label, "<nb>", "--out", str(out)])
    ours = our_texts(mixture, waves, task, "nb")
    assert len(set(ours)) > 1
    if task == "asr":  # its CTC head came along; here the decoder alone is compared
        page = (out / "README.md").read_text()
        assert "ctc_weight=0.3" in page
        page = page.replace("ctc_weight=0.3", "ctc_weight=0.0")
        (out / "README.md").write_text(page)
    else:
        assert "CTC head is left out: it spells task asr" in capsys.readouterr().out
    assert told(texts_by_readme(out, waves)) == told(ours)


def test_the_readme_decodes_as_the_mixture_does(mixture, waves, tmp_path):
    exp, out = tmp_path / "exp", tmp_path / "slice"
    shutil.copytree(mixture, exp)
    own = "beam_size: 3\nmaxlenratio: -4\nctc_weight: 0.2\n"
    (exp / "decode.yaml").write_text(own)
    main(["--model", str(exp), "--label", "<translate>", "<nb>", "--out", str(out)])
    model = SpeechToText.load(exp, detect_speech=False)
    speech = [np.float32(soundfile.read(path)[0]) for path in waves]
    found = model(speech, "st", "nb")
    assert all(len(r["st"].tokens) == 4 for r in found)
    assert told(texts_by_readme(out, waves)) == told([r["st"].text for r in found])
    asr = tmp_path / "asr"
    main(["--model", str(exp), "--label", "<transcribe>", "<nb>", "--out", str(asr)])
    assert "ctc_weight=0.2" in (asr / "README.md").read_text()


def test_nothing_in_the_configuration_is_ours(mixture, tmp_path, monkeypatch):
    from espnet2.tasks.asr import ASRTask

    out = tmp_path / "slice"
    words = ["--model", str(mixture), "--label", "<translate>", "<wb>"]
    monkeypatch.setattr(sys, "argv", ["espnet-smoe", "slice", *words])
    main([*words, "--out", str(out)])
    config = yaml.safe_load((out / "config.yaml").read_text())
    assert config["encoder"] == config["decoder"] == "transformer"
    assert config["model"] == "espnet" and config["preprocessor"] == "default"
    model, _ = ASRTask.build_model_from_file(out / "config.yaml")
    assert all(m.__module__.startswith("espnet2.") for m in parts_of(model))
    assert set(config) <= {action.dest for action in ASRTask.get_parser()._actions}
    assert set(torch.load(out / "model.pth")) == set(model.state_dict())


def parts_of(model) -> list[type]:
    """The classes of a model and of its parts."""
    return [type(model), *(type(part) for part in model.children())]


def test_a_bandwidth_alone_leaves_all_tasks(tmp_path):
    exp = experiment(tmp_path, {"gate": "label"}, None)
    out = tmp_path / "slice"
    main(["--model", str(exp), "--label", "<nb>", "--out", str(out)])
    assert "# task st: [" in (out / "README.md").read_text()
    state, whole = torch.load(out / "model.pth"), torch.load(exp / "model.pth")
    for layer in range(2):
        kept = state[f"encoder.encoders.{layer}.feed_forward.w_1.weight"]
        expert = whole[f"encoder.encoders.{layer}.feed_forward.experts.1.w_1.weight"]
        assert torch.equal(kept, expert)


FAULTS = {
    "encoder_conf.input_layer: ESPnet has no 'conv1d_glu'": {
        "input_layer": "conv1d_glu"
    },
}


@pytest.mark.parametrize("message", FAULTS)
def test_what_espnet_lacks_is_named(tmp_path, message):
    label = {"gate": "label"}
    exp = experiment(tmp_path, None, label, **FAULTS[message])
    out = tmp_path / "slice"
    with pytest.raises(ValueError, match=message) as caught:
        main(["--model", str(exp), "--label", "<translate>", "--out", str(out)])
    assert "\n" not in str(caught.value) and not out.exists()


def test_a_front_end_of_ours_is_named(tmp_path):
    config = tiny_config(tmp_path) | {"frontend": "smoe_whisper"}
    config["frontend_conf"] = {"n_mels": 80}
    exp = save_experiment(tmp_path / "exp", config)[0].parent
    words = ["--model", str(exp), "--label", "<translate>", "<wb>", "--out"]
    with pytest.raises(ValueError, match="frontend: ESPnet has nothing like 'smoe_wh"):
        main([*words, str(tmp_path / "slice")])
