"""Arrays of samples: scaled by their type, or refused with the fix."""

import warnings
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from espnet_smoe.data.speech.bandwidth import detect_bandwidth
from espnet_smoe.data.speech.codec import Narrowband
from espnet_smoe.data.speech.waveform import as_waveform, check_rate

WAVE = (np.sin(np.arange(1600) / 7) / 2).astype(np.float32)


@pytest.mark.parametrize("kind", ["int8", "int16", "int32", "uint8", ">i2", ">i4"])
def test_integers_are_scaled_by_their_type(kind):
    kind = np.dtype(kind)
    info = np.iinfo(kind)
    half = (info.max - info.min + 1) / 2
    scaled = np.clip(np.round(WAVE.astype(np.float64) * half), -half, half - 1)
    if kind == np.uint8:
        scaled += 128
    found = as_waveform(scaled.astype(kind))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, WAVE, atol=0.5 / half + 1e-7)
    extremes = as_waveform(np.array([info.min, info.max], kind))
    np.testing.assert_allclose(extremes, [-1, 1 - 1 / half])


@pytest.mark.parametrize(
    "form",
    [
        lambda wave: wave.astype(np.float64),
        lambda wave: wave[None],
        lambda wave: wave[:, None],
        lambda wave: wave.tolist(),
        lambda wave: wave[::-1][::-1],
        lambda wave: wave.astype(">f4"),
        lambda wave: torch.from_numpy(wave),
        lambda wave: torch.from_numpy(wave)[None].requires_grad_(),
    ],
)
def test_floats_of_any_form_stay_as_they_are(form):
    found = as_waveform(form(WAVE))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, WAVE)


def test_half_precision_is_taken_and_slight_overs_too():
    np.testing.assert_allclose(
        as_waveform(torch.from_numpy(WAVE).bfloat16()), WAVE, atol=2e-3
    )
    np.testing.assert_allclose(as_waveform(WAVE.astype("f2")), WAVE, atol=3e-4)
    np.testing.assert_array_equal(as_waveform(WAVE * 3), WAVE * 3)


@pytest.mark.parametrize(
    "wave, said",
    [
        (WAVE * 32768, "16384? where 1 is full scale.*32768"),
        (np.array([0, -1e300]), "full scale"),
        (np.where(WAVE > 0.4, np.nan, WAVE), "NaN or infinite"),
        (np.where(WAVE > 0.4, np.inf, WAVE), "NaN or infinite"),
        ((WAVE * 32768).astype(np.int64), r"int64 have no known .*astype\('int16'\)"),
        ((WAVE * 32768).astype(np.int16).tolist(), "int64 have no known full scale"),
        ((WAVE * 32768).astype(np.uint16), "uint16 have no known full scale"),
        ((WAVE * 32768).astype(np.int32), "16-bit samples in a wider type"),
        ((WAVE * 2**23).astype(np.int32), "24-bit samples .* wave / 8388608"),
        (np.float32(0.5), r"got np.float32\(0.5\), not samples"),
        (WAVE.astype(np.complex64), "samples of complex64 are no audio"),
        (WAVE > 0, "samples of bool are no audio"),
        (WAVE.astype(object), "samples of object are no audio"),
        (np.array(["a", "b"]), "are no audio"),
        (np.stack([WAVE, WAVE]), r"got shape \(2, 1600\); mix its channels"),
        (np.stack([WAVE, WAVE], axis=1), r"got shape \(1600, 2\)"),
        (np.zeros((1, 1, 1600)), r"got shape \(1, 1, 1600\)"),
        ([[0.1, 0.2], [0.3]], "no array of samples"),
        ("talk.wav", "got the path 'talk.wav', not samples; read the file"),
        (Path("talk.wav"), "got the path 'talk.wav', not samples"),
        (b"RIFF", "got bytes, not samples; unpack"),
        (None, "got None"),
        ({"array": WAVE}, "not samples"),
        ([Fraction(1, 2)], "samples of object"),
        (np.ma.masked_greater(WAVE, 0.4), "masked"),
    ],
)
def test_what_is_no_waveform_is_named_with_its_cure(wave, said):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError, match=f"rec 1: .*{said}") as caught:
            as_waveform(wave, "rec 1")
    assert "\n" not in str(caught.value)


def test_a_piece_of_a_quiet_32_bit_stream_is_taken():
    piece = np.array([3, -5, 100], np.int32)
    assert np.abs(as_waveform(piece, whole=False)).max() == np.float32(100 / 2**31)
    assert not as_waveform(np.zeros(5, np.int32)).any()


@pytest.mark.parametrize("rate", [0, -1, 16, float("nan"), float("inf"), "16000", None])
@pytest.mark.parametrize("more", [(), (True,)])
def test_a_rate_that_is_none_is_refused(rate, more):
    for value in (rate, *more):
        with pytest.raises(ValueError, match="Hz"):
            check_rate(value)


@pytest.mark.parametrize("rate", [8000, 16000.0, np.int64(44100), np.float32(16000)])
def test_a_rate_of_any_number_type_is_taken(rate):
    assert check_rate(rate) == rate


def test_every_entry_scales_integers():
    noise = np.random.default_rng(0).integers(-9000, 9000, 16000)
    integers, floats = noise.astype(np.int16), noise / np.float32(32768)
    np.testing.assert_array_equal(Narrowband()(integers), Narrowband()(floats))
    assert detect_bandwidth(integers, 16000) == "wb"
    assert detect_bandwidth(Narrowband()(integers), 16000) == "nb"


def test_quiet_samples_at_the_top_of_32_bits_are_no_narrower_type():
    quiet = (WAVE * 2**7).astype(np.int32) << 8  # from a 24-bit file, as soundfile does
    assert 0 < np.abs(as_waveform(quiet)).max() < 2**-16


def test_views_that_torch_does_not_take_are_copied():
    views = WAVE[::-1], np.frombuffer(WAVE.tobytes(), np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for view in views:
            found = torch.from_numpy(as_waveform(view)).numpy()
            np.testing.assert_array_equal(found, view)
