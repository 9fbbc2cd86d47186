"""What the mixtures of a model do while it hears data: loads, and their inputs.

Nothing is computed twice: hooks look on while the trained model makes ordinary forward
passes, one group of equal label at a time, so that each load has one label.
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
from espnet_smoe.moe import LabelGate, MoEFeedForward
from espnet_smoe.report.experts.data import Recording

PARTS = ("encoder", "decoder")
BATCH_SIZE = 8
MOST_FRAMES = 4000  # inputs kept a layer: enough for figures of two digits
SEED = 1


@dataclass
class Seen:
    """What was seen of one layer.

    Attributes:
        loads: Group -> ``(E,)`` frames (tokens in a decoder) of each expert.
        frames: Samples of its input, ``(n, D)`` each; no padding.
    """

    loads: dict[str, np.ndarray] = field(default_factory=dict)
    frames: list[torch.Tensor] = field(default_factory=list)


def mixtures(model: nn.Module) -> dict[str, list[MoEFeedForward]]:
    """The mixtures of each part of a model that has any.

    Raises:
        ValueError: There is none, or none with two experts.
    """
    found = {
        part: [m for m in getattr(model, part).modules() if _is_mixture(m)]
        for part in PARTS
        if getattr(model, part, None) is not None
    }
    found = {part: layers for part, layers in found.items() if layers}
    if not found:
        raise ValueError(
            "the model has no experts; give an experiment whose encoder_conf or "
            "decoder_conf has a 'moe' section with at least two experts"
        )
    return found


def _is_mixture(module: nn.Module) -> bool:
    return isinstance(module, MoEFeedForward) and len(module.experts) > 1


def own_experts(model: nn.Module) -> dict[str, dict[str, int]]:
    """The expert that a label gate gives to each group, by part; others are left out.

    A group is a bandwidth in the encoder and a task in the decoder.
    """
    own = {}
    for part, layers in mixtures(model).items():
        if not all(isinstance(layer.gate, LabelGate) for layer in layers):
            continue
        tokens = layers[0].gate.labels
        if part == "encoder":
            own[part] = {token[1:-1]: i for i, token in enumerate(tokens)}
        else:
            heads = {t: model.token_list[k.prompt[0]] for t, k in model.tasks.items()}
            own[part] = {t: tokens.index(h) for t, h in heads.items() if h in tokens}
    return own


@torch.inference_mode()
def watch(
    model: nn.Module, recordings: Sequence[Recording], device: str = "cpu"
) -> dict[str, dict[str, Seen]]:
    """Let a model hear recordings and read their texts; note what its mixtures do.

    Args:
        model: A model ``smoe``, ready for inference.
        recordings: From `expert_data.read_recordings`.
        device: Where the model is.

    Returns:
        Part -> layer -> what was seen.
    """
    found = mixtures(model)
    seen = {part: {m.name: Seen() for m in layers} for part, layers in found.items()}
    batches = list(_batches(recordings))
    random = Random(SEED)
    for batch in batches:
        waves = [torch.from_numpy(read_audio(r.path)[0]) for r in batch]
        lengths = torch.tensor([len(w) for w in waves], device=device)
        padded = pad_sequence(waves, batch_first=True).to(device)  # (B, samples)
        ids, names = None, [r.name for r in batch]
        if model.encoder_labels is not None:
            ids = torch.tensor([r.label_id for r in batch], device=device)
        share = -(-MOST_FRAMES // len(batches))
        with noting(found, seen, "encoder", batch[0].label or "", share, random):
            encoded, lengths = model.encode(padded, lengths, ids, names)
        if "decoder" not in found:
            continue
        for task in model.tasks.values():
            rows = [i for i, r in enumerate(batch) if task.target in r.targets]
            if not rows:
                continue
            texts = [[*task.prompt, *batch[i].targets[task.target]] for i in rows]
            ys = [torch.tensor(text, device=device) for text in texts]
            sizes = torch.tensor([len(y) for y in ys], device=device)
            part = -(-share // len(model.tasks))
            with noting(found, seen, "decoder", task.name, part, random):
                model.decoder(
                    encoded[rows], lengths[rows], pad_sequence(ys, True), sizes
                )
    return seen


def _batches(recordings: Sequence[Recording]) -> Iterator[list[Recording]]:
    """Recordings of one label, a few together."""
    by_label: dict[str | None, list[Recording]] = {}
    for recording in recordings:
        by_label.setdefault(recording.label, []).append(recording)
    for of_label in by_label.values():
        for start in range(0, len(of_label), BATCH_SIZE):
            yield of_label[start : start + BATCH_SIZE]


@contextmanager
def noting(
    found: dict[str, list[MoEFeedForward]],
    seen: dict[str, dict[str, Seen]],
    part: str,
    group: str,
    share: int,
    random: Random,
) -> Iterator[dict[str, torch.Tensor]]:
    """Note one pass through a part: loads of ``group``, and ``share`` inputs.

    Yields:
        Receives the pass' router logits: layer -> ``(N, E)``; of learned gates only.
    """
    logits: dict[str, torch.Tensor] = {}

    def note(mixture: MoEFeedForward, inputs: tuple, _: torch.Tensor) -> None:
        x, routing = inputs
        layer = seen[part][mixture.name]
        load = routing.loads[mixture.name].cpu().numpy()
        layer.loads[group] = layer.loads.get(group, 0) + load
        frames = x[routing.valid(x)]  # (N, D)
        chosen = random.sample(range(len(frames)), min(share, len(frames)))
        layer.frames.append(frames[chosen])
        if mixture.name in routing.logits:
            logits[mixture.name] = routing.logits[mixture.name]

    hooks = [m.register_forward_hook(note) for m in found.get(part, ())]
    try:
        yield logits
    finally:
        for hook in hooks:
            hook.remove()


def apart(loads: Iterable[np.ndarray]) -> float:
    """How differently groups use the experts: 0 alike, 1 no expert in common.

    The total variation between the shares of two groups, mean over all pairs; NaN with
    fewer than two groups.

    Example:
        >>> apart([np.array([8, 0]), np.array([0, 3])])
        1.0
    """
    shares = [load / load.sum() for load in loads if load.sum()]
    pairs = [np.abs(a - b).sum() / 2 for i, a in enumerate(shares) for b in shares[:i]]
    return float(np.mean(pairs)) if pairs else float("nan")
