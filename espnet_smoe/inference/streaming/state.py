"""One stream: the audio that waits, and the utterance it is in the middle of."""

from dataclasses import dataclass, field, replace

import numpy as np
import torch

from espnet_smoe.data.speech.waveform import as_waveform
from espnet_smoe.inference.audio import SAMPLE_RATE
from espnet_smoe.inference.search.ctc_prefix import PrefixBeam
from espnet_smoe.inference.streaming.endpoint import Ending, Endpoint
from espnet_smoe.inference.streaming.features import StreamFeatures
from espnet_smoe.inference.streaming.speech_gate import SpeechGate
from espnet_smoe.layers.chunk_cache import EncoderCache


def detach_rows(cache: EncoderCache) -> list[EncoderCache]:
    """The streams of a batch, each in memory of its own.

    Views would keep the whole batch alive as long as one of its streams is silent, and
    padding to the longest neighbour would be handed on to the next ones without end.
    """
    rows = cache.split()
    if len(rows) == 1:
        return [cache]
    kept = [cache.length] * len(rows)
    if cache.left_chunks < 0:
        kept = cache.num_frames.tolist()
    return [
        replace(
            row,
            features=row.features.clone(),
            keys_values=[
                (_copy_of_last(k, n), _copy_of_last(v, n)) for k, v in row.keys_values
            ],
            convolution=[x.clone() for x in row.convolution],
            num_frames=row.num_frames.clone(),
        )
        for row, n in zip(rows, kept)
    ]


def _copy_of_last(keys: torch.Tensor, count: int) -> torch.Tensor:
    """A copy of the last of ``(1, heads, L, d)``."""
    return keys[:, :, keys.size(2) - count :].clone()


@dataclass
class Utterance:
    """What the model has computed since the last final.

    Attributes:
        begin: Encoder frame of the stream that it begins with.
        cache: Of the encoder, one row.
        search: Of its text.
        endpoint: Of its end.
        encoded: ``(n, D)`` of each chunk so far.
        tokens: The most probable so far.
        last_partial: Text of it.
        has_speech: Whether somebody is known to speak in it.
    """

    begin: int
    cache: EncoderCache
    search: PrefixBeam
    endpoint: Endpoint
    encoded: list[torch.Tensor] = field(default_factory=list)
    tokens: tuple[int, ...] = ()
    last_partial: str = ""
    has_speech: bool = False

    @property
    def end(self) -> int:
        """Encoder frame of the stream behind its last."""
        return self.begin + self.endpoint.frames

    def extend(self, encoded: torch.Tensor, log_probs: np.ndarray) -> None:
        """Take the next frames ``(n, D)`` and their log-probabilities ``(n, V)``."""
        self.encoded.append(encoded.clone())  # no view of the batch
        self.search.advance(log_probs)
        self.tokens = self.search.nbest()[0].tokens
        self.endpoint.advance(log_probs)


class Stream:
    """Audio that comes piece by piece; made by `StreamingRecognizer.create_stream`.

    Not for several threads at once: `accept_waveform` and `finish` only note
    the samples, all computing is in `StreamingRecognizer.decode_streams`, and the two
    must not overlap.

    Args:
        features: Of this stream.
        utterance: The first.
        stride: Feature frames an encoder frame.
        chunk_size: Encoder frames a chunk.
        gate: Tells where somebody speaks; None where nobody asks.
        lookahead: Feature frames before those of the first chunk.
    """

    def __init__(
        self,
        features: StreamFeatures,
        utterance: Utterance,
        stride: int,
        chunk_size: int,
        gate: SpeechGate | None = None,
        lookahead: int = 0,
    ):
        self.features, self.utterance = features, utterance
        self.stride, self.width = stride, stride * chunk_size
        self.gate, self.lookahead = gate, lookahead
        self._done = False

    def accept_waveform(self, samples: np.ndarray) -> None:
        """Take the next samples.

        Args:
            samples: ``(n,)`` at 16 kHz, any n: floats within [-1, 1], or integers,
                which are scaled by their type.

        Raises:
            ValueError: The shape or type is another, a sample is NaN, infinite or far
                out of scale, or the stream is finished. The stream stays as it was.
        """
        if self.features.finished:
            raise ValueError("the stream is finished; open another one")
        samples = as_waveform(samples, "the samples", whole=False)
        if len(samples):
            # a copy: the caller may fill its buffer again
            samples = np.array(samples, dtype=np.float32)
            self.features.accept(samples)
            if self.gate is not None:
                self.gate.accept(samples)

    accept = accept_waveform  # its name before 0.2

    def finish(self) -> None:
        """Say that no samples follow; the last events come with the next steps."""
        self.features.finished = True

    @property
    def seconds(self) -> float:
        """Audio accepted so far."""
        return self.features.samples / SAMPLE_RATE

    @property
    def has_chunk(self) -> bool:
        """Whether the encoder has something to compute: a chunk, or the last rest."""
        enough = self.stride if self.features.finished else self.width
        first = 0 if self.features.taken else self.lookahead
        return self.features.available >= first + enough

    def next_chunk(self) -> torch.Tensor:
        """The features of the next chunk, ``(n, F)``."""
        if self.lookahead and not self.features.taken:
            before = self.features.take(self.lookahead)[None]
            self.utterance.cache = replace(self.utterance.cache, features=before)
        return self.features.take(self.width)

    @property
    def ready(self) -> bool:
        """Whether a step would do something."""
        return self.has_chunk or (self.features.finished and not self._done)

    @property
    def done(self) -> bool:
        """Whether the stream is finished and all its events are out."""
        return self._done

    @property
    def at_end(self) -> bool:
        """Whether all of a finished stream has been computed."""
        return self.features.finished and not self.has_chunk

    def ending(self) -> Ending:
        """What becomes of the utterance behind the chunk just computed."""
        has_text = bool(self.utterance.tokens)
        if self.at_end:
            return Ending.FINAL if has_text else Ending.RESTART
        return self.utterance.endpoint.ending(has_text)

    def begin(self, utterance: Utterance) -> None:
        """Go on with a new utterance, if there is anything to come."""
        self._done = self.at_end
        self.utterance = utterance
