"""Traces of learned routing: what each router decides, frame by frame."""

import argparse
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence

from espnet_smoe.data.data_dir import read_tables
from espnet_smoe.data.text.text_syllable import TEXT_SYLLABLE
from espnet_smoe.data.text.tokens import UNKNOWN
from espnet_smoe.encoder.stacking import StackedDeltas
from espnet_smoe.inference.audio import SAMPLE_RATE, read_audio
from espnet_smoe.report.experts.data import sample
from espnet_smoe.report.experts.probe import (
    BATCH_SIZE,
    MOST_FRAMES,
    SEED,
    LayerTrace,
    mixtures,
    record_loads,
)
from espnet_smoe.report.routing.align import align, nearest_unit
from espnet_smoe.report.scoring.pairing import look_up, read_text

UNITS = ("word", "phn")  # types of tokens whose texts are written in units
SILENCE_DB = 30.0  # below the loud frames of the utterance
LOUD = 95  # percentile of its frames


@dataclass(frozen=True)
class Utterance:
    """One utterance: its id, its audio file, its text in modelling units."""

    name: str
    path: str
    units: tuple[str, ...]


@dataclass(frozen=True)
class UtteranceTrace:
    """The routing of one utterance of T encoder frames; no padding.

    Attributes:
        utterance: The utterance.
        mel: ``(frames, mels)`` log-mel of the front-end.
        centers: ``(T,)`` the front-end's frame in the middle of each encoder frame.
        silence: ``(T,)`` whether it is silent (`silent`).
        units: ``(T,)`` number of the unit it belongs to; None without an alignment.
        spike_probability: Mean probability of the text's units at their spikes; NaN
            without an alignment.
        log_p: Layer -> ``(T, E)`` the router's log-probabilities.
    """

    utterance: Utterance
    mel: np.ndarray
    centers: np.ndarray
    silence: np.ndarray
    units: np.ndarray | None
    spike_probability: float
    log_p: dict[str, np.ndarray]


def read_utterances(
    data: Path,
    config: Mapping[str, Any],
    limit: int | None = None,
    wanted: str | None = None,
) -> list[Utterance]:
    """Read a data directory.

    Args:
        data: ``wav.scp`` and the text that the model has learned.
        config: The model's training configuration.
        limit: Utterances to take, drawn by chance with a fixed seed; all when None.
        wanted: An utterance to take in any case.

    Raises:
        ValueError: A file is missing or faulty, or ``wanted`` unknown; says which.
    """
    tables, problems = read_tables(data)
    if problems:
        raise ValueError("\n".join(map(str, problems)))
    waves = tables["wav.scp"]
    if not waves:
        raise ValueError(f"{data / 'wav.scp'} is empty; there are no recordings")
    if wanted is not None and wanted not in waves:
        raise ValueError(
            f"--utt: '{wanted}' is not in {data / 'wav.scp'}; give an id from there, "
            f"such as {next(iter(waves))}"
        )
    path = data / text_file(config)
    texts = read_text(path, "stage 5 of the recipe writes the text in modelling units")
    names = sample(list(waves), limit)
    if wanted is not None and wanted not in names:
        names.append(wanted)
    split = splitter(config)
    return [
        Utterance(name, waves[name], split(text))
        for name, text in zip(names, look_up(texts, names, path))
    ]


def text_file(config: Mapping[str, Any]) -> str:
    """Name of the file that a model has learned its text from.

    As its training configuration names it; else by the type of its tokens.
    """
    for path, name, *_ in config.get("train_data_path_and_name_and_type") or ():
        if name == "text":
            return Path(path).name
    return TEXT_SYLLABLE if config.get("token_type") in UNITS else "text"


def splitter(config: Mapping[str, Any]) -> Callable[[str], tuple[str, ...]]:
    """A function that splits a text into modelling units, as in the model's training.

    Raises:
        ValueError: The model's tokens need a file or a package that is not there.
    """
    kind = config.get("token_type")
    if kind in UNITS and not config.get("g2p"):
        return lambda text: tuple(text.split())
    from espnet_smoe.compat import ASRTask

    # as ESPnet builds it for this model: type of the tokens, their files, cleaner
    preprocess = ASRTask.build_preprocess_fn(argparse.Namespace(**config), False)
    tokenizer = getattr(preprocess, "tokenizer", None)
    if tokenizer is None:
        raise ValueError(
            f"token_type {kind}: ESPnet makes no tokens of it that experts can be "
            "compared by"
        )
    return lambda text: tuple(tokenizer.text2tokens(preprocess.text_cleaner(text)))


@torch.inference_mode()
def trace_routing(
    model: nn.Module,
    utterances: Sequence[Utterance],
    config: Mapping[str, Any],
    traces: dict[str, LayerTrace] | None = None,
) -> Iterator[UtteranceTrace]:
    """Encode utterances and record what the routers do.

    Each wave passes the front-end alone, then some are encoded together.

    Args:
        model: A model on any device, ready for inference: of ours, or of ESPnet's
            with our encoder.
        utterances: From `read_utterances`.
        config: Its training configuration.
        traces: Receives loads and sample inputs of each layer, where given.

    Yields:
        A trace of each utterance, in the order of ``utterances``.

    Raises:
        ValueError: The model has no experts, or none whose routing is learned.
    """
    layers = mixtures(model)
    if "encoder" not in layers:
        raise ValueError(
            "its encoder has no experts, and the routing of an encoder alone can be "
            "analyzed; give an experiment whose encoder_conf has a 'moe' section"
        )
    device = next(model.parameters()).device
    ids = {unit: i for i, unit in enumerate(config["token_list"])}
    random = Random(SEED)
    samples = -(-MOST_FRAMES // -(-len(utterances) // BATCH_SIZE))  # of a batch
    recorded = {"encoder": {} if traces is None else traces}
    for layer in layers["encoder"]:
        recorded["encoder"].setdefault(layer.name, LayerTrace())
    for start in range(0, len(utterances), BATCH_SIZE):
        batch = utterances[start : start + BATCH_SIZE]
        mels = [log_mel(model, utterance.path) for utterance in batch]
        lengths = torch.tensor([len(m) for m in mels], device=device)
        padded = pad_sequence(mels, batch_first=True)  # (B, frames, mels)
        recording = record_loads(layers, recorded, "encoder", "all", samples, random)
        with recording as logits:
            encoder_out, lengths = _encode(model, padded, lengths)
        if not logits:
            raise ValueError(
                "the experts are chosen by label, not by a router; there is no routing "
                "to look at"
            )
        sizes = lengths.tolist()
        log_p = {
            name: of_layer.float().log_softmax(1).cpu().split(sizes)
            for name, of_layer in logits.items()
        }
        aligned = _align_batch(model, encoder_out, sizes, batch, ids)
        for i, mel in enumerate(mel.cpu().numpy() for mel in mels):
            centers = centers_of(model, sizes[i], len(mel))
            silence = silent(mel)[centers.round().astype(int)]
            routed = {name: of_layer[i].numpy() for name, of_layer in log_p.items()}
            yield UtteranceTrace(batch[i], mel, centers, silence, *aligned[i], routed)


def _align_batch(
    model: nn.Module,
    encoder_out: torch.Tensor,
    sizes: Sequence[int],
    utterances: Sequence[Utterance],
    ids: Mapping[str, int],
) -> list[tuple[np.ndarray | None, float]]:
    """Units and spike probability of each utterance; None, NaN without a CTC head."""
    ctc = ctc_of(model)
    if ctc is None:
        return [(None, math.nan)] * len(utterances)
    unknown = ids.get(UNKNOWN, 0)
    texts = [[ids.get(u, unknown) for u in one.units] for one in utterances]
    log_probs = ctc.log_softmax(encoder_out).float().cpu()  # (B, T, V)
    return [
        _units(row[:size], text, model.blank_id)
        for row, size, text in zip(log_probs, sizes, texts)
    ]


def log_mel(model: nn.Module, path: str) -> torch.Tensor:
    """Log-mel features of a recording, by the model's front-end: ``(frames, mels)``."""
    device = next(model.parameters()).device
    wave = torch.from_numpy(read_audio(path)[0])[None].to(device)
    return model.frontend(wave, torch.tensor([wave.size(1)], device=device))[0][0]


def ctc_of(model: nn.Module) -> nn.Module | None:
    """The CTC head of a model; None without one, or where it was not trained."""
    return model.ctc if getattr(model, "ctc_weight", 1.0) > 0 else None


def _encode(
    model: nn.Module, feats: torch.Tensor, lengths: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Encode features of the front-end, which is out of the way meanwhile."""
    frontend, model.frontend = model.frontend, None
    try:
        encoded, lengths = model.encode(feats, lengths)[:2]
    finally:
        model.frontend = frontend
    # ESPnet's model puts the layers of an intermediate CTC beside the last one
    return (encoded[0] if isinstance(encoded, tuple) else encoded), lengths


def _units(
    log_probs: torch.Tensor, text: list[int], blank: int
) -> tuple[np.ndarray | None, float]:
    aligned = align(log_probs, text, blank)
    if aligned is None:
        return None, float("nan")
    spikes, scores = aligned
    return nearest_unit(spikes), float(np.exp(scores[spikes >= 0]).mean())


def centers_of(model: nn.Module, size: int, frames: int) -> np.ndarray:
    """The front-end's frame in the middle of each encoder frame.

    Args:
        model: Its pre-encoder tells; frames of any other subsampling are spread evenly.
        size: T encoder frames.
        frames: Of the front-end.

    Returns:
        ``(T,)``, not rounded, of 0 to ``frames`` - 1.
    """
    stacks = getattr(model, "preencoder", None)
    if isinstance(stacks, StackedDeltas):
        centers = np.arange(size) * stacks.skip + (stacks.stack - 1) / 2
    else:
        centers = (np.arange(size) + 0.5) * frames / size - 0.5
    return centers.clip(0, frames - 1)


def silent(mel: np.ndarray) -> np.ndarray:
    """Which frames are silent, by the energy of the utterance itself.

    The energy of a frame is the sum of its mel bands. It is silent where this is more
    than `SILENCE_DB` below the utterance's loud frames (percentile `LOUD`): pauses, and
    the closures of long stops. In a recording with noise above this, nothing is.

    Args:
        mel: ``(frames, mels)`` log-mel, natural logarithm.

    Returns:
        ``(frames,)`` bool.

    Example:
        >>> silent(np.log([[1.0, 1.0], [1e-4, 1e-4]])).tolist()
        [False, True]
    """
    decibels = 10 / np.log(10) * np.logaddexp.reduce(mel, axis=1)
    return decibels < np.percentile(decibels, LOUD) - SILENCE_DB


def seconds_of(model: nn.Module, frames: np.ndarray | float) -> np.ndarray | float:
    """Where frames of the front-end lie in time, in seconds."""
    return frames * getattr(model.frontend, "hop_length", 160) / SAMPLE_RATE
