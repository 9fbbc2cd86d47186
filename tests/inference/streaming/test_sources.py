"""Audio from files and pipes: any container, any rate, any width."""

import io
import struct
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from espnet_smoe.data.speech.codec import ffmpeg_path
from espnet_smoe.data.speech.raw_pcm import RAW_FORMATS
from espnet_smoe.inference.streaming.sources import open_file, open_pipe
from tests.inference.streaming.pipes import UNKNOWN, Pipe, as_wav
from tests.inference.tiny_u2pp import babble


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


@pytest.mark.parametrize("sample", [np.nan, np.inf, 1e4])
def test_what_is_no_audio_is_told_with_its_source(tmp_path, sample):
    wave = babble(0.6)
    wave[700] = sample
    path = tmp_path / "broken.wav"
    soundfile.write(path, wave, 16000, "FLOAT")
    with pytest.raises(ValueError, match="^.*broken.wav: .*(NaN|full scale)"):
        list(open_file(path))
    with pytest.raises(ValueError, match="^standard input: .*(NaN|full scale)"):
        list(open_pipe(Pipe(path.read_bytes())))


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
