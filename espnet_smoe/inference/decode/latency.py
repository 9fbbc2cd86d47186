"""How long after the end of an utterance its text is there, in each way to decode."""

import time
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from espnet_smoe.inference.audio import SAMPLE_RATE
from espnet_smoe.inference.batch_encoder import BatchEncoder
from espnet_smoe.inference.recognizers.u2pp import U2PPDecodeOptions
from espnet_smoe.inference.search.encoded_batch import EncodedBatch
from espnet_smoe.inference.search.registry import Search
from espnet_smoe.inference.streaming.features import StreamFeatures, StreamFrontend
from espnet_smoe.inference.streaming.recognizer import check_streams

UTTERANCES = 50  # that tell enough, of any number


def stream_frontend(encoder: BatchEncoder) -> StreamFrontend:
    """The encoder's front-end for speech that comes piece by piece.

    Raises:
        ValueError: The model cannot stream; says why, and what to do.
    """
    check_streams(encoder.model)
    return StreamFrontend(encoder.frontend, encoder.model.normalize, encoder.device)


def latencies(
    encoder: BatchEncoder,
    frontend: StreamFrontend | None,
    waves: Sequence[np.ndarray],
    options: U2PPDecodeOptions,
    most: int = UTTERANCES,
) -> list[float]:
    """Seconds from the end of an utterance to its text.

    Each utterance is alone, and comes at the pace of speech: by calculation, nothing
    waits. Without chunks all computing follows its end. With chunks the encoder has
    computed most of it by then; what is left is its last chunk, whatever it is behind
    with, and the search, which begins at the end.

    Args:
        encoder: Of a U2++ model.
        frontend: Of `stream_frontend`; only for chunks.
        waves: Float32 ``(samples,)`` at 16 kHz, sorted by length.
        options: Which search and which chunks.
        most: Utterances to measure, of all lengths.

    Returns:
        One number an utterance measured.
    """

    search = options.build_search(encoder.model)

    def measured(wave: np.ndarray) -> float:
        if options.chunk_size:
            return _of_stream(encoder, frontend, wave, options, search)
        return _of_whole(encoder, wave, search)

    last = len(waves) - 1
    chosen = np.linspace(0, last, min(most, len(waves))).round().astype(int)
    measured(waves[last])  # the first call is slow
    return [measured(waves[i]) for i in chosen]


def search_once(
    search: Search, encoder: BatchEncoder, encoded: torch.Tensor, frames: torch.Tensor
) -> None:
    """Search the text of utterances ``(B, T, D)`` of ``(B,)`` frames."""
    search(EncodedBatch(encoder.model, encoded, frames))


@torch.inference_mode()
def _of_whole(encoder: BatchEncoder, wave: np.ndarray, search: Search) -> float:
    begun = time.perf_counter()
    search_once(search, encoder, *encoder([wave], chunk_size=0))
    return time.perf_counter() - begun


@torch.inference_mode()
def _of_stream(
    encoder: BatchEncoder,
    frontend: StreamFrontend,
    wave: np.ndarray,
    options: U2PPDecodeOptions,
    search: Search,
) -> float:
    conformer = encoder.model.encoder
    features = StreamFeatures(frontend)
    features.accept(wave)
    features.finished = True
    if features.available < conformer.lookahead + conformer.stride:
        return 0.0  # shorter than a frame: nothing to say
    before = features.take(conformer.lookahead)[None]
    cache = conformer.new_cache(1, options.chunk_size, options.left_chunks, before)
    width = conformer.stride * options.chunk_size
    seconds = len(wave) / SAMPLE_RATE
    encoded, now = [], 0.0  # now: seconds of the stream
    while features.available >= conformer.stride:
        begun = time.perf_counter()
        feats = features.take(width)  # (n, F), n = width but for the last
        chunk = nn.functional.pad(feats, (0, 0, 0, width - len(feats)))[None]
        lengths = torch.tensor([len(feats)], device=encoder.device)
        out, frames, cache = conformer.forward_chunk(chunk, cache, lengths)
        encoded.append(out[:, : frames.item()])
        last_sample = (features.taken - 1) * frontend.hop_length + frontend.reach
        spoken = min(seconds, last_sample / SAMPLE_RATE)
        now = max(now, spoken) + time.perf_counter() - begun
    begun = time.perf_counter()
    whole = torch.cat(encoded, dim=1)  # (1, T, D)
    frames = torch.tensor([whole.size(1)], device=encoder.device)
    search_once(search, encoder, whole, frames)
    return max(now, seconds) + time.perf_counter() - begun - seconds
