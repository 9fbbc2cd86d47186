"""Raw samples are heard; other bytes that come in their place are named."""

import io

import numpy as np
import pytest
import soundfile

from espnet_smoe.data.speech.raw_pcm import RAW_FORMATS, RawCheck, raw_format


def voice(seconds=1.0, gain=0.2, seed=0):
    """A buzz with formants that swells and fades, as vowels do."""
    rng = np.random.default_rng(seed)
    time_ = np.arange(int(seconds * 16000)) / 16000
    pitch = 2 * np.pi * np.cumsum(120 + 20 * np.sin(3 * time_)) / 16000
    wave = sum(np.sin(k * pitch) / k for k in range(1, 12))
    wave = gain * wave * (0.2 + np.sin(2 * np.pi * 2 * time_) ** 2)
    return wave + rng.normal(0, 1e-3, len(wave))


def raw(wave, name):
    file = io.BytesIO()
    form = RAW_FORMATS[name]
    options = {"subtype": form.subtype, "endian": form.endian, "format": "RAW"}
    soundfile.write(file, wave, 16000, **options)
    return file.getvalue()


def judged(data, piece=3200, **options):
    check = RawCheck(**options)
    found = [
        check(data[start : start + piece], start + piece >= len(data))
        for start in range(0, len(data), piece)
    ]
    return next(filter(None, found), "")


NOISES = {
    "fricatives": np.diff(np.random.default_rng(0).normal(0, 0.2, 16001)),
    "loud noise": np.random.default_rng(0).normal(0, 0.3, 16000).clip(-1, 1),
    "faint noise": np.random.default_rng(0).normal(0, 1e-4, 16000),
    "silence": np.zeros(16000),
    "a tone": np.sin(2 * np.pi * 4000 * np.arange(16000) / 16000 + 0.8),
    "a square wave": 0.9 * np.sign(np.sin(np.arange(16000) / 10) + 1e-9),
    "a constant": np.full(16000, 0.4),
    "low and high": np.sin(np.arange(16000) / 9) / 3
    + np.sin(2 * np.pi * 7500 * np.arange(16000) / 16000) / 3,
}


@pytest.mark.parametrize("gain", [0.002, 0.02, 0.2, 1.0])
@pytest.mark.parametrize("piece", [2, 640, 10**6])
def test_speech_is_taken(gain, piece):
    assert judged(raw(voice(0.5, gain).clip(-1, 1), "s16le"), piece) == ""


@pytest.mark.parametrize("name", NOISES)
def test_sounds_that_are_no_speech_are_taken_too(name):
    assert judged(raw(NOISES[name], "s16le")) == ""


@pytest.mark.parametrize("silence", [0, 1, 20000])
@pytest.mark.parametrize("name", [n for n in RAW_FORMATS if n not in ("s16le", "s8")])
def test_another_format_is_named(name, silence):
    data = bytes(24 * silence) + raw(voice(3.0), name)
    assert f"({name})" in judged(data)


def test_two_channels_are_named():
    wave = voice()
    same = np.repeat(np.round(wave * 32767).astype("<i2"), 2)
    assert judged(same.tobytes()) == "two channels"
    same[::2] = 0
    assert "two channels" in judged(same.tobytes())


def test_random_bytes_are_named_but_where_noise_is_allowed():
    data = np.random.default_rng(0).bytes(20000)
    assert judged(data) == "compressed or encrypted data"
    assert judged(data, noise=True) == ""


@pytest.mark.parametrize("piece", [1, 100, 10**6])
def test_a_container_or_text_is_named_however_it_is_cut(piece):
    wav = io.BytesIO()
    soundfile.write(wav, voice(), 16000, format="WAV")
    assert judged(wav.getvalue(), piece) == "WAV"
    assert judged(b"<html>" + b"<p>hello</p>" * 50, piece) == "an HTML page"


def test_only_containers_count_where_another_format_is_told():
    assert judged(raw(voice(), "f32le"), format="f32le") == ""
    assert judged(b"fLaC" + bytes(100), format="f32le") == "FLAC"


def test_an_unknown_format_names_the_nearest():
    with pytest.raises(ValueError, match="'f32', did you mean 'f32le'"):
        raw_format("f32")
