"""`espnet-smoe pack` of a mixture with OWSM's prompts: `espnet transcribe` takes it."""

import contextlib
from pathlib import Path

import pytest
import soundfile
import yaml
from espnet2.bin.cli import main as espnet
from espnet2.bin.s2t_inference import Speech2Text

from espnet_smoe.cli import main
from tests.importers.tiny_espnet import WINDOW, make_mixture
from tests.tiny import talk


@pytest.fixture(scope="module")
def mixture(tmp_path_factory):
    return make_mixture(tmp_path_factory.mktemp("s2t"))


def test_espnets_commands_write_what_the_experiment_writes(
    mixture, tmp_path, monkeypatch, capsys
):
    packed, wav = str(tmp_path / "owsm.zip"), str(tmp_path / "a.wav")
    soundfile.write(wav, talk(1.6 * WINDOW, 1), 16000)
    assert main(["pack", str(mixture), "--out", packed]) == 0
    with contextlib.chdir(mixture.parents[1]):
        files = mixture / "config.yaml", mixture / "valid.acc.ave.pth"
        whole = Speech2Text(*files)
        asked = {"transcribe": "<asr>", "translate": "<st_eng>"}
        expected = {}
        for command, task in asked.items():
            found = whole.decode_long(wav, lang_sym="<kor>", task_sym=task)
            expected[command] = " ".join(text for _, _, text in found)
    monkeypatch.setenv("HOME", str(tmp_path))  # of the model zoo's cache
    capsys.readouterr()
    texts = {}
    for command in asked:
        words = [command, wav, "--language", "kor", "--model", packed]
        assert espnet(words + ["--to", "eng"] * (command == "translate")) == 0
        texts[command] = capsys.readouterr().out.removesuffix("\n")
    assert texts == expected and texts["transcribe"] != texts["translate"]


def test_the_card_of_a_folder_tells_commands_that_take_it(mixture, tmp_path):
    folder, exp = tmp_path / "owsm", tmp_path / "exp"
    assert main(["pack", str(mixture), "--out", str(folder), "--name", "lab/owsm"]) == 0
    page = (folder / "README.md").read_text()
    assert "espnet transcribe talk.wav --model lab/owsm --language kor" in page
    (command,) = [s for s in page.splitlines() if s.startswith("espnet-smoe ")]
    words = command.replace("lab/owsm", str(folder), 1).split()[1:]
    words[words.index("--out") + 1] = str(exp)
    assert main(words) == 0
    config = yaml.safe_load(Path(exp / "config.yaml").read_text())
    assert list(config["model_conf"]["tasks"]) == ["asr", "st"]
