"""The command writes text, JSON and subtitles, and goes on after a bad file."""

import json

import pytest
import soundfile

from espnet_smoe.cli import main
from tests.tiny import noise, save_experiment, tiny_config


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exp")
    save_experiment(folder, tiny_config(folder))
    return str(folder)


@pytest.fixture
def audio(tmp_path):
    """A call at 8 kHz and a talk that has to be cut."""
    soundfile.write(tmp_path / "call.wav", noise(0.5, rate=8000), 8000)
    soundfile.write(tmp_path / "talk.flac", noise(33), 16000)
    return [str(tmp_path / "call.wav"), str(tmp_path / "talk.flac")]


def transcribe(*arguments):
    return main(["transcribe", *arguments, "--beam-size", "1"])


def test_text_has_a_line_a_task(model, audio, capsys):
    assert transcribe(audio[0], "--model", model) == 0
    out, err = capsys.readouterr()
    lines = [line.split("\t") for line in out.splitlines()]
    assert [line[:2] for line in lines] == [[audio[0], "asr"], [audio[0], "st"]]
    assert "RTF" in err


def test_json_tells_bandwidth_and_pieces(model, audio, tmp_path):
    out = tmp_path / "out.jsonl"
    options = ("--format", "json", "--out", str(out), "--tasks", "st")
    assert transcribe(*audio, "--model", model, *options) == 0
    call, talk = map(json.loads, out.read_text().splitlines())
    assert (call["bandwidth"], talk["bandwidth"]) == ("nb", "wb")
    assert (call["seconds"], talk["seconds"]) == (0.5, 33.0)
    assert "asr" not in call
    first, second = talk["pieces"]
    assert first["end"] == second["start"] <= 30
    assert set(first) == {"start", "end", "st"}
    assert (first["start"], second["end"]) == (0.0, 33.0)


def test_subtitles_of_several_files_fill_a_folder(model, audio, tmp_path):
    out = tmp_path / "subtitles"
    options = ("--format", "srt", "--out", str(out))
    assert transcribe(*audio, "--model", model, *options) == 0
    assert sorted(p.name for p in out.iterdir()) == ["call.srt", "talk.srt"]
    blocks = (out / "talk.srt").read_text().split("\n\n")
    assert blocks[0].splitlines()[:1] == ["1"]
    assert blocks[0].splitlines()[1].startswith("00:00:00,000 --> 00:00:")


def test_bad_file_is_reported_and_the_rest_goes_on(model, audio, tmp_path, capsys):
    bad = tmp_path / "bad.wav"
    bad.write_bytes(b"no audio")
    missing = str(tmp_path / "missing.wav")
    files = (str(bad), audio[0], missing)
    assert transcribe(*files, "--model", model, "--tasks", "asr") == 1
    out, err = capsys.readouterr()
    assert out.startswith(f"{audio[0]}\tasr\t")
    assert f"failed: {bad}" in err
    assert f"failed: {missing}" in err
    assert "2 of 3 files failed" in err


@pytest.mark.parametrize(
    "options, message",
    [
        (("--tasks", "asr,xx"), "unknown task 'xx'"),
        (("--bandwidth", "mb"), "unknown bandwidth 'mb'"),
        (("--model-file", "x"), "give --model, or both"),
    ],
)
def test_bad_option_is_one_line(model, audio, capsys, options, message):
    assert transcribe(audio[0], "--model", model, *options) == 1
    assert message in capsys.readouterr().err
