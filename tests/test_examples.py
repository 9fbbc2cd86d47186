"""The scripts in examples/ run, and show what they say."""

import re
from pathlib import Path

import pytest
import soundfile

from tests.integration.test_old_files import unpack
from tests.scripts import run_script

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


def run(name: str, *words: str | Path) -> str:
    script = (ROOT / "examples" / name).read_text(encoding="utf-8")
    return run_script(script, ROOT, *words)


@pytest.fixture(scope="module")
def old(tmp_path_factory) -> Path:
    """Two trained models, and a recording that they know by heart."""
    folder = tmp_path_factory.mktemp("old")
    unpack("smoe1", folder)
    unpack("u2pp1", folder)
    wave, rate = soundfile.read(folder / "smoe1/data/wav/u1.flac")
    soundfile.write(folder / "talk.wav", wave, rate)
    return folder


def test_an_example_is_short():
    for path in EXAMPLES:
        assert len(path.read_text(encoding="utf-8").splitlines()) < 60, path.name


def test_every_example_is_on_their_page():
    page = (ROOT / "examples/README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"\]\((\w+\.py)\)", page)) == {p.name for p in EXAMPLES}


def test_transcribe_prints_a_text_of_each_task(old):
    said = run("transcribe.py", old / "smoe1/exp/smoe", old / "talk.wav")
    assert "talk.wav, asr: " in said and "talk.wav, st: " in said


def test_stream_ends_with_a_final_text(old):
    said = run("stream.py", old / "u2pp1/exp/u2pp", old / "talk.wav")
    assert re.search(r"\d s final: ", said.splitlines()[-1])


def test_a_tiny_model_learns_its_tones():
    lines = run("train_tiny.py").splitlines()
    assert lines[-4:] == ["abc: abc", "dab: dab", "cad: cad", "bcd: bcd"]


def test_experts_share_the_frames():
    first, *_, last = run("moe_in_torch.py").splitlines()
    error = [float(re.search(r"error ([\d.]+)", x)[1]) for x in (first, last)]
    load = [int(x) for x in re.search(r"\[(.*)\]", last)[1].split(",")]
    assert error[1] < error[0] / 10 and sum(load) == 400 and min(load) > 40


def test_an_upcycled_encoder_computes_the_same():
    last = run("upcycle.py").splitlines()[-1]
    assert float(last.partition(": ")[2]) < 1e-5
