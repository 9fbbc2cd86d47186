"""Loads and inputs of the mixtures of a trained model, recorded on data.

Forward hooks record while the model makes ordinary forward passes, one group of equal
label at a time, so that each load has one label.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random

import numpy as np
import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence

from espnet_smoe.inference.audio import read_audio
from espnet_smoe.inference.expert_use import mixtures_by_part
from espnet_smoe.moe import MoEFeedForward
from espnet_smoe.report.experts.data import Recording

BATCH_SIZE = 8
MOST_FRAMES = 4000  # inputs kept a layer: enough for figures of two digits
SEED = 1


@dataclass
class LayerTrace:
    """What one layer did.

    Attributes:
        loads: Group -> ``(E,)`` frames (tokens in a decoder) of each expert.
        inputs: Samples of its input, ``(n, D)`` each; no padding.
    """

    loads: dict[str, np.ndarray] = field(default_factory=dict)
    inputs: list[torch.Tensor] = field(default_factory=list)


def mixtures(model: nn.Module) -> dict[str, list[MoEFeedForward]]:
    """The mixtures of each part of a model that has any.

    Raises:
        ValueError: There is none, or none with two experts.
    """
    found = mixtures_by_part(model)
    if not found:
        raise ValueError(
            "the model has no experts; give an experiment whose encoder_conf or "
            "decoder_conf has a 'moe' section with at least two experts"
        )
    return found


@torch.inference_mode()
def collect_traces(
    model: nn.Module, recordings: Sequence[Recording], device: str = "cpu"
) -> dict[str, dict[str, LayerTrace]]:
    """Encode recordings and decode their texts; record what the mixtures do.

    Args:
        model: A model ``smoe``, ready for inference.
        recordings: From `report.experts.data.read_recordings`.
        device: Where the model is.

    Returns:
        Part -> layer -> its trace.
    """
    layers = mixtures(model)
    traces = {
        part: {layer.name: LayerTrace() for layer in of_part}
        for part, of_part in layers.items()
    }
    batches = list(_batches(recordings))
    random = Random(SEED)
    samples = -(-MOST_FRAMES // len(batches))  # of a batch
    for batch in batches:
        waves = [torch.from_numpy(read_audio(r.path)[0]) for r in batch]
        lengths = torch.tensor([len(w) for w in waves], device=device)
        padded = pad_sequence(waves, batch_first=True).to(device)  # (B, samples)
        ids, names = None, [r.name for r in batch]
        if model.encoder_labels is not None:
            ids = torch.tensor([r.label_id for r in batch], device=device)
        label = batch[0].label or ""
        with record_loads(layers, traces, "encoder", label, samples, random):
            encoder_out, lengths = model.encode(padded, lengths, ids, names)
        if "decoder" not in layers:
            continue
        for task in model.tasks.values():
            rows = [i for i, r in enumerate(batch) if task.target in r.targets]
            if not rows:
                continue
            texts = [
                [*task.prompt_for(r.language_id), *r.targets[task.target]]
                for r in (batch[i] for i in rows)
            ]
            ys = [torch.tensor(text, device=device) for text in texts]
            sizes = torch.tensor([len(y) for y in ys], device=device)
            of_task = -(-samples // len(model.tasks))
            with record_loads(layers, traces, "decoder", task.name, of_task, random):
                model.decoder(
                    encoder_out[rows], lengths[rows], pad_sequence(ys, True), sizes
                )
    return traces


def _batches(recordings: Sequence[Recording]) -> Iterator[list[Recording]]:
    """Recordings of one label, a few together."""
    by_label: dict[str | None, list[Recording]] = {}
    for recording in recordings:
        by_label.setdefault(recording.label, []).append(recording)
    for of_label in by_label.values():
        for start in range(0, len(of_label), BATCH_SIZE):
            yield of_label[start : start + BATCH_SIZE]


@contextmanager
def record_loads(
    layers: dict[str, list[MoEFeedForward]],
    traces: dict[str, dict[str, LayerTrace]],
    part: str,
    group: str,
    samples: int,
    random: Random,
) -> Iterator[dict[str, torch.Tensor]]:
    """Record one forward pass through a part of a model.

    Args:
        layers: Part -> its mixtures.
        traces: Part -> layer -> what receives loads and inputs.
        part: ``encoder`` or ``decoder``.
        group: What the loads are recorded under, such as a bandwidth.
        samples: Inputs of each layer to keep, at most.
        random: Draws them.

    Yields:
        Receives the router logits: layer -> ``(N, E)``; of learned gates only.
    """
    logits: dict[str, torch.Tensor] = {}

    def record(mixture: MoEFeedForward, arguments: tuple, _: torch.Tensor) -> None:
        x, routing = arguments
        trace = traces[part][mixture.name]
        load = routing.loads[mixture.name].cpu().numpy()
        trace.loads[group] = trace.loads.get(group, 0) + load
        frames = x[routing.valid(x)]  # (N, D)
        chosen = random.sample(range(len(frames)), min(samples, len(frames)))
        trace.inputs.append(frames[chosen])
        if mixture.name in routing.logits:
            logits[mixture.name] = routing.logits[mixture.name]

    hooks = [m.register_forward_hook(record) for m in layers.get(part, ())]
    try:
        yield logits
    finally:
        for hook in hooks:
            hook.remove()


def load_divergence(loads: Iterable[np.ndarray]) -> float:
    """How differently groups use the experts: 0 alike, 1 no expert in common.

    The total variation distance between the load distributions of two groups, mean over
    all pairs; NaN with fewer than two groups.

    Args:
        loads: ``(E,)`` frames at each expert, of each group.

    Example:
        >>> load_divergence([np.array([8, 0]), np.array([0, 3])])
        1.0
    """
    p = [load / load.sum() for load in loads if load.sum()]
    pairs = [np.abs(a - b).sum() / 2 for i, a in enumerate(p) for b in p[:i]]
    return float(np.mean(pairs)) if pairs else float("nan")
