"""What version 0.1.0 wrote before its modules moved still loads, and says the same.

`tests/old_files/make.py` made the files: folders of experiments, packed models, a
checkpoint in the middle of a training, and the training configurations of all recipes.
Only what users name is called here: commands, and what `espnet_smoe.inference` exports.
"""

import contextlib
import io
import json
import subprocess
import tarfile
from pathlib import Path

import pytest
import soundfile
import torch
import yaml

from espnet_smoe import register
from espnet_smoe.check_config import build_model, count_parameters
from espnet_smoe.cli import main
from espnet_smoe.inference import SpeechToText, StreamingRecogniser, U2PPSpeechToText
from tests.warm_python import environment

ROOT = Path(__file__).resolve().parents[2]
OLD = ROOT / "tests/old_files"
AUDIO = {"u1": "wb", "u2": "wb", "u3": "nb", "u4": "nb"}  # its bandwidth
WAYS = {  # model and options of a transcription
    "smoe": ("smoe1/exp/smoe", ()),
    "smoe_ctc": ("smoe1/exp/smoe", ("--ctc-weight", "0.3")),
    "u2pp": ("u2pp1/exp/u2pp", ()),
    "u2pp_chunks": ("u2pp1/exp/u2pp", ("--chunk-size", "8")),
    "u2pp_attention": ("u2pp1/exp/u2pp", ("--search", "attention")),
    "stock": ("u2pp1/exp/stock", ()),
}
ZIPS = {"smoe": SpeechToText, "u2pp": U2PPSpeechToText}
TOLD = ("text", "score", "confidence", "nbest")
CLOSE = 2e-3  # numbers differ by what another processor rounds


def expected(name: str):
    """What stands in one of the JSON files."""
    return json.loads((OLD / f"{name}.json").read_text(encoding="utf-8"))


def name_of(entry: dict) -> str:
    return entry["names"][0]


def unpack(recipe: str, folder: Path) -> Path:
    """A recipe's folder as it was left."""
    with tarfile.open(OLD / f"{recipe}.tar.xz") as files:
        files.extractall(folder, filter="data")
    return folder / recipe


@pytest.fixture(scope="module")
def old(tmp_path_factory) -> Path:
    """The three recipes."""
    folder = tmp_path_factory.mktemp("old")
    for recipe in ("smoe1", "u2pp1", "ctc1"):
        unpack(recipe, folder)
    return folder


def printed(*words: str) -> str:
    """What a command writes to standard output."""
    with contextlib.redirect_stdout(io.StringIO()) as out:
        assert main(list(words)) in (0, None)
    return out.getvalue()


def transcribed(old: Path, way: str) -> list[dict]:
    """Of each sound: text, scores and confidence of each task."""
    model, options = WAYS[way]
    records = []
    for label in dict.fromkeys(AUDIO.values()):
        sounds = [old / f"smoe1/data/wav/{u}.flac" for u in AUDIO if AUDIO[u] == label]
        words = [*map(str, sounds), "--model", str(old / model), "--bandwidth", label]
        words += ["--format", "json", "--nbest", "2", "--keep-silence", *options]
        for line in printed("transcribe", *words).splitlines():
            (piece,) = json.loads(line)["pieces"]
            tasks = {k: found for k, found in piece.items() if isinstance(found, dict)}
            records.append({k: {w: of[w] for w in TOLD} for k, of in tasks.items()})
    return records


def streamed(old: Path) -> list[list[list[str]]]:
    """Of each sound: kind and text of each event."""
    model, found = str(old / "u2pp1/exp/u2pp"), []
    for name in AUDIO:
        sound = str(old / f"smoe1/data/wav/{name}.flac")
        words = [sound, "--model", model, "--json", "--keep-silence"]
        lines = printed("stream", *words, "--chunk-size", "8").splitlines()
        found.append([[e["kind"], e["text"]] for e in map(json.loads, lines)])
    return found


def syllables(old: Path, config: Path, checkpoint: Path) -> list[dict]:
    """Of each sound: what the CTC head of a SpeechMoE model finds likeliest."""
    from espnet2.tasks.asr import ASRTask

    register()
    with contextlib.chdir(old / "ctc1"):  # from where it names its statistics
        model, _ = ASRTask.build_model_from_file(str(config), str(checkpoint))
    model.eval()
    found = []
    for name in AUDIO:
        wave = torch.from_numpy(sound_of(old, name))[None]
        with torch.inference_mode():
            encoded, _ = model.encode(wave, torch.tensor([wave.shape[1]]))
            log_probs, path = model.ctc.log_softmax(encoded)[0].max(dim=-1)
        units = [model.token_list[i] for i in torch.unique_consecutive(path) if i]
        found.append({"units": units, "score": round(log_probs.sum().item(), 4)})
    return found


def sound_of(old: Path, name: str):
    return soundfile.read(old / f"smoe1/data/wav/{name}.flac", dtype="float32")[0]


def check(found, wanted, where: str = "") -> None:
    """Equal, but for rounding and for keys that are new."""
    if isinstance(wanted, dict):
        for key, value in wanted.items():
            check(found[key], value, f"{where} {key}")
    elif isinstance(wanted, list):
        assert len(found) == len(wanted), where
        for number, (one, other) in enumerate(zip(found, wanted)):
            check(one, other, f"{where} {number}")
    elif isinstance(wanted, float):
        assert found == pytest.approx(wanted, abs=CLOSE), where
    else:
        assert found == wanted, where


@pytest.mark.parametrize("way", WAYS)
def test_an_old_experiment_transcribes_as_before(old, way):
    check(transcribed(old, way), expected("transcribed")[way])


@pytest.mark.parametrize("name", ZIPS)
def test_an_old_zip_transcribes_as_before(old, name):
    folder = old / WAYS[name][0]
    model = ZIPS[name].from_pretrained(folder / f"{name}.zip", detect_speech=False)
    waves = [sound_of(old, u) for u in AUDIO]
    for found, wanted in zip(
        model(waves, bandwidth=list(AUDIO.values())), expected("transcribed")[name]
    ):
        for task, result in found.items():
            assert result.text == wanted[task]["text"] != ""
            assert result.score == pytest.approx(wanted[task]["score"], abs=CLOSE)


def test_an_old_model_streams_as_before(old):
    wanted = expected("streamed")
    assert streamed(old) == wanted
    model = StreamingRecogniser.load(old / "u2pp1/exp/u2pp/u2pp.zip")
    stream = model.open()
    stream.accept(sound_of(old, "u1"))
    stream.finish()
    events = []
    while stream.ready:
        events += model.step([stream])[0]
    assert events[-1].text == wanted[0][-1][1] != ""


def test_an_old_syllable_model_finds_the_same_units(old, tmp_path):
    from espnet2.main_funcs.pack_funcs import unpack as unpack_zip

    folder = old / "ctc1/exp/speech_moe"
    files = unpack_zip(folder / "speech_moe.zip", tmp_path)
    for config, checkpoint in (
        (folder / "config.yaml", folder / "valid.loss_ctc.ave.pth"),
        (files["asr_train_config"], files["asr_model_file"]),
    ):
        check(syllables(old, config, checkpoint), expected("syllables"))


def test_an_old_checkpoint_goes_on_as_before(tmp_path):
    recipe, wanted = unpack("smoe1", tmp_path), expected("resumed")
    words = ["-m", "espnet_smoe", "-m", "espnet2.bin.asr_train", *wanted["words"]]
    done = subprocess.run(
        ["python3", *words, "--max_epoch", "3"],
        cwd=recipe,
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "The training was resumed" in done.stderr
    states = torch.load(recipe / "exp/smoe/checkpoint.pth")
    epoch = states["reporter"]["stats"][3]["train"]
    assert epoch["optim0_lr0"] == pytest.approx(wanted["optim0_lr0"])
    # not begun anew (22) or an epoch behind (1.43); what drops out depends on the CPU
    assert epoch["loss"] == pytest.approx(wanted["loss"], rel=0.4)


def test_an_old_experiment_has_its_place_in_a_comparison(old, tmp_path):
    recipe, out = old / "smoe1", tmp_path / "compare.md"
    words = [str(recipe / "exp/smoe"), "--data", str(recipe / "dump/raw/test")]
    printed("compare", *words, "--out", str(out), "--png", str(tmp_path / "x.png"))
    table = out.read_text(encoding="utf-8")
    assert "| asr WER %, all | 0.00" in table and "| parameters | 12.4k |" in table


@pytest.mark.parametrize("entry", expected("decode_yamls"), ids=name_of)
def test_an_old_decoding_yaml_is_understood(old, entry):
    name = "u2pp" if "/u2pp1/" in name_of(entry) else "smoe"
    options = yaml.safe_load(entry["text"])
    model = ZIPS[name].from_pretrained(
        old / WAYS[name][0] / f"{name}.zip", detect_speech=False, **options
    )
    (found,) = model(sound_of(old, "u1"), bandwidth=AUDIO["u1"])
    assert found["asr"].text == expected("transcribed")[name][0]["asr"]["text"]


@pytest.mark.parametrize("entry", expected("yamls"), ids=name_of)
def test_an_old_yaml_builds_a_model_of_the_same_size(entry, tmp_path):
    path = tmp_path / "train.yaml"
    path.write_text(entry["text"], encoding="utf-8")
    # what check-config does, but for the costs, which take most of its time
    counts = count_parameters(build_model(path))
    assert [counts["total"], counts["active"]] == entry["parameters"]
