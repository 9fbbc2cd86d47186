"""The front-ends of other programs, held against their formulas written out."""

import numpy as np
import pytest
import torch

from espnet_smoe.layers.kaldi_fbank import KaldiFbank
from espnet_smoe.layers.whisper import WhisperFrontend
from tests.tiny import noise

HOP, WINDOW = 160, 400


def frames_in_the_middle_of_hops(wave: np.ndarray) -> np.ndarray:
    """``(T, 400)`` samples, the wave reflected at its ends, as Kaldi does it."""
    count = (len(wave) + HOP // 2) // HOP
    rows = []
    for start in range(-120, -120 + count * HOP, HOP):
        places = np.arange(start, start + WINDOW)
        places = np.where(places < 0, -places - 1, places)
        rows.append(
            wave[np.where(places < len(wave), places, 2 * len(wave) - 1 - places)]
        )
    return np.stack(rows)


def mel(frequency):
    return 1127 * np.log(1 + frequency / 700)


def kaldi_reference(wave: np.ndarray, mels: int, low: float, high: float):
    """Kaldi's features of frames that need not be whole."""
    frames = frames_in_the_middle_of_hops(wave.astype(np.float64) * 32768)
    frames = frames - frames.mean(axis=1, keepdims=True)
    before = np.concatenate([frames[:, :1], frames[:, :-1]], axis=1)
    povey = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / (WINDOW - 1))) ** 0.85
    power = np.abs(np.fft.rfft((frames - 0.97 * before) * povey, 512)) ** 2
    edges = np.linspace(mel(low), mel(high), mels + 2)
    bins = mel(np.arange(256) * 16000 / 512)
    rising = (bins - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - bins) / (edges[2:] - edges[1:-1])[:, None]
    filters = np.minimum(rising, falling).clip(min=0)
    return np.log((power[:, :256] @ filters.T).clip(min=np.finfo(np.float32).eps))


def features(frontend, *waves) -> list[np.ndarray]:
    lengths = torch.tensor([len(wave) for wave in waves])
    batch = torch.zeros(len(waves), int(lengths.max()))
    for row, wave in zip(batch, waves):
        row[: len(wave)] = torch.from_numpy(wave)
    found, lengths = frontend.eval()(batch, lengths)
    return [f[:n].numpy() for f, n in zip(found, lengths.tolist())]


@pytest.mark.parametrize("samples", [400, 1600, 3279, 3280])
def test_kaldis_frames_lie_in_the_middle_of_hops_without_snip_edges(samples):
    waves = noise(samples / 16000, 1), noise(0.3, 2)
    frontend = KaldiFbank(23, snip_edges=False, high_freq=-400)
    for found, wave in zip(features(frontend, *waves), waves):
        expected = kaldi_reference(wave, 23, 20, 7600)
        assert len(found) == frontend.num_frames(len(wave)) == len(expected)
        np.testing.assert_allclose(found, expected, atol=2e-3)


def test_kaldis_whole_windows_are_counted():
    frontend = KaldiFbank(8)
    for samples in (399, 400, 559, 560, 5000):
        (found,) = features(frontend, noise(samples / 16000))
        assert len(found) == frontend.num_frames(samples)


@pytest.mark.parametrize("edges", [(4000, 3000), (20, 9000), (20, -8000)])
def test_channels_outside_of_the_spectrum_are_refused(edges):
    low, high = edges
    with pytest.raises(ValueError, match="frontend_conf: channels from"):
        KaldiFbank(8, low_freq=low, high_freq=high)


def whisper_reference(wave: np.ndarray, filters: np.ndarray, seconds: float):
    """Whisper's features of Kaldi's frames, silence behind them."""
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)
    power = np.abs(np.fft.rfft(frames_in_the_middle_of_hops(wave) * hann)) ** 2
    logs = np.log10((power @ filters.T).clip(min=1e-10))
    more = max(0, int(seconds * 100) - len(logs))
    logs = np.concatenate([logs, np.full((more, logs.shape[1]), -10.0)])
    return (logs.clip(min=logs.max() - 8) + 4) / 4


@pytest.mark.parametrize("seconds", [0.0, 0.5])
@pytest.mark.parametrize("samples", [300, 1600, 3279])
def test_whispers_features_of_kaldis_frames(samples, seconds):
    frontend = WhisperFrontend(20, pad_seconds=seconds, framing="kaldi")
    wave = noise(samples / 16000, 1)
    (found,) = features(frontend, wave)
    expected = whisper_reference(wave, frontend.filters.numpy(), seconds)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_whispers_own_frames_begin_half_a_hop_earlier():
    wave = np.zeros(3200, np.float32)
    wave[1600:] = 0.5 * np.sin(np.arange(1600))
    late = features(WhisperFrontend(20, framing="kaldi"), wave)[0]
    shifted = np.concatenate([wave[80:], np.zeros(80, np.float32)])
    own = features(WhisperFrontend(20), shifted)[0]
    np.testing.assert_allclose(own[3:-4], late[3:-4], atol=1e-4)
