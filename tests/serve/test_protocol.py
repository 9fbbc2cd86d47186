"""Frames become samples, or an error that names the cure."""

import json

import numpy as np
import pytest
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from espnet_smoe.serve.protocol import LARGEST_FRAME, Incoming, SessionError

START = '{"type": "start", "rate": 8000}'
END = '{"type": "end"}'


def read_all(*frames):
    incoming = Incoming()
    waves = [incoming.read(frame) for frame in frames]
    return np.concatenate(waves), incoming


def test_bytes_become_samples_without_a_start():
    samples = np.array([0, 16384, -32768, 32767], dtype="<i2")
    wave, incoming = read_all(samples.tobytes())
    assert wave.dtype == np.float32
    assert wave.tolist() == [0.0, 0.5, -1.0, 32767 / 32768]
    assert not incoming.ended


def test_a_rate_may_be_written_as_a_float():
    wave, _ = read_all('{"type": "start", "rate": 8000.0}', bytes(1600), END)
    assert len(wave) == 1600


def test_end_is_noted():
    _, incoming = read_all('{"type": "start"}', b"", END)
    assert incoming.ended


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.integers(0, 3000), max_size=8), st.sampled_from([8000, 44100, 48000])
)
def test_resampling_has_no_seams(cuts, rate):
    rng = np.random.default_rng(0)
    whole = rng.integers(-(2**15), 2**15, 3000).astype("<i2")
    places = [0, *sorted(cuts), 3000]
    frames = [whole[a:b].tobytes() for a, b in zip(places, places[1:])]
    wave, _ = read_all(json.dumps({"type": "start", "rate": rate}), *frames, END)
    expected = soxr.resample(whole / np.float32(32768), rate, 16000)
    assert abs(len(wave) - len(expected)) <= 1
    n = min(len(wave), len(expected))
    np.testing.assert_allclose(wave[:n], expected[:n], atol=1e-5)


@pytest.mark.parametrize(
    "frames, message, code",
    [
        ([b"abc"], "3 bytes; audio is signed 16 bit", 1003),
        ([b"\0" * (LARGEST_FRAME + 2)], "send at most 262144 at once", 1009),
        ([b'{"type": "end"}'], "JSON in a binary frame", 1003),
        (["hello"], "no JSON", 1003),
        (["[" * 4000], "no JSON", 1003),
        (["[1]"], "must be an object", 1003),
        (["x" * 5000], "audio goes in binary frames", 1009),
        (['{"type": "stop"}'], 'of type "stop"; send', 1003),
        (['{"typ": "end"}'], "of type null", 1003),
        (['{"type": "end", "now": 1}'], "unknown key 'now'", 1003),
        (['{"type": "start", "rat": 1}'], "did you mean 'rate'", 1003),
        (['{"type": "start", "rate": 4000}'], "8000 to 48000 Hz", 1003),
        (['{"type": "start", "rate": "16k"}'], "8000 to 48000 Hz", 1003),
        (['{"type": "start", "rate": true}'], "8000 to 48000 Hz", 1003),
        (['{"type": "start", "rate": 44100.5}'], "must be a whole number", 1003),
        (['{"type": "start", "rate": NaN}'], "must be a whole number", 1003),
        ([START, START], "'start' comes once", 1003),
        ([b"\0\0", START], "before the first audio", 1003),
        ([END, b"\0\0"], "a frame after 'end'", 1003),
    ],
)
def test_a_wrong_frame_is_told(frames, message, code):
    with pytest.raises(SessionError) as caught:
        read_all(*frames)
    assert message in str(caught.value)
    assert caught.value.code == code


@settings(max_examples=200, deadline=None)
@given(st.lists(st.one_of(st.text(max_size=30), st.binary(max_size=30)), max_size=5))
def test_garbage_is_audio_or_an_error(frames):
    try:
        wave, _ = read_all(np.zeros(0, "<i2").tobytes(), *frames)
    except SessionError:
        return
    assert np.abs(wave).max(initial=0) <= 1


CONTAINERS = {
    "WebM": b"\x1a\x45\xdf\xa3" + bytes(60),
    "Ogg": b"OggS\0\2" + bytes(60),
    "WAV": b"RIFF\xff\xff\xff\xffWAVEfmt " + bytes(60),
    "MP4": b"\0\0\0\x1cftypisom" + bytes(60),
    "FLAC": b"fLaC" + bytes(60),
    "an HTML page": b"<html><body>" + b"<p>hello</p>" * 10,
    "32-bit floats": np.sin(np.arange(4000) / 9).astype("<f4").tobytes(),
}


@pytest.mark.parametrize("kind", CONTAINERS)
@pytest.mark.parametrize("size", [2, 16, 10**6])
def test_audio_that_is_not_raw_is_refused_by_name_however_it_is_cut(kind, size):
    data, incoming = CONTAINERS[kind], Incoming()
    with pytest.raises(SessionError, match=f"looks like {kind}.*send raw audio"):
        for start in range(0, len(data), size):
            incoming.read(data[start : start + size])
        incoming.read(END)


def test_raw_audio_that_begins_in_silence_is_heard():
    tone = np.round(9000 * np.sin(np.arange(16000) / 9)).astype("<i2").tobytes()
    wave, _ = read_all(bytes(20000), tone, END)
    assert len(wave) == 26000
