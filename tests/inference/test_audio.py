"""Audio of any kind comes in mono at 16 kHz; what cannot be used is named."""

import numpy as np
import pytest
import soundfile

from espnet_smoe.data.speech.bandwidth import bandwidth_at_16khz
from espnet_smoe.inference.audio import read_audio
from espnet_smoe.inference.long_form.speech_pieces import find_speech
from tests.tiny import noise


def tone(rate, seconds=1.0):
    return 0.5 * np.sin(2 * np.pi * 440 * np.arange(int(rate * seconds)) / rate)


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 44100, 48000])
@pytest.mark.parametrize("suffix", [".wav", ".flac"])
def test_any_rate_becomes_16_khz(tmp_path, rate, suffix):
    path = tmp_path / f"a{suffix}"
    soundfile.write(path, tone(rate), rate)
    wave, original = read_audio(path)
    assert (original, len(wave), wave.dtype) == (rate, 16000, np.float32)
    inner = slice(2000, 14000)  # filters ring at the ends
    np.testing.assert_allclose(wave[inner], tone(16000)[inner], atol=0.02)


def test_channels_are_averaged(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, np.stack([tone(16000), np.zeros(16000)], axis=1), 16000)
    np.testing.assert_allclose(read_audio(path)[0], tone(16000) / 2, atol=1e-3)


def test_channels_in_opposite_phase_are_heard(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, np.stack([tone(16000), -tone(16000)], axis=1), 16000)
    np.testing.assert_allclose(read_audio(path)[0], tone(16000), atol=1e-3)


def test_raw_pcm_is_16_khz(tmp_path):
    path = tmp_path / "a.pcm"
    (tone(16000) * 32767).astype("<i2").tofile(path)
    wave, rate = read_audio(path)
    assert rate == 16000
    np.testing.assert_allclose(wave, tone(16000), atol=1e-3)


def write_empty(path):
    soundfile.write(path, np.zeros(0), 16000)


def write_nan(path):
    wave = tone(16000)
    wave[100] = np.nan
    soundfile.write(path, wave, 16000, subtype="FLOAT")


@pytest.mark.parametrize(
    "write, cause",
    [
        (lambda path: None, "does not exist"),
        (lambda path: path.write_bytes(b"no audio"), "cannot be read as audio"),
        (write_empty, "empty"),
        (write_nan, "NaN"),
        (lambda path: soundfile.write(path, tone(16000, 0.05), 16000), "too short"),
    ],
    ids=["missing", "unreadable", "empty", "nan", "short"],
)
def test_bad_file_is_named_with_its_fault(tmp_path, write, cause):
    path = tmp_path / "bad.wav"
    write(path)
    with pytest.raises(ValueError, match=rf"bad\.wav.*{cause}"):
        read_audio(path)


def test_telephone_rate_stays_narrowband_after_resampling(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, noise(1, rate=8000), 8000)
    assert bandwidth_at_16khz(*read_audio(path)) == "nb"
    soundfile.write(path, noise(1), 16000)
    assert bandwidth_at_16khz(*read_audio(path)) == "wb"


def test_of_a_file_that_is_cut_off_the_rest_is_heard_with_a_warning(tmp_path, caplog):
    path = tmp_path / "half.wav"
    soundfile.write(path, tone(16000, 2.0), 16000)
    path.write_bytes(path.read_bytes()[:32044])
    assert len(read_audio(path)[0]) == 16000
    assert find_speech(str(path))[0].samples == 16000
    assert "half.wav is cut off or damaged: 50% of what its header" in caplog.text


def test_a_file_that_is_cut_off_may_be_refused(tmp_path):
    path = tmp_path / "half.wav"
    soundfile.write(path, tone(16000, 2.0), 16000)
    path.write_bytes(path.read_bytes()[:32044])
    with pytest.raises(ValueError, match="half.wav is cut off or damaged: 50% of what"):
        find_speech(str(path), strict=True)


def test_a_file_that_is_too_long_is_not_read_to_its_end(tmp_path):
    path = tmp_path / "long.wav"
    soundfile.write(path, tone(16000, 4.0), 16000)
    with pytest.raises(ValueError, match="long.wav: more than 2 s of audio"):
        find_speech(str(path), most_seconds=2.0)
    assert find_speech(str(path), most_seconds=4.0)[0].samples == 64000


def test_a_file_of_samples_of_another_scale_is_named(tmp_path):
    path = tmp_path / "scaled.wav"
    soundfile.write(path, tone(16000) * 32768, 16000, subtype="FLOAT")
    for read in (read_audio, find_speech):
        with pytest.raises(ValueError, match="scaled.wav: .* where 1 is full scale"):
            read(str(path))
