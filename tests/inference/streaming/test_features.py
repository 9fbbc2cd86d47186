"""However a wave is cut, its frames are those of the whole."""

import numpy as np
import pytest
import torch
from espnet2.layers.global_mvn import GlobalMVN
from espnet2.layers.utterance_mvn import UtteranceMVN
from hypothesis import given, settings
from hypothesis import strategies as st

from espnet_smoe.compat import DefaultFrontend
from espnet_smoe.inference.streaming.features import StreamFeatures, StreamFrontend
from espnet_smoe.layers.kaldi_fbank import KaldiFbank
from tests.tiny import noise

MELS = 5
KALDI = {True: (400, 160, "whole windows alone"), False: (400, 160, "each hop")}


@pytest.fixture(scope="module")
def normalize(tmp_path_factory):
    """Of global statistics, unlike those of any one wave."""
    sums = np.linspace(-3, 4, MELS, dtype=np.float32)
    path = tmp_path_factory.mktemp("stats") / "stats.npz"
    np.savez(path, count=2, sum=sums, sum_square=np.square(sums) + 5)
    return GlobalMVN(path)


def frontend(**options):
    return DefaultFrontend(n_mels=MELS, **options).eval()


def in_pieces(stream_frontend, wave, pieces, takes):
    """Frames of a wave that comes in pieces; after each, some frames are taken."""
    features, frames, start = StreamFeatures(stream_frontend), [], 0
    for piece, take in zip(pieces, takes):
        if piece:
            features.accept(wave[start : start + piece])
        start += piece
        frames.append(features.take(take))
    if start < len(wave):
        features.accept(wave[start:])
    features.finished = True
    while features.available:
        frames.append(features.take(7))
    return torch.cat(frames)


@settings(max_examples=60, deadline=None)
@given(
    geometry=st.sampled_from(
        [(512, 160), (400, 160), (256, 128), (64, 100), *KALDI.values()]
    ),
    samples=st.integers(300, 6000),
    cuts=st.lists(
        st.tuples(st.integers(0, 1500), st.integers(0, 9)), min_size=1, max_size=12
    ),
    seed=st.integers(0, 99),
)
def test_any_split_gives_the_frames_of_the_whole(
    normalize, geometry, samples, cuts, seed
):
    wave = noise(samples / 16000, seed)
    if geometry in KALDI.values():
        snip_edges = geometry == KALDI[True]
        model = KaldiFbank(MELS, snip_edges=snip_edges).eval(), normalize
    else:
        n_fft, hop = geometry
        model = frontend(n_fft=n_fft, hop_length=hop), normalize
    lengths = torch.tensor([len(wave)])
    with torch.inference_mode():
        feats, lengths = model[0](torch.from_numpy(wave)[None], lengths)
        whole = normalize(feats, lengths)[0][0, : lengths[0]]
    found = in_pieces(StreamFrontend(*model), wave, *zip(*cuts))
    torch.testing.assert_close(found, whole, atol=1e-5, rtol=0)


def test_a_frame_is_available_as_soon_as_later_samples_cannot_change_it():
    features = StreamFeatures(StreamFrontend(frontend(hop_length=160)))
    features.accept(noise(256 / 16000))
    assert features.available == 0  # the reflection needs one sample more
    features.accept(noise(1 / 16000))
    assert features.available == 1
    features.accept(noise(159 / 16000))
    assert features.available == 2
    features.finished = True
    assert features.available == 416 // 160 + 1


def test_a_frame_of_kaldi_is_available_with_its_last_sample():
    features = StreamFeatures(StreamFrontend(KaldiFbank(MELS)))
    features.accept(noise(399 / 16000))
    assert features.available == 0
    features.accept(noise(1 / 16000))
    assert features.available == 1
    features.finished = True
    assert features.available == 1


def test_a_frame_in_the_middle_of_its_hop_waits_for_less():
    features = StreamFeatures(StreamFrontend(KaldiFbank(MELS, snip_edges=False)))
    features.accept(noise(400 / 16000))
    assert features.available == 1  # the next one sees up to sample 440
    features.accept(noise(40 / 16000))
    assert features.available == 2
    features.finished = True
    assert features.available == 3


def test_a_long_wave_that_came_at_once_is_let_go_as_it_is_taken():
    features = StreamFeatures(StreamFrontend(frontend(hop_length=160)))
    features.accept(noise(20.0))
    while features.available:
        features.take(64)
        (kept,) = features._pieces
        held = kept if kept.base is None else kept.base
        assert held.size <= 2 * kept.size
    assert kept.size < 1000


@pytest.mark.parametrize("samples", [0, 1, 256])
def test_a_wave_too_short_for_a_frame_has_none(samples):
    features = StreamFeatures(StreamFrontend(frontend()))
    features.accept(np.zeros(samples, np.float32))
    features.finished = True
    assert features.available == 0
    assert features.take(3).shape == (0, MELS)


@pytest.mark.parametrize(
    "parts, message",
    [
        ((None, None), "front-end 'none' cannot stream"),
        ((torch.nn.Identity(), None), "front-end 'Identity' cannot stream"),
        ((frontend(center=False), None), "remove it"),
        ((frontend(), UtteranceMVN()), "train with 'normalize: global_mvn'"),
    ],
)
def test_what_needs_the_whole_utterance_is_refused(parts, message):
    with pytest.raises(ValueError, match=message):
        StreamFrontend(*parts)
