"""Sound behind the end that a header tells of is heard, or refused for a training."""

import io
import struct

import numpy as np
import pytest
import soundfile

from espnet_smoe.data.speech.audio import read_audio
from espnet_smoe.data.speech.codec import ffmpeg_path
from espnet_smoe.data.speech.surplus import has_surplus

RATE = 16000
SAMPLES = np.random.default_rng(0).integers(-9000, 9000, 40000).astype(np.int16)
WAVE = SAMPLES / np.float32(32768)
TOLD = 32000  # bytes, one of the 2.5 seconds


def stored(form="WAV", *numbers, **options):
    """A file; numbers are what to look for, how far behind it, struct format, value."""
    file = io.BytesIO()
    soundfile.write(file, SAMPLES, RATE, format=form, **options)
    data = bytearray(file.getvalue())
    for mark, offset, layout, value in numbers:
        struct.pack_into(layout, data, data.find(mark) + offset, value)
    return data


SHORT = {
    "wav": stored("WAV", (b"data", 4, "<I", TOLD)),
    "wav and its riff": stored(
        "WAV", (b"data", 4, "<I", TOLD), (b"RIFF", 4, "<I", TOLD + 36)
    ),
    "rf64": stored("RF64", (b"ds64", 16, "<Q", TOLD)),
    "w64": stored("W64", (b"data\xf3\xac", 16, "<Q", TOLD + 24)),
    "caf": stored("CAF", (b"data", 4, ">q", TOLD + 4)),
    "aiff": stored("AIFF", (b"SSND", 4, ">I", TOLD + 8)),
    "aiff and its frames": stored(
        "AIFF", (b"SSND", 4, ">I", TOLD + 8), (b"COMM", 10, ">I", TOLD // 2)
    ),
    "au": stored("AU", (b".snd", 8, ">I", TOLD)),
    "flac": stored("FLAC", (b"fLaC", 22, ">I", TOLD // 2)),
}


@pytest.mark.parametrize("kind", SHORT)
def test_more_samples_than_the_header_tells_of_are_heard_or_refused(
    tmp_path, kind, caplog
):
    path = tmp_path / "short.wav"
    path.write_bytes(SHORT[kind])
    with pytest.raises(ValueError, match="short.wav goes on behind the length"):
        read_audio(path)
    np.testing.assert_array_equal(read_audio(path, strict=False)[0], WAVE)
    assert "short.wav goes on behind" in caplog.text and "all of it" in caplog.text


@pytest.mark.parametrize("size", [0, 20000])
def test_the_length_of_the_whole_file_matters_not(tmp_path, size):
    path = tmp_path / "a.wav"
    path.write_bytes(stored("WAV", (b"RIFF", 4, "<I", size)))
    np.testing.assert_array_equal(read_audio(path)[0], WAVE)


def chunk(name, content, told=None):
    return name + struct.pack("<I", len(content) if told is None else told) + content


TAILS = {
    "list": chunk(b"LIST", b"INFO" + chunk(b"ICMT", b"x" * 4000)),
    "several": chunk(b"bext", bytes(2048)) + chunk(b"cue ", bytes(4)),
    "of any name": chunk(b"abcd", b"x" * 5000),
    "of a wrong length": chunk(b"LIST", b"INFO" + b"x" * 5000, told=99),
    "cut off": chunk(b"id3 ", b"ID3" + b"x" * 5000, told=9999),
    "id3v2": b"ID3\4" + b"x" * 5000,
    "filled": bytes(30000),
    "few": b"\7" * 900,
    "odd": b"\0" + chunk(b"abcd", b"x" * 5000),
}


@pytest.mark.parametrize("tail", TAILS)
def test_what_else_stands_behind_the_samples_is_no_sound(tmp_path, tail):
    path = tmp_path / "a.wav"
    path.write_bytes(stored() + TAILS[tail])
    np.testing.assert_array_equal(read_audio(path)[0], WAVE)


@pytest.mark.parametrize("form", ["CAF", "W64", "AIFF", "RF64", "NIST"])
def test_a_whole_file_is_whole(tmp_path, form):
    path = tmp_path / "a.wav"
    path.write_bytes(stored(form))
    np.testing.assert_array_equal(read_audio(path)[0], WAVE)


def test_recordings_joined_by_cat_are_heard_to_the_end(tmp_path, caplog):
    path = tmp_path / "two.wav"
    path.write_bytes(stored() * 2)
    with pytest.raises(ValueError, match="two.wav goes on behind"):
        read_audio(path)
    wave = read_audio(path, strict=False)[0]
    np.testing.assert_array_equal(wave[-len(WAVE) :], WAVE)


@pytest.mark.parametrize("kind", ["ogg", "opus", "mp3", "mp3 with tags"])
def test_packed_recordings_joined_by_cat_are_heard_to_the_end(tmp_path, kind, caplog):
    pytest.importorskip("imageio_ffmpeg")
    assert ffmpeg_path()
    form = "MP3" if kind.startswith("mp3") else "OGG"
    one = bytes(stored(form, **{"subtype": "OPUS"} if kind == "opus" else {}))
    path, second = tmp_path / "two", one
    if "tags" in kind:
        second = b"TAG" + bytes(125) + b"ID3\4\0\0\0\0\1\0" + bytes(128) + one
    path.write_bytes(one)
    whole = seconds(path)
    path.write_bytes(one + second)
    with pytest.raises(ValueError, match="two goes on behind"):
        read_audio(path)
    assert seconds(path, strict=False) == pytest.approx(2 * whole, rel=0.05)


def seconds(path, **options):
    wave, rate = read_audio(path, **options)
    return len(wave) / rate


def test_an_mp3_whose_first_frame_counts_too_few_is_heard_whole(tmp_path, caplog):
    pytest.importorskip("imageio_ffmpeg")
    path = tmp_path / "a.mp3"
    data = stored("MP3")
    mark = b"Xing" if b"Xing" in data else b"Info"
    struct.pack_into(">I", data, data.find(mark) + 8, 20)
    path.write_bytes(data)
    with pytest.raises(ValueError, match="a.mp3 goes on behind"):
        read_audio(path)
    assert seconds(path, strict=False) == pytest.approx(2.5, abs=0.1)


@pytest.mark.parametrize("kind", ["FLAC", "MP3", "OGG"])
def test_no_file_that_is_cut_anywhere_is_taken_for_longer(kind):
    whole = bytes(stored(kind))
    for size in range(0, len(whole), 997):
        assert not has_surplus(io.BytesIO(whole[:size]), kind.replace("OGG", "Ogg"))


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 48000, 12345])
@pytest.mark.parametrize("channels", [1, 2])
def test_flac_of_any_rate_is_counted(rate, channels):
    file = io.BytesIO()
    noise = np.random.default_rng(1).normal(0, 0.1, (30001, channels))
    soundfile.write(file, noise, rate, format="FLAC")
    assert not has_surplus(file, "FLAC")
    data = bytearray(file.getvalue())
    data[22:26] = struct.pack(">I", 20000)
    assert has_surplus(io.BytesIO(data), "FLAC")
