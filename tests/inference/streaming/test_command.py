"""The command tells words from files and pipes, and names what it cannot use."""

import io
import json
import os
import signal
import struct
import subprocess
import sys
import threading
import time
import wave as wave_format
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from espnet_smoe.cli import main
from espnet_smoe.data.speech.codec import ffmpeg_path
from espnet_smoe.data.speech.raw_pcm import RAW_FORMATS
from espnet_smoe.inference.streaming import command
from espnet_smoe.inference.streaming.display import ERASE
from espnet_smoe.inference.streaming.recognizer import (
    StreamingRecognizer,
    StreamOptions,
)
from espnet_smoe.inference.streaming.sources import in_real_time, open_file, open_pipe
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


class Pipe(io.BytesIO):
    """Standard input as another program's output: no seeking."""

    buffer = property(lambda self: self)

    def seek(self, *_):
        raise OSError("a pipe")

    tell = seek


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


UNKNOWN = 0xFFFFFFFF


def as_wav(samples, width=2, rate=16000, channels=1, length=UNKNOWN):
    """A WAV whose writer, on a pipe, could not know its length; None: it did."""
    scaled = np.repeat(samples[:, None], channels, axis=1) * 2 ** (8 * width - 1)
    whole = np.round(scaled).astype("<i4")
    if width == 1:
        data = (whole + 128).astype(np.uint8).tobytes()
    else:
        data = whole.view(np.uint8).reshape(-1, 4)[:, :width].tobytes()
    file = io.BytesIO()
    with wave_format.open(file, "wb") as out:
        out.setnchannels(channels)
        out.setsampwidth(width)
        out.setframerate(rate)
        out.writeframes(data)
    header = bytearray(file.getvalue())
    if length is not None:
        header[4:8] = struct.pack("<I", min(length + 36, UNKNOWN))
        header[40:44] = struct.pack("<I", length)
    return bytes(header)


def test_a_pipe_says_what_the_file_says(model, talk, told, monkeypatch, capsys):
    samples = soundfile.read(talk, dtype="float32")[0]
    raw = np.round(samples * 32768).astype("<i2").tobytes()
    for data in (as_wav(samples), raw):
        monkeypatch.setattr(sys, "stdin", Pipe(data))
        assert stream("--model", model, "-") == 0
        out = capsys.readouterr().out.splitlines()
        assert out == [e.text for e in told if e.kind == "final"]


@pytest.mark.parametrize("width", [1, 2, 3, 4])
@pytest.mark.parametrize("channels", [1, 2])
def test_wav_of_any_width_comes_through_a_pipe(width, channels):
    samples = np.round(babble(0.53) * 100) / 128
    pieces = list(open_pipe(Pipe(as_wav(samples, width, channels=channels))))
    assert len(pieces) > 5
    np.testing.assert_allclose(np.concatenate(pieces), samples, atol=1e-6)


@pytest.mark.parametrize("channels, samples", [(1, 8801), (2, 100)])
def test_what_follows_the_data_of_a_finished_wav_is_not_heard(channels, samples):
    wave = np.round(babble(0.6)[:samples] * 100) / 128
    data = as_wav(wave, width=1, channels=channels, length=None)
    tags = b"LIST" + struct.pack("<I", 20000) + 20000 * b"a"
    heard = np.concatenate(list(open_pipe(Pipe(data + tags))))
    np.testing.assert_allclose(heard, wave, atol=1e-6)


@pytest.mark.parametrize("length", [0, 0x7FFFF000, 0x7FFFFF00, 0x80000000, UNKNOWN])
def test_a_wav_of_unknown_length_is_heard_until_the_pipe_ends(length):
    data = as_wav(babble(0.6), length=length)
    assert sum(map(len, open_pipe(Pipe(data)))) == 9600


@pytest.mark.parametrize("source", ["wav", "pcm", "file"])
def test_another_rate_becomes_16_khz_without_a_seam(source, tmp_path):
    time_ = np.arange(8000) / 8000
    tone = 0.5 * np.sin(2 * np.pi * 440 * time_)
    raw = np.round(tone * 32768).astype("<i2").tobytes()
    path = tmp_path / "tone.flac"
    soundfile.write(path, tone, 8000)
    pieces = {
        "wav": lambda: open_pipe(Pipe(as_wav(tone, rate=8000))),
        "pcm": lambda: open_pipe(Pipe(raw + b"\0"), pcm_rate=8000),  # half a sample
        "file": lambda: open_file(path),
    }[source]()
    wave = np.concatenate(list(pieces))
    assert wave.dtype == np.float32
    assert len(wave) == 16000
    wanted = 0.5 * np.sin(2 * np.pi * 440 * np.arange(16000) / 16000)
    np.testing.assert_allclose(wave[200:-200], wanted[200:-200], atol=1e-3)


def test_headerless_file_has_the_rate_that_is_told(tmp_path):
    path = tmp_path / "call.pcm"
    path.write_bytes(np.zeros(4000, "<i2").tobytes())
    assert sum(map(len, open_file(path))) == 4000
    assert sum(map(len, open_file(path, pcm_rate=8000))) == 8000


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


@pytest.mark.parametrize(
    "data, message",
    [
        (b"", "no audio came on standard input"),
        (b"RIFF\x10\0\0", "WAV header on standard input is broken"),
        (as_wav(babble(0.1))[:30], "WAV header on standard input is broken"),
        (b"RIFF\x24\0\0\0AVI LIST", "standard input cannot be read .*AVI"),
        (b"fLaC\0\0", "standard input cannot be read .*FLAC"),
        (b"<!DOCTYPE html><p>404</p>", "standard input .* it is an HTML page"),
        (b'{"error": "no such recording"}', "standard input .* it is JSON"),
        (b"\x1f\x8b\x08\0\0\0\0\0", "standard input .* it is a gzip archive"),
        (b"PK\x03\x04\0\0\0\0", "standard input .* it is a zip archive"),
    ],
)
def test_what_is_no_audio_on_a_pipe_is_said(data, message):
    with pytest.raises(ValueError, match=message):
        open_pipe(Pipe(data))


def heard(data, **options):
    return np.concatenate(list(open_pipe(Pipe(data), **options)))


def stored(samples, rate=16000, **options):
    file = io.BytesIO()
    soundfile.write(file, samples, rate, **options)
    return file.getvalue()


@pytest.mark.parametrize(
    "options",
    [
        {"format": "WAV", "subtype": "FLOAT"},
        {"format": "WAV", "subtype": "DOUBLE"},
        {"format": "WAV", "subtype": "ALAW"},
        {"format": "WAV", "subtype": "IMA_ADPCM"},
        {"format": "WAV", "subtype": "GSM610"},
        {"format": "WAVEX", "subtype": "PCM_24"},
        {"format": "WAV", "subtype": "PCM_16", "endian": "BIG"},
        {"format": "RF64", "subtype": "PCM_16"},
        {"format": "W64", "subtype": "PCM_16"},
        {"format": "AIFF", "subtype": "PCM_16"},
        {"format": "AU", "subtype": "PCM_16"},
        {"format": "CAF", "subtype": "PCM_16"},
        {"format": "NIST", "subtype": "PCM_16"},
        {"format": "FLAC"},
        {"format": "OGG"},
        {"format": "MP3"},
    ],
    ids=lambda options: "-".join(options.values()),
)
def test_any_container_comes_through_a_pipe_as_from_a_file(options, tmp_path):
    data = stored(babble(1.0), **options)
    path = tmp_path / "named.wav"  # whatever its name says
    path.write_bytes(data)
    np.testing.assert_array_equal(heard(data), np.concatenate(list(open_file(path))))


@pytest.mark.parametrize("kind", ["adts", "mp4", "webm", "matroska", "mp3", "amr"])
def test_what_soundfile_does_not_read_comes_by_ffmpeg(kind, tmp_path):
    pytest.importorskip("imageio_ffmpeg")
    time_ = np.arange(24000) / 8000
    tone = (0.3 * np.sin(2 * np.pi * 440 * time_)).astype(np.float32)
    wav, path = tmp_path / "tone.wav", tmp_path / "tone"
    soundfile.write(wav, tone, 8000)
    command = [ffmpeg_path(), "-loglevel", "error", "-i", wav, "-id3v2_version", "0"]
    subprocess.run([*command, "-f", kind, path], check=True)
    wave = heard(path.read_bytes())
    np.testing.assert_array_equal(wave, np.concatenate(list(open_file(path))))
    assert len(wave) == pytest.approx(48000, abs=4000)
    spectrum = np.abs(np.fft.rfft(wave[16000:32000]))
    assert spectrum.argmax() == 440


def test_without_ffmpeg_its_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(ValueError, match=r"it is MP4, .*espnet-smoe\[codec\]"):
        open_pipe(Pipe(b"\0\0\0\x1cftypM4A " + bytes(500)))


@pytest.mark.parametrize("name", RAW_FORMATS)
def test_raw_samples_of_every_format_are_heard_when_it_is_told(name):
    samples = np.round(babble(0.6) * 100) / 128
    form = RAW_FORMATS[name]
    options = {"subtype": form.subtype, "endian": form.endian, "format": "RAW"}
    data = stored(samples, **options)
    wave = heard(data, pcm_format=name)
    np.testing.assert_allclose(wave, samples, atol=0.04)


def test_raw_samples_of_another_format_are_named(tmp_path):
    samples = babble(1.0).astype("<f4")
    with pytest.raises(ValueError, match="32-bit floats.*--pcm-format"):
        heard(samples.tobytes())
    path = tmp_path / "a.pcm"
    path.write_bytes(samples.tobytes())
    with pytest.raises(ValueError, match="a.pcm looks like 32-bit floats"):
        open_file(path)


def test_a_wav_that_ends_too_early_is_heard_with_a_warning(caplog, tmp_path):
    data = stored(babble(1.0), format="WAV")[:16044]
    assert len(heard(data)) == 8000
    assert "0.5 s before" in caplog.text
    path = tmp_path / "half.wav"
    path.write_bytes(data)
    caplog.clear()
    assert sum(map(len, open_file(path))) == 8000
    assert "half.wav is cut off or damaged: 50% of" in caplog.text


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
