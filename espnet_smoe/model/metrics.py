"""Statistics of a batch while training.

Error rates are the quick ones: on the true prefix, or of greedy CTC.
"""

import math
from collections.abc import Collection, Iterable, Sequence

import torch
from torch import nn

from espnet_smoe.data.text.tokenizer import piece_joiner
from espnet_smoe.model.ctc_path import collapse
from espnet_smoe.model.parts import mixtures_of
from espnet_smoe.moe import MoEFeedForward, Routing
from espnet_smoe.moe.loss import FrameSums, add_processes


def routing_statistics(
    part: str, routing: Routing | None, each_layer: bool = False
) -> dict[str, torch.Tensor]:
    """What the experts of a part did with a batch.

    Args:
        part: Where the experts are, such as ``encoder``; the keys begin with it.
        routing: Of a forward pass that is done; None where nothing was routed.
        each_layer: Also for each layer by itself.

    Returns:
        ``<part>_load_<e>``: fraction of the frames that an expert took; for learned
        gates also ``<part>_entropy``: entropy of the router's probabilities in nats,
        mean over the frames, and ``<part>_dead``: experts that took nothing. They are
        means over the layers; those of a layer begin with ``<part>_layer<name>``.
    """
    if routing is None or not routing.loads:
        return {}
    layers = [_layer_statistics(name, routing) for name in routing.loads]
    stats = {
        f"{part}_{key}": torch.stack([layer[key] for layer in layers]).mean()
        for key in layers[0]
    }
    if each_layer:
        for name, layer in zip(routing.loads, layers):
            stats |= {f"{part}_layer{name}_{key}": v for key, v in layer.items()}
    return stats


def _layer_statistics(name: str, routing: Routing) -> dict[str, torch.Tensor]:
    load = routing.loads[name].float()  # (E,)
    stats = {f"load_{e}": fraction for e, fraction in enumerate(load / load.sum())}
    if name in routing.logits:
        log_p = routing.logits[name].float().log_softmax(dim=1)  # (N, E)
        entropy = -(log_p.exp() * log_p.clamp(min=-1e9)).sum(dim=1).mean()
        stats |= {"entropy": entropy.to(load.device), "dead": (load == 0).float().sum()}
    return stats


def auxiliary_losses(
    passes: Iterable[tuple[str, nn.Module, Routing | None]],
) -> list[tuple[torch.Tensor | float, dict[str, torch.Tensor]]]:
    """The losses of learned gates in training, over the frames of all processes.

    This is the one place where processes that train together meet. Each of them names
    the same passes in the same order, also a pass that its batch had nothing for.

    Args:
        passes: Of a forward pass that is done: a name such as ``encoder``, with which
            the keys begin; the part, whose mixtures tell what counts how much; its
            routing, None where this process did not make the pass.

    Returns:
        For each pass: the weighted sum over losses and layers; each loss without its
        weight, summed over the layers, for the statistics (NaN without frames).
    """
    passes = [*passes]
    layers = [_layers_with_losses(part) for _, part, _ in passes]
    own = [
        _frame_sums(layer, routing)
        for (_, _, routing), part_layers in zip(passes, layers)
        for layer in part_layers
    ]
    every_process = iter(add_processes(own))
    results = []
    for (name, _, _), part_layers in zip(passes, layers):
        total: torch.Tensor | float = 0.0
        each: dict[str, torch.Tensor] = {}
        for layer in part_layers:
            sums = next(every_process)
            no_frames = sums.sums[0] == 0
            for loss, value in sums.losses().items():
                total = total + layer.gate.loss_weights[loss] * value
                value = value.detach().masked_fill(no_frames, math.nan)
                key = f"{name}_{loss}"
                each[key] = each[key] + value if key in each else value
        results.append((total, each))
    return results


def auxiliary_loss(
    name: str, part: nn.Module, routing: Routing | None
) -> tuple[torch.Tensor | float, dict[str, torch.Tensor]]:
    """`auxiliary_losses` of a model with one pass."""
    return auxiliary_losses([(name, part, routing)])[0]


def _layers_with_losses(part: nn.Module) -> list[MoEFeedForward]:
    """The mixtures of a part in training whose gates have auxiliary losses."""
    if not part.training:
        return []
    return [layer for layer in mixtures_of(part) if layer.gate.loss_weights]


def _frame_sums(layer: MoEFeedForward, routing: Routing | None) -> FrameSums:
    """What a layer wrote; zeros where it did not run."""
    written = None if routing is None else routing.sums.get(layer.name)
    if written is not None:
        return written
    like = next(layer.parameters())
    names = tuple(layer.gate.loss_weights)
    return FrameSums.zeros(names, layer.gate.num_experts, like)


def nanmean(values: Iterable[float | None]) -> float:
    """The mean without NaN and None; NaN of nothing else.

    Example:
        >>> nanmean([0.5, math.nan, None])
        0.5
    """
    known = [v for v in values if v is not None and not math.isnan(v)]
    return sum(known) / len(known) if known else math.nan


def greedy_ctc(
    best: torch.Tensor, lengths: torch.Tensor, blank: int
) -> list[list[int]]:
    """Collapse the best path.

    Args:
        best: ``(B, T)`` best token of each frame.
        lengths: ``(B,)`` frames.
        blank: Id of the blank.

    Returns:
        B lists of token ids.

    Example:
        >>> greedy_ctc(torch.tensor([[0, 3, 3, 0, 3]]), torch.tensor([5]), 0)
        [[3, 3]]
    """
    rows = zip(best.cpu().numpy(), lengths.tolist())
    return [collapse(row[:n], blank) for row, n in rows]


def error_rates(
    best: torch.Tensor | Sequence[Sequence[int]],
    text: torch.Tensor,
    token_list: Sequence[str],
    special_ids: Collection[int],
    eos: int,
) -> dict[str, float]:
    """Character (without spaces) and word error rate of a batch.

    Args:
        best: B sequences of token ids; each counts up to its first ``eos``.
        text: ``(B, L)`` reference ids, negative at padding.
        token_list: V tokens.
        special_ids: Ids that are no text.
        eos: Id of the end of a sentence.
    """
    import jiwer

    join = piece_joiner(token_list)

    def read(ids: Sequence[int]) -> str:
        ids = list(ids)
        ids = ids[: ids.index(eos)] if eos in ids else ids
        return join([token_list[i] for i in ids if i >= 0 and i not in special_ids])

    best = best.tolist() if isinstance(best, torch.Tensor) else best
    pairs = [(read(r), read(h)) for r, h in zip(text.tolist(), best)]
    pairs = [(r, h) for r, h in pairs if r.strip()]
    if not pairs:
        return {"cer": float("nan"), "wer": float("nan")}
    references, hypotheses = map(list, zip(*pairs))
    bare = [[s.replace(" ", "") for s in side] for side in (references, hypotheses)]
    return {"cer": jiwer.cer(*bare), "wer": jiwer.wer(references, hypotheses)}
