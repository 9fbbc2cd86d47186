"""The command writes text, JSON and subtitles, and goes on after a bad file."""

import json
import os
import shutil
from pathlib import Path

import pytest
import soundfile

from espnet_smoe.cli import main
from espnet_smoe.inference import SpeechToText
from espnet_smoe.inference.long_form.detectors import new_activity
from espnet_smoe.inference.long_form.long_audio import cuts_of
from espnet_smoe.inference.output.formats import as_json
from espnet_smoe.inference.transcribe import Transcriber, _names_of
from tests.inference.sounds import not_speech, talks_with_pauses
from tests.tiny import save_experiment, talk, tiny_config


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exp")
    save_experiment(folder, tiny_config(folder))
    return str(folder)


@pytest.fixture
def audio(tmp_path):
    """A call at 8 kHz and a talk that has to be cut."""
    soundfile.write(tmp_path / "call.wav", talk(0.5, rate=8000), 8000)
    soundfile.write(tmp_path / "talk.flac", talk(33), 16000)
    return [str(tmp_path / "call.wav"), str(tmp_path / "talk.flac")]


def transcribe(*arguments):
    return main(["transcribe", *arguments, "--beam-size", "1"])


def test_text_has_a_line_a_task(model, audio, capsys):
    assert transcribe(audio[0], "--model", model) == 0
    out, err = capsys.readouterr()
    lines = [line.split("\t") for line in out.splitlines()]
    assert [line[:2] for line in lines] == [[audio[0], "asr"], [audio[0], "st"]]
    assert "RTF" in err


def test_the_yaml_that_came_with_a_model_is_its_decoding(
    model, audio, tmp_path, capsys
):
    folder = tmp_path / "exp"
    shutil.copytree(model, folder)

    def tokens(*more):
        given = ["--model", str(folder), "--tasks", "asr", "--format", "json", *more]
        assert transcribe(audio[0], *given) == 0
        return len(json.loads(capsys.readouterr().out)["pieces"][0]["asr"]["tokens"])

    free = tokens()
    (folder / "decode.yaml").write_text("maxlenratio: -2\n")
    assert tokens() <= 2 < free
    (tmp_path / "other.yaml").write_text("batch_size: 1\n")
    assert tokens("--config", str(tmp_path / "other.yaml")) == free


def test_json_tells_bandwidth_and_pieces(model, audio, tmp_path):
    out = tmp_path / "out.jsonl"
    options = ("--format", "json", "--out", str(out), "--tasks", "st")
    assert transcribe(*audio, "--model", model, *options) == 0
    call, talk = map(json.loads, out.read_text().splitlines())
    assert (call["bandwidth"], talk["bandwidth"]) == ("nb", "wb")
    assert (call["seconds"], talk["seconds"]) == (0.5, 33.0)
    assert "asr" not in call
    first, *_, last = talk["pieces"]
    assert all(p["end"] - p["start"] <= 30 for p in talk["pieces"])
    assert set(first) == {"start", "end", "st"}
    assert (first["start"], last["end"]) == (0.0, pytest.approx(33.0, abs=0.2))
    assert 0 <= talk["confidence"]["st"] <= 1


def test_subtitles_of_several_files_fill_a_folder(model, audio, tmp_path):
    out = tmp_path / "subtitles"
    options = ("--format", "srt", "--out", str(out))
    assert transcribe(*audio, "--model", model, *options) == 0
    assert sorted(p.name for p in out.iterdir()) == ["call.srt", "talk.srt"]
    blocks = (out / "talk.srt").read_text().split("\n\n")
    assert blocks[0].splitlines()[:1] == ["1"]
    assert blocks[0].splitlines()[1].startswith("00:00:00,000 --> 00:00:")


def test_what_was_written_stays_until_there_is_a_text(model, audio, tmp_path, capsys):
    out, new = tmp_path / "out.txt", tmp_path / "new.txt"
    out.write_text("of yesterday\n")
    for place in (out, new):
        words = (str(tmp_path / "gone.wav"), "--model", model, "--out", str(place))
        assert transcribe(*words) == 1
    assert out.read_text() == "of yesterday\n" and not new.exists()
    short = "--beam-size", "1", "--tasks", "asr"
    assert transcribe(audio[0], "--model", model, "--out", str(out), *short) == 0
    assert out.read_text().startswith(f"{audio[0]}\tasr\t")
    assert len(out.read_text().splitlines()) == 1
    kept = Path(audio[0]).read_bytes()
    assert transcribe(*audio, "--model", model, "--out", audio[0]) == 1
    assert "call.wav is what is read; name another" in capsys.readouterr().err
    assert Path(audio[0]).read_bytes() == kept


def test_a_name_that_is_no_text_keeps_its_bytes_in_a_file(model, audio, tmp_path):
    name = os.fsencode(tmp_path) + b"/caf\xe9.wav"
    with open(name, "wb") as file:
        file.write(Path(audio[0]).read_bytes())
    out = tmp_path / "out.txt"
    words = os.fsdecode(name), "--model", model, "--out", str(out), "--tasks", "asr"
    assert transcribe(*words) == 0
    assert out.read_bytes().startswith(name + b"\tasr\t")


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


def test_no_speech_no_text(model, tmp_path, capsys):
    kinds = ("digital zeros", "pink at -30 dB", "tone 440 at -3 dB")
    for i, kind in enumerate(kinds):
        soundfile.write(tmp_path / f"{i}.wav", not_speech(2.0)[kind], 16000)
    files = [str(tmp_path / f"{i}.wav") for i in range(len(kinds))]
    assert transcribe(*files, "--model", model, "--tasks", "asr") == 0
    assert capsys.readouterr().out.splitlines() == [f"{f}\tasr\t" for f in files]
    assert transcribe(files[0], "--model", model, "--format", "json") == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["asr"], record["pieces"]) == ("", [])
    assert record["confidence"] == {"asr": None, "st": None}
    assert transcribe(files[0], "--model", model, "--format", "srt") == 0
    assert capsys.readouterr().out == "\n"


def test_a_recording_in_pieces_has_what_each_has_alone(model, tmp_path):
    wave = talks_with_pauses([1.5, 0.9, 2.1, 1.2, 1.4, 1.0] * 3, 0.8)
    soundfile.write(tmp_path / "all.wav", wave, 16000, "FLOAT")
    speech_to_text = SpeechToText.from_pretrained(
        model, batch_size=2, beam_size=1, longest_seconds=3.0
    )
    (found,) = Transcriber(speech_to_text, ["asr"], "wb")([str(tmp_path / "all.wav")])
    assert len(found.pieces) == 18
    for piece in found.pieces:
        own = wave[round(piece.start * 16000) : round(piece.end * 16000)]
        (alone,) = speech_to_text.recognize([own], ["wb"], ["asr"], ["x"])
        assert piece.results["asr"].tokens == alone["asr"].tokens


def test_speech_without_a_pause_is_read_once(model, tmp_path):
    """By the command as by the class; its words have the times of the recording."""
    soundfile.write(tmp_path / "talk.wav", talk(9), 16000, "FLOAT")
    speech_to_text = SpeechToText.from_pretrained(
        model, beam_size=1, longest_seconds=2.0, maxlenratio=0.2
    )
    (found,) = Transcriber(speech_to_text, ["asr"], "wb")([str(tmp_path / "talk.wav")])
    (alone,) = speech_to_text([talk(9)], "asr", "wb")
    record = json.loads(as_json(found))
    assert record["asr"] == alone["asr"].text
    pieces = record["pieces"]
    assert len(pieces) > 4
    assert [p["end"] for p in pieces[:-1]] == [p["start"] for p in pieces[1:]]
    words = [word for piece in pieces for word in piece["asr"].get("words", ())]
    assert [word["word"] for word in words] == record["asr"].split()
    starts = [word["start"] for word in words]
    assert starts == pytest.approx([w.start for w in alone["asr"].words], abs=1e-3)
    assert starts == sorted(starts) and starts[-1] > 7


def test_pieces_overlap_only_where_all_tasks_have_times(model, tmp_path):
    """What two pieces have of a translation is not told by their words."""
    speech_to_text = SpeechToText.load(model, beam_size=1, longest_seconds=2.0)
    activity = new_activity()
    activity.accept(talk(9))
    for tasks, overlap in ((["asr"], True), (["asr", "st"], False), (["st"], False)):
        cuts = cuts_of(speech_to_text, activity, tasks, "talk")
        assert len(cuts) > 4
        for one, other in zip(cuts, cuts[1:]):
            assert (one.end > other.start) == overlap


def test_no_more_than_some_pieces_are_in_memory(model, tmp_path, monkeypatch):
    wave = talks_with_pauses([1.0] * 40, 0.8)
    soundfile.write(tmp_path / "long.wav", wave, 16000)
    held = []
    recognize = SpeechToText.recognize

    def spy(self, waves, *arguments):
        held.append(sum(map(len, waves)))
        return recognize(self, waves, *arguments)

    monkeypatch.setattr(SpeechToText, "recognize", spy)
    options = ("--tasks", "asr", "--batch-size", "2", "--max-segment-seconds", "2")
    assert transcribe(str(tmp_path / "long.wav"), "--model", model, *options) == 0
    assert len(held) == 5 and max(held) <= 8 * 1.5 * 16000


def test_nbest_is_in_the_json(model, audio, capsys):
    options = ("--tasks", "asr", "--nbest", "3", "--beam-size", "4")
    files = (audio[0], "--model", model)
    assert main(["transcribe", *files, *options, "--format", "json"]) == 0
    (piece,) = json.loads(capsys.readouterr().out)["pieces"]
    scores = [hypothesis["score"] for hypothesis in piece["asr"]["nbest"]]
    assert len(scores) == 3 and scores == sorted(scores, reverse=True)
    assert main(["transcribe", *files, *options]) == 1
    assert "--nbest is for --format json" in capsys.readouterr().err


def test_the_model_is_found_from_anywhere(tmp_path, audio, monkeypatch, capsys):
    recipe = tmp_path / "recipe"
    config = tiny_config(recipe / "data")
    save_experiment(recipe / "exp/a", config | {"bpemodel": "data/bpe.json"})
    monkeypatch.chdir(recipe)
    assert transcribe(audio[0], "--model", "exp/a", "--tasks", "asr") == 0
    expected = capsys.readouterr().out
    other = tmp_path / "other/data"
    tiny_config(other).clear()  # a recipe with a tokenizer of the same name
    (other / "bpe.json").write_text("{}")
    monkeypatch.chdir(tmp_path / "other")
    for model in (recipe / "exp/a", "../recipe/exp/a"):
        assert transcribe(audio[0], "--model", str(model), "--tasks", "asr") == 0
        assert capsys.readouterr().out == expected


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


def test_no_file_takes_the_name_of_another():
    files = ["talk.wav", "b/talk.wav", "talk.2.flac", "c/talk.mp3", "call.wav"]
    assert _names_of(files) == ["talk", "talk.3", "talk.2", "talk.4", "call"]
    assert _names_of(["a/x.wav", "b/x.wav"]) == ["x", "x.2"]
