"""`espnet-smoe slice` of mixtures with OWSM's prompts: ESPnet's S2T task loads it."""

from pathlib import Path

import pytest
import soundfile
import torch
import yaml
from espnet2.bin.s2t_inference import Speech2Text
from espnet2.tasks.s2t import S2TTask

from espnet_smoe.importers.command import main as import_main
from espnet_smoe.inference.speech_to_text import SpeechToText
from espnet_smoe.slice.command import main
from tests.importers.tiny_espnet import WINDOW, make_mixture
from tests.slice.stock import texts_by_readme
from tests.tiny import talk

TASKS = {"<asr>": "asr", "<st_eng>": "st"}


@pytest.fixture(scope="module")
def waves(tmp_path_factory):
    """Recordings, shorter than the window."""
    folder, paths = tmp_path_factory.mktemp("waves"), []
    for number, share in enumerate((0.6, 0.9)):
        paths.append(folder / f"{number}.wav")
        wave = talk(WINDOW * share, number)
        soundfile.write(paths[-1], wave, 16000, subtype="FLOAT")
    return paths


@pytest.fixture(scope="module")
def mixture(tmp_path_factory):
    return make_mixture(tmp_path_factory.mktemp("s2t"))


@pytest.fixture(scope="module")
def expected(mixture, waves, tmp_path_factory):
    """What ESPnet writes with the whole mixture, by task."""
    config = yaml.safe_load((mixture / "config.yaml").read_text())
    for section, key in (
        (config, "bpemodel"),
        (config["normalize_conf"], "stats_file"),
    ):
        section[key] = str(mixture.parents[1] / section[key])
    path = tmp_path_factory.mktemp("whole") / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    whole = Speech2Text(path, mixture / "valid.acc.ave.pth", beam_size=10)
    speech = [soundfile.read(wave, dtype="float32")[0] for wave in waves]
    return {t: [whole(wave, task_sym=t)[0][3] for wave in speech] for t in TASKS}


def check_stock(folder: Path) -> None:
    """Nothing in the model of a slice is ours, and its weights fit."""
    model, _ = S2TTask.build_model_from_file(folder / "config.yaml")
    modules = {type(part).__module__ for part in [model, *model.children()]}
    assert all(name.startswith("espnet2.") for name in modules)
    assert set(torch.load(folder / "model.pth")) == set(model.state_dict())


def test_a_slice_of_s2t_writes_what_espnet_writes_with_the_mixture(
    mixture, waves, expected, tmp_path
):
    texts = {}
    for task in TASKS:
        out = tmp_path / TASKS[task]
        main(["--model", str(mixture), "--label", task, "--out", str(out)])
        check_stock(out)
        assert any(name.startswith("ctc.") for name in torch.load(out / "model.pth"))
        texts[task] = texts_by_readme(out, waves)
    assert texts == expected and len({*map(tuple, texts.values())}) == len(TASKS)


def test_a_slice_of_an_imported_owsm_is_one_of_espnets_again(
    mixture, waves, tmp_path, capsys
):
    exp, out = tmp_path / "exp", tmp_path / "slice"
    import_main(["espnet", str(mixture), "--out", str(exp), "--language", "kor"])
    options = {"beam_size": 10, "detect_speech": False}
    speech = [soundfile.read(wave, dtype="float32")[0] for wave in waves]
    ours = [r["st"].text for r in SpeechToText.load(exp, **options)(speech, "st")]
    main(["--model", str(exp), "--label", "<st_*>", "--out", str(out)])
    assert "st: <sos> <kor> <st_eng> <notimestamps>" in capsys.readouterr().out
    check_stock(out)
    assert texts_by_readme(out, waves) == ours and any(ours)
