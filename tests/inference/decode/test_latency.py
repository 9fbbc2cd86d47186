"""How long a text takes after the end of its utterance, by a clock that is given."""

from types import SimpleNamespace

import pytest
import torch

from espnet_smoe.inference.batch_encoder import BatchEncoder
from espnet_smoe.inference.decode import latency
from espnet_smoe.inference.decode.latency import latencies, stream_frontend
from espnet_smoe.inference.recognizers.u2pp import U2PPDecodeOptions
from tests.inference.tiny_u2pp import babble, tiny_u2pp

SEARCHES = ("greedy", "prefix_beam", "attention", "rescoring")
CHUNK = 4  # frames of 40 ms
REACH = 256 / 16000  # seconds that the last feature of a chunk looks ahead


@pytest.fixture(scope="module")
def encoder():
    return BatchEncoder(tiny_u2pp())


@pytest.fixture
def takes(encoder, monkeypatch):
    """Set the seconds that each step takes; nothing else moves the clock."""
    now = [0.0]
    time = SimpleNamespace(perf_counter=lambda: now[0])
    monkeypatch.setattr(latency, "time", time)

    def slow(place, name, seconds):
        step = getattr(place, name)

        def slow_step(*given, **options):
            now[0] += seconds
            return step(*given, **options)

        monkeypatch.setattr(place, name, slow_step)

    def set_all(whole=0.0, features=0.0, chunk=0.0, search=0.0):
        slow(BatchEncoder, "__call__", whole)
        slow(latency.StreamFeatures, "take", features)
        slow(encoder.model.encoder, "forward_chunk", chunk)
        slow(latency, "search_once", search)

    return set_all


def measured(encoder, waves, chunk_size=CHUNK, **options):
    options = U2PPDecodeOptions(chunk_size=chunk_size, **options)
    return latencies(encoder, stream_frontend(encoder), waves, options)


def test_without_chunks_all_is_computed_after_the_end(encoder, takes):
    takes(whole=0.5, search=0.25)
    for search in SEARCHES:
        found = measured(encoder, [babble(1.0)], 0, search=search)
        assert found == [pytest.approx(0.75)]


def test_of_a_stream_the_last_chunk_and_the_search_are_left(encoder, takes):
    takes(features=0.004, chunk=0.016, search=0.25)
    # 0.8 s are five chunks; the last feature of the fifth reaches beyond the end
    assert measured(encoder, [babble(0.8)]) == [pytest.approx(0.27)]


def test_who_cannot_keep_up_is_late_by_all_that_is_behind(encoder, takes):
    takes(chunk=1.0, search=0.25)
    first = (CHUNK * 4 - 1) * 0.01 + REACH  # seconds until its first chunk is spoken
    wanted = first + 5 * 1.0 + 0.25 - 0.8
    assert measured(encoder, [babble(0.8)]) == [pytest.approx(wanted)]


@pytest.mark.parametrize("left", [-1, 1])
def test_a_stream_searches_what_a_batch_would(encoder, monkeypatch, left):
    searched = []
    monkeypatch.setattr(latency, "search_once", lambda *given: searched.append(given))
    wave = babble(1.23)
    measured(encoder, [wave], left_chunks=left)
    wanted, frames = encoder([wave], chunk_size=CHUNK, left_chunks=left)
    _, _, encoded, lengths = searched[-1]
    assert lengths.tolist() == frames.tolist()
    torch.testing.assert_close(encoded, wanted, atol=1e-5, rtol=0)


def test_of_many_utterances_some_of_all_lengths_are_measured(encoder, monkeypatch):
    heard = []
    monkeypatch.setattr(
        latency, "_of_whole", lambda _, wave, __: heard.append(len(wave)) or 0.0
    )
    waves = [babble(0.5 + i / 100) for i in range(9)]
    assert len(latencies(encoder, None, waves, U2PPDecodeOptions(), most=5)) == 5
    assert heard[1:] == [len(wave) for wave in waves[::2]]  # behind the first, slow one
    assert len(latencies(encoder, None, waves, U2PPDecodeOptions(), most=50)) == 9


def test_nothing_is_said_of_what_is_shorter_than_a_frame(encoder):
    assert measured(encoder, [babble(0.018)]) == [0.0]


def test_a_model_that_needs_the_whole_utterance_cannot_be_heard_in_chunks():
    encoder = BatchEncoder(tiny_u2pp(normalize="utterance_mvn"))
    with pytest.raises(ValueError, match="'UtteranceMVN' needs the whole utterance"):
        stream_frontend(encoder)
