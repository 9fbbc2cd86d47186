"""What tests of streams share: how to hear one, and a model that hears levels."""

from dataclasses import dataclass, field

import pytest
import torch

from espnet_smoe.compat import DefaultFrontend
from espnet_smoe.inference.streaming.recognizer import (
    StreamingRecognizer,
    StreamOptions,
)
from espnet_smoe.layers.chunk_cache import EncoderCache

NEVER = float("inf")
UNCUT = {"silence_seconds": NEVER, "start_seconds": NEVER, "longest_seconds": NEVER}
SMALL = {"chunk_size": 4, "left_chunks": 2, "beam_size": 4}
CUT = SMALL | {"silence_seconds": 0.2, "longest_seconds": 2.0}


def recognizer_of(model, detect_speech=False, **options):
    """By default it also tells what it makes of noise, which tests are made of."""
    options = StreamOptions(detect_speech=detect_speech, **options)
    return StreamingRecognizer(model, options, "".join)


def events_of(recognizer, wave, pieces=()):
    """All events of one stream, that comes in pieces of so many samples."""
    stream, events, start = recognizer.create_stream(), [], 0
    for piece in (*pieces, len(wave)):
        stream.accept_waveform(wave[start : start + piece])
        start += piece
        while stream.ready:
            events += recognizer.decode_streams([stream])[0]
    stream.finish()
    while not stream.done:
        assert stream.ready
        events += recognizer.decode_streams([stream])[0]
    return events


def same(events, others):
    assert [(e.kind, e.text) for e in events] == [(e.kind, e.text) for e in others]
    for event, other in zip(events, others):
        assert (event.start, event.end) == (other.start, other.end)
        for token, twin in zip(event.tokens, other.tokens, strict=True):
            assert (token.token, token.start) == (twin.token, twin.start)
            assert token.confidence == pytest.approx(twin.confidence, abs=1e-4)


def finals(recognizer, wave):
    return [e for e in events_of(recognizer, wave) if e.kind == "final"]


@dataclass
class LoudnessEncoder:
    """Mean feature of the four frames of each encoder frame, without a memory."""

    stride: int = 4
    batches: list[int] = field(default_factory=list)

    def new_cache(self, batch=1, chunk_size=16, left_chunks=-1):
        empty = torch.zeros(batch, 1, 0, 1)
        frames = torch.zeros(batch, dtype=torch.long)
        given = torch.zeros(batch, 0, 20), [(empty, empty)], [], frames
        return EncoderCache(*given, chunk_size, left_chunks, [])

    def forward_chunk(self, xs, cache, lengths=None, routing=None):
        self.batches.append(len(xs))
        loudness = xs.mean(dim=2).unflatten(1, (-1, 4)).mean(dim=2, keepdim=True)
        return loudness, lengths // self.stride, cache


class LoudnessHead:
    def log_softmax(self, encoded):
        token = (encoded > -12).long() + (encoded > -4.2).long()  # 0, 1 or 2
        scores = torch.full((*encoded.shape[:2], 3), 0.001)
        return scores.scatter(2, token, 0.998).log()


class LoudnessModel(torch.nn.Module):
    """Blank, a or b, by level."""

    decoder = normalize = None
    blank_id, token_list = 0, ["<blank>", "a", "b"]

    def __init__(self):
        super().__init__()
        self.frontend = DefaultFrontend(n_fft=512, hop_length=160, n_mels=20)
        self.encoder, self.ctc = LoudnessEncoder(), LoudnessHead()
        self.anchor = torch.nn.Parameter(torch.zeros(1))
