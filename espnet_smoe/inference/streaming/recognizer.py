"""StreamingRecognizer: one model, many streams, computed together chunk by chunk.

recognizer = StreamingRecognizer.load("exp/u2pp")
stream = recognizer.create_stream()
for samples in microphone:  # any number of samples at a time
    stream.accept_waveform(samples)
    while stream.ready:
        for event in recognizer.decode_streams([stream])[0]:
            print(event.kind, event.text)
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence

from espnet_smoe.inference.audio import SAMPLE_RATE
from espnet_smoe.inference.checkpoint import load_model, model_files, read_config
from espnet_smoe.inference.confidence import timed_tokens
from espnet_smoe.inference.config_files import check_sample_rate
from espnet_smoe.inference.detokenizer import Detokenizer, detokenizer
from espnet_smoe.inference.long_form.detectors import new_activity
from espnet_smoe.inference.runtime.mkldnn_linear import convert_to_mkldnn
from espnet_smoe.inference.search.ctc_prefix import PrefixBeam
from espnet_smoe.inference.search.hypothesis import Hypothesis
from espnet_smoe.inference.search.options import check_beam
from espnet_smoe.inference.search.rescoring import rescore
from espnet_smoe.inference.streaming.endpoint import Ending, Endpoint
from espnet_smoe.inference.streaming.events import Event, TimedToken
from espnet_smoe.inference.streaming.features import StreamFeatures, StreamFrontend
from espnet_smoe.inference.streaming.options import StreamOptions
from espnet_smoe.inference.streaming.rollback import rollback_on_error
from espnet_smoe.inference.streaming.speech_gate import SpeechGate
from espnet_smoe.inference.streaming.state import Stream, Utterance, detach_rows
from espnet_smoe.layers.chunk_cache import EncoderCache

__all__ = ["Event", "Stream", "StreamOptions", "StreamingRecognizer", "TimedToken"]


class StreamingRecognizer:
    """Recognise many streams with one model.

    An utterance ends by the blanks behind it, by its length, or with its stream; the
    encoder then begins anew, so that neither time nor memory grow.

    Args:
        model: A model whose encoder has ``forward_chunk``, such as `u2pp`.
        options: Of the search and the endpoints.
        join: Tokens to text, as `detokenizer` makes.

    Raises:
        ValueError: The model cannot stream; says why, and what to do.
    """

    def __init__(
        self,
        model: nn.Module,
        options: StreamOptions = StreamOptions(),
        join: Detokenizer = " ".join,
    ):
        check_streams(model)
        if options.rescore and model.decoder is None:
            raise ValueError(
                "the model has no decoder to rescore with; turn rescoring off"
            )
        check_beam(options.beam_size, model.token_list)
        new_activity(options.vad)  # a package that is missing is told at once
        self.model, self.options, self.join = model.eval(), options, join
        self.device = next(model.parameters()).device
        self.frontend = StreamFrontend(model.frontend, model.normalize, self.device)
        self.stride = model.encoder.stride
        self.lookahead = getattr(model.encoder, "lookahead", 0)
        self.frame_seconds = self.stride * self.frontend.hop_length / SAMPLE_RATE
        self.reverse_weight = _reverse_weight(model, options)
        with torch.inference_mode():  # never changed, so all utterances begin with it
            self.new_cache = model.encoder.new_cache(
                1, options.chunk_size, options.left_chunks
            )

    @property
    def chunk_seconds(self) -> float:
        """Seconds of a chunk: each stream takes a step so often."""
        return self.options.chunk_size * self.frame_seconds

    @classmethod
    def load(
        cls,
        path: str | Path,
        options: StreamOptions = StreamOptions(),
        device: str = "cpu",
    ) -> "StreamingRecognizer":
        """Load a packed model, an experiment's folder, or a model of the hub.

        Args:
            path: Zip file, folder, or name on the Hugging Face hub.
            options: Of the search and the endpoints.
            device: Such as ``cpu`` or ``cuda``.

        Raises:
            ValueError: A file is missing or does not fit, or the model cannot stream.
        """
        with model_files(path) as (train_config, model_file):
            config = read_config(train_config)
            check_sample_rate(config, train_config)
            model = load_model(config, model_file, device, options.int8)
            convert_to_mkldnn(model)
            return cls(model, options, detokenizer(config))

    def create_stream(self) -> Stream:
        """A new stream."""
        features = StreamFeatures(self.frontend)
        gate = SpeechGate(self.options.vad) if self.options.detect_speech else None
        size, first = self.options.chunk_size, self._begin(0)
        return Stream(features, first, self.stride, size, gate, self.lookahead)

    @torch.inference_mode()
    def decode_streams(self, streams: Sequence[Stream]) -> list[list[Event]]:
        """Compute at most one chunk of each stream that is ready, all in one batch.

        Args:
            streams: Of this recognizer, each once.

        Returns:
            New events of each, in the order of ``streams``.

        Raises:
            RuntimeError: The model failed, as with too large a batch for the memory.
                The streams are as they were: fewer of them may do.
        """
        assert len(set(streams)) == len(streams), "a stream is given twice"
        for stream in streams:
            if stream.gate is not None:
                stream.gate.measure(self._sample(stream.features.taken + stream.width))
        with rollback_on_error(streams):
            return self._step(streams)

    open, step = create_stream, decode_streams  # their names before 0.2

    def _step(self, streams: Sequence[Stream]) -> list[list[Event]]:
        streams_with_chunk = [stream for stream in streams if stream.has_chunk]
        ready = [stream for stream in streams if stream.ready]
        if streams_with_chunk:
            self._encode_chunks(streams_with_chunk)
        # all endings first: what is final is rescored in one batch
        endings = {stream: self._ending(stream) for stream in ready}
        ended = [s for s, ending in endings.items() if ending is Ending.FINAL]
        finals = dict(zip(ended, self._finals([s.utterance for s in ended])))
        events: dict[Stream, Event | None] = {}
        for stream, ending in endings.items():
            events[stream] = (
                finals[stream] if stream in finals else self._partial_event(stream)
            )
            if ending is not Ending.NOT_YET:
                stream.begin(self._begin(stream.utterance.end, stream.utterance.cache))
        found = (events.get(stream) for stream in streams)
        return [[] if event is None else [event] for event in found]

    def _ending(self, stream: Stream) -> Ending:
        """What becomes of the utterance; noise ends as silence does, without a text."""
        ending = stream.ending()
        if ending is Ending.FINAL and not self._has_speech(stream):
            return Ending.RESTART
        return ending

    def _has_speech(self, stream: Stream) -> bool:
        """Whether somebody speaks in the utterance; known for good once it is so."""
        utterance = stream.utterance
        if not utterance.has_speech:
            frames = utterance.begin * self.stride, utterance.end * self.stride
            utterance.has_speech = stream.gate is None or stream.gate.spoken_between(
                *map(self._sample, frames)
            )
        return utterance.has_speech

    def _begin(self, frame: int, before: EncoderCache | None = None) -> Utterance:
        blank, cache = self.model.blank_id, self.new_cache
        if before is not None and self.lookahead:  # it has seen what comes next
            cache = replace(cache, features=before.features)
        return Utterance(
            frame,
            cache,
            PrefixBeam(blank, self.options.beam_size),
            Endpoint(self.options, self.frame_seconds, blank),
        )

    def _encode_chunks(self, streams: Sequence[Stream]) -> None:
        """One chunk of each through encoder and search."""
        feats = [stream.next_chunk() for stream in streams]
        lengths = torch.tensor([len(f) for f in feats], device=self.device)
        # the last chunk of a stream may be shorter: the encoder takes whole ones
        width = self.stride * self.options.chunk_size
        chunk = feats[0].new_zeros(len(feats), width, feats[0].size(1))
        for row, of_one in zip(chunk, feats):
            row[: len(of_one)] = of_one
        cache = EncoderCache.stack([stream.utterance.cache for stream in streams])
        encoded, frames, cache = self.model.encoder.forward_chunk(chunk, cache, lengths)
        log_probs = self._log_probs(encoded)  # (B, C, V)
        rows = zip(streams, detach_rows(cache), encoded, log_probs, frames.tolist())
        for stream, of_stream, of_encoder, of_ctc, n in rows:
            stream.utterance.cache = of_stream
            stream.utterance.extend(of_encoder[:n], of_ctc[:n])

    def _log_probs(self, encoded: torch.Tensor) -> np.ndarray:
        return self.model.ctc.log_softmax(encoded).float().cpu().numpy()

    def _partial_event(self, stream: Stream) -> Event | None:
        """A partial, if the text is another than before."""
        utterance = stream.utterance
        text = self.join(self._names(utterance.tokens))
        if text == utterance.last_partial or not self._has_speech(stream):
            return None
        utterance.last_partial = text
        first = utterance.endpoint.first_nonblank or 0
        start = self._seconds(utterance.begin + first)
        return Event("partial", text, start, self._seconds(utterance.end))

    def _finals(self, utterances: Sequence[Utterance]) -> list[Event | None]:
        """Of utterances that have ended; None of one that never said a thing."""
        if not utterances:
            return []
        rows = [torch.cat(utterance.encoded) for utterance in utterances]
        nbests = [utterance.search.nbest() for utterance in utterances]
        if self.options.rescore:
            nbests = self._rescore(rows, nbests)
        # not kept from chunk to chunk, and made for one utterance at a time: V numbers
        # a frame are many times its D
        return [
            self._final(utterance, self._log_probs(row[None])[0], best[0].tokens)
            for utterance, row, best in zip(utterances, rows, nbests)
        ]

    def _rescore(
        self, rows: Sequence[torch.Tensor], nbests: list[list[Hypothesis]]
    ) -> list[list[Hypothesis]]:
        """Best first, of utterances ``(T, D)``."""
        return rescore(
            self.model.decoder,
            pad_sequence(rows, batch_first=True),  # (B, T, D)
            torch.tensor([len(row) for row in rows], device=self.device),
            nbests,
            ctc_weight=self.options.ctc_weight,
            reverse_weight=self.reverse_weight,
            sos=self.model.sos,
            eos=self.model.eos,
        )

    def _final(
        self, utterance: Utterance, log_probs: np.ndarray, tokens: Sequence[int]
    ) -> Event | None:
        names, begin = self._names(tokens), utterance.begin
        text = self.join(names)
        if not text and not utterance.last_partial:
            return None
        blank = self.model.blank_id
        timed = timed_tokens(log_probs, tokens, names, self.frame_seconds, blank, begin)
        start = timed[0].start if timed else self._seconds(begin)
        end = timed[-1].end if timed else self._seconds(utterance.end)
        return Event("final", text, start, end, timed)

    def _names(self, tokens: Sequence[int]) -> list[str]:
        return [self.model.token_list[token] for token in tokens]

    def _sample(self, frame: int) -> int:
        """Where a feature frame stands."""
        return frame * self.frontend.hop_length

    def _seconds(self, frame: int) -> float:
        return frame * self.frame_seconds


StreamingRecogniser = StreamingRecognizer  # its name before 0.2


def check_streams(model: nn.Module) -> None:
    """Check that a model can encode speech piece by piece.

    Raises:
        ValueError: It cannot; says why, and what to do.
    """
    encoder = type(model.encoder).__name__
    if not hasattr(model.encoder, "forward_chunk"):
        raise ValueError(
            f"encoder '{encoder}' needs the whole utterance and cannot stream; train "
            "with 'encoder: u2pp_conformer'"
        )
    if getattr(model, "ctc", None) is None:
        raise ValueError(
            "the model has no CTC head to stream with (it was trained with ctc_weight "
            "0); train with a larger one"
        )
    for name in ("preencoder", "postencoder"):
        if getattr(model, name, None) is not None:
            raise ValueError(f"a model with a {name} cannot stream; train without")


def _reverse_weight(model: nn.Module, options: StreamOptions) -> float:
    """Share of the right-to-left decoder: as asked for, or else the model's own."""
    if getattr(model.decoder, "right", None) is None:
        if options.rescore and options.reverse_weight:
            raise ValueError(
                f"reverse_weight is {options.reverse_weight}, but the model has no "
                "right-to-left decoder; use 0"
            )
        return 0.0
    if options.reverse_weight is None:
        return model.reverse_weight
    return options.reverse_weight
