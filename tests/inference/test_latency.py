"""How long a text takes after the end of its utterance, by a clock that is given."""

import pytest
import torch

from espnet_smoe.inference import latency
from espnet_smoe.inference.batch_encoder import BatchEncoder
from espnet_smoe.inference.latency import latencies
from espnet_smoe.inference.two_pass import SEARCHES, U2PPDecodeOptions
from tests.inference.tiny_u2pp import babble, tiny_u2pp

CHUNK = 4  # frames of 40 ms
REACH = 256 / 16000  # seconds that the last feature of a chunk looks ahead


@pytest.fixture(scope="module")
def encoder():
    return BatchEncoder(tiny_u2pp())


@pytest.fixture
def clock(monkeypatch):
    """Set how many seconds whatever is computed takes."""

    def takes(seconds):
        ticks = iter(i * seconds for i in range(1000))
        monkeypatch.setattr(latency.time, "perf_counter", lambda: next(ticks))

    return takes


def test_without_chunks_all_is_computed_after_the_end(encoder, clock):
    clock(0.5)
    for search in SEARCHES:
        options = U2PPDecodeOptions(search)
        assert latencies(encoder, [babble(1.0)], options) == [pytest.approx(0.5)]


def test_of_a_stream_the_last_chunk_and_the_search_are_left(encoder, clock):
    clock(0.01)
    options = U2PPDecodeOptions(chunk_size=CHUNK)
    # 0.8 s are five chunks; the last feature of the fifth needs 6 ms of the end
    assert latencies(encoder, [babble(0.8)], options) == [pytest.approx(0.02)]


def test_who_cannot_keep_up_is_late_by_all_that_is_behind(encoder, clock):
    clock(1.0)
    options = U2PPDecodeOptions(chunk_size=CHUNK)
    first = (CHUNK * 4 - 1) * 0.01 + REACH  # seconds until its first chunk is spoken
    wanted = first + 5 * 1.0 + 1.0 - 0.8
    assert latencies(encoder, [babble(0.8)], options) == [pytest.approx(wanted)]


@pytest.mark.parametrize("left", [-1, 1])
def test_a_stream_searches_what_a_batch_would(encoder, monkeypatch, left):
    searched = []
    monkeypatch.setattr(latency, "two_pass", lambda *given: searched.append(given))
    options = U2PPDecodeOptions(chunk_size=CHUNK, left_chunks=left)
    wave = babble(1.23)
    latencies(encoder, [wave], options)
    wanted, frames = encoder([wave], chunk_size=CHUNK, left_chunks=left)
    [(_, encoded, lengths, _)] = searched
    assert lengths.tolist() == frames.tolist()
    torch.testing.assert_close(encoded, wanted, atol=1e-5, rtol=0)


def test_of_many_utterances_some_of_all_lengths_are_measured(encoder, monkeypatch):
    measured = []
    monkeypatch.setattr(
        latency, "_of_whole", lambda _, wave, __: measured.append(len(wave)) or 0.0
    )
    waves = [babble(0.5 + i / 100) for i in range(101)]
    assert len(latencies(encoder, waves, U2PPDecodeOptions(), most=50)) == 34
    assert measured == [len(wave) for wave in waves[::3]]


def test_nothing_is_said_of_what_is_shorter_than_a_frame(encoder):
    options = U2PPDecodeOptions(chunk_size=CHUNK)
    assert latencies(encoder, [babble(0.018)], options) == [0.0]


def test_a_model_that_needs_the_whole_utterance_has_none_in_chunks():
    encoder = BatchEncoder(tiny_u2pp(normalize="utterance_mvn"))
    with pytest.raises(ValueError, match="'UtteranceMVN' needs the whole utterance"):
        latencies(encoder, [babble(1.0)], U2PPDecodeOptions(chunk_size=CHUNK))
