"""A step that fails changes nothing, wherever it fails."""

import pytest

from espnet_smoe.inference.streaming import recognizer as streaming
from espnet_smoe.inference.streaming.options import StreamOptions
from espnet_smoe.inference.streaming.recognizer import StreamingRecognizer
from tests.inference.tiny_u2pp import babble, tiny_u2pp

OPTIONS = StreamOptions(
    chunk_size=4, left_chunks=2, longest_seconds=0.7, detect_speech=False
)


def opened(recognizer, count=3):
    streams = [recognizer.create_stream() for _ in range(count)]
    for seed, stream in enumerate(streams):
        stream.accept_waveform(babble(2.5, seed))
        stream.finish()
    return streams


def texts(recognizer, streams):
    """Events of each; steps of all, and of each alone where they fail."""
    told = [[] for _ in streams]
    failures = 0
    while any(stream.ready for stream in streams):
        try:
            steps = recognizer.decode_streams(streams)
        except RuntimeError:
            failures += 1
            steps = [recognizer.decode_streams([stream])[0] for stream in streams]
        for events, of_step in zip(told, steps):
            events += [(e.kind, e.text, e.start, e.end) for e in of_step]
    return told, failures


@pytest.mark.parametrize("part", ["encoder", "rescoring"])
def test_after_a_failed_batch_each_alone_loses_nothing(part, monkeypatch):
    recognizer = StreamingRecognizer(tiny_u2pp(), OPTIONS)
    expected, _ = texts(recognizer, opened(recognizer))
    assert all(sum(e[0] == "final" for e in events) > 1 for events in expected)
    forward = recognizer.model.encoder.forward_chunk

    def small_encoder(xs, *args, **kwargs):
        if len(xs) > 1:
            raise RuntimeError("out of memory")
        return forward(xs, *args, **kwargs)

    rescore = streaming.rescore

    def small_rescoring(decoder, encoded, *args, **kwargs):
        if len(encoded) > 1:
            raise RuntimeError("out of memory")
        return rescore(decoder, encoded, *args, **kwargs)

    if part == "encoder":
        monkeypatch.setattr(recognizer.model.encoder, "forward_chunk", small_encoder)
    else:
        monkeypatch.setattr(streaming, "rescore", small_rescoring)
    told, failures = texts(recognizer, opened(recognizer))
    assert failures > 1
    assert told == expected


def test_a_stream_that_fails_is_as_it_was(monkeypatch):
    recognizer = StreamingRecognizer(tiny_u2pp(), OPTIONS)
    (stream,) = opened(recognizer, 1)
    recognizer.decode_streams([stream])
    before = stream.features.taken, stream.utterance.end, stream.utterance.tokens
    monkeypatch.setattr(streaming.Utterance, "extend", lambda *args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        recognizer.decode_streams([stream])
    after = stream.features.taken, stream.utterance.end, stream.utterance.tokens
    assert after == before
