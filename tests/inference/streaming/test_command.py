"""The command tells words from files and pipes, and names what it cannot use."""

import io
import json
import os
import signal
import sys
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from espnet_smoe.cli import main
from espnet_smoe.inference.streaming import command
from espnet_smoe.inference.streaming.display import ERASE
from espnet_smoe.inference.streaming.recognizer import (
    StreamingRecognizer,
    StreamOptions,
)
from espnet_smoe.inference.streaming.sources import in_real_time, open_file
from tests.inference.streaming.pipes import Pipe, as_wav
from tests.inference.tiny_u2pp import TOKENS, babble, save_tiny_u2pp
from tests.tiny import save_experiment, tiny_ctc_config

SMALL = ("--chunk-size", "4", "--left-chunks", "2", "--silence-seconds", "0.2")
SMALL += ("--keep-silence",)
OPTIONS = StreamOptions(
    chunk_size=4, left_chunks=2, silence_seconds=0.2, detect_speech=False
)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(save_tiny_u2pp(tmp_path_factory.mktemp("exp")))


@pytest.fixture(scope="module")
def talk(tmp_path_factory):
    path = tmp_path_factory.mktemp("audio") / "talk.wav"
    soundfile.write(path, babble(4.0), 16000)
    return path


@pytest.fixture(scope="module")
def told(model, talk):
    """What the engine makes of the talk."""
    found = []
    recognizer = StreamingRecognizer.load(model, OPTIONS)
    command.recognize(recognizer, open_file(talk), found.append)
    assert sum(event.kind == "final" for event in found) > 1
    return found


class Terminal(io.StringIO):
    def isatty(self):
        return True


def stream(*arguments):
    return main(["stream", *map(str, arguments), *SMALL])


def test_finished_utterances_are_lines(model, talk, told, capsys):
    assert stream("--model", model, talk) == 0
    out, err = capsys.readouterr()
    assert out.splitlines() == [e.text for e in told if e.kind == "final"]
    assert "4.0 s of audio" in err


def test_json_tells_partials_finals_and_times(model, talk, told, capsys):
    assert stream("--model", model, talk, "--json") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line) for line in lines] == [e.as_dict() for e in told]


def test_a_terminal_shows_words_in_place(model, talk, told, monkeypatch):
    monkeypatch.setattr(sys, "stdout", Terminal())
    assert stream("--model", model, talk) == 0
    shown = sys.stdout.getvalue().split(ERASE)[1:]
    assert len(shown) == len(told)
    for text, event in zip(shown, told):
        assert text == event.text + ("\n" if event.kind == "final" else "")


def test_a_pipe_says_what_the_file_says(model, talk, told, monkeypatch, capsys):
    samples = soundfile.read(talk, dtype="float32")[0]
    raw = np.round(samples * 32768).astype("<i2").tobytes()
    for data in (as_wav(samples), raw):
        monkeypatch.setattr(sys, "stdin", Pipe(data))
        assert stream("--model", model, "-") == 0
        out = capsys.readouterr().out.splitlines()
        assert out == [e.text for e in told if e.kind == "final"]


def test_real_time_is_kept():
    begun = time.monotonic()
    arrivals = [
        time.monotonic() - begun for _ in in_real_time(np.zeros((3, 800), np.float32))
    ]
    assert arrivals == pytest.approx([0.05, 0.1, 0.15], abs=0.04)


def test_realtime_paces_the_command(model, tmp_path):
    path = tmp_path / "short.wav"
    soundfile.write(path, babble(0.6), 16000)
    begun = time.monotonic()
    pieces = in_real_time(open_file(path))
    recognizer = StreamingRecognizer.load(model, OPTIONS)
    seconds, computing = command.recognize(recognizer, pieces, lambda event: None)
    assert time.monotonic() - begun > 0.6 > computing
    assert seconds == pytest.approx(0.6)


def test_interrupt_ends_with_what_was_said(model, talk, told):
    wave = soundfile.read(talk, dtype="float32")[0]
    before = signal.getsignal(signal.SIGINT)

    def endless():
        yield wave[:16000]
        timer = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        time.sleep(30)  # a microphone in a silent room
        yield wave

    found = []
    recognizer = StreamingRecognizer.load(model, OPTIONS)
    pieces = command.until_interrupted(endless())
    seconds, _ = command.recognize(recognizer, pieces, found.append)
    assert seconds == 1.0
    assert found[-1].kind == "final"
    assert found[-1].end == pytest.approx(1.0, abs=0.2)
    assert signal.getsignal(signal.SIGINT) is before


def test_interrupt_does_not_break_a_step():
    taken = []
    for piece in command.until_interrupted(iter([1, 2, 3])):
        os.kill(os.getpid(), signal.SIGINT)
        taken.append(piece)
    assert taken == [1]


def test_faults_of_the_command_line_are_one_line(model, talk, tmp_path, capsys):
    text = tmp_path / "text.wav"
    text.write_text("no audio")
    for arguments, message in [
        (("--model", model), "name one audio file"),
        (("--model", model, talk, "--mic"), "name one audio file"),
        (("--model", model, "none.wav"), "none.wav does not exist"),
        (("--model", model, text), f"{text} cannot be read as audio"),
        (("--model", model, talk, "--pcm-rate", "0"), "--pcm-rate must be"),
        (("--model", model, talk, "--beam-size", "0"), "a whole number of at least 1"),
        (("--model", tmp_path / "none", talk), "none does not exist"),
    ]:
        assert stream(*arguments) == 1
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("espnet-smoe stream: ") and message in err
        assert err.count("\n") == 1


def test_a_model_that_cannot_stream_is_named(talk, tmp_path, capsys):
    save_experiment(tmp_path, tiny_ctc_config(TOKENS))
    assert stream("--model", tmp_path, talk) == 1
    err = capsys.readouterr().err
    assert "SpeechMoEEncoder" in err and "u2pp_conformer" in err


def test_a_microphone_without_its_package_names_the_extra(model, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    assert stream("--model", model, "--mic") == 1
    assert "pip install 'espnet_smoe[mic]'" in capsys.readouterr().err


def test_a_microphone_is_heard_until_the_interrupt(
    model, talk, told, monkeypatch, capsys
):
    wave = soundfile.read(talk, dtype="float32")[0]

    class Microphone:
        """As sounddevice calls back: blocks (frames, channels), its buffer reused."""

        def __init__(self, samplerate, channels, dtype, blocksize, callback):
            assert (samplerate, channels, dtype) == (16000, 1, "float32")
            buffer = np.zeros((blocksize, 1), np.float32)
            for start in range(0, len(wave), blocksize):
                buffer[:, 0] = wave[start : start + blocksize]
                callback(buffer, blocksize, None, "")

        def __enter__(self):
            threading.Timer(3.0, os.kill, (os.getpid(), signal.SIGINT)).start()

        def __exit__(self, *_):
            pass

    fake = SimpleNamespace(InputStream=Microphone, PortAudioError=OSError)
    monkeypatch.setitem(sys.modules, "sounddevice", fake)
    assert stream("--model", model, "--mic") == 0
    out, err = capsys.readouterr()
    assert "listening" in err
    assert out.splitlines() == [e.text for e in told if e.kind == "final"]
