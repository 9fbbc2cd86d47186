"""Statistics of a batch while training.

Error rates are the quick ones: on the true prefix, or of greedy CTC.
"""

import math
from collections.abc import Collection, Iterable, Sequence

import torch
from torch import nn

from espnet_smoe.data.tokenizer import piece_joiner
from espnet_smoe.moe import Routing


def routing_statistics(
    part: str, routing: Routing | None, each_layer: bool = False
) -> dict[str, torch.Tensor]:
    """What the experts of a part did with a batch.

    Args:
        part: Where the experts are, such as ``encoder``; the keys begin with it.
        routing: Of a forward pass that is done; None where nothing was routed.
        each_layer: Tell it layer by layer, too.

    Returns:
        ``<part>_load_<e>``: share of the frames that an expert took; for learned gates
        also ``<part>_entropy``: entropy of the router's probabilities in nats, mean
        over the frames, and ``<part>_dead``: experts that took nothing. They are means
        over the layers; those of a layer begin with ``<part>_layer<name>``.
    """
    if routing is None or not routing.loads:
        return {}
    layers = [_of_layer(name, routing) for name in routing.loads]
    stats = {
        f"{part}_{key}": torch.stack([of[key] for of in layers]).mean()
        for key in layers[0]
    }
    if each_layer:
        for name, of in zip(routing.loads, layers):
            stats |= {f"{part}_layer{name}_{key}": v for key, v in of.items()}
    return stats


def _of_layer(name: str, routing: Routing) -> dict[str, torch.Tensor]:
    load = routing.loads[name].float()  # (E,)
    of = {f"load_{e}": share for e, share in enumerate(load / load.sum())}
    if name in routing.logits:
        log_p = routing.logits[name].float().log_softmax(dim=1)  # (N, E)
        entropy = -(log_p.exp() * log_p.clamp(min=-1e9)).sum(dim=1).mean()
        of |= {"entropy": entropy.to(load.device), "dead": (load == 0).float().sum()}
    return of


def auxiliary_loss(
    name: str, part: nn.Module, routing: Routing | None
) -> tuple[torch.Tensor | float, dict[str, torch.Tensor]]:
    """The losses of learned gates, summed over the layers, in training.

    Args:
        name: Of the part, ``encoder`` or ``decoder``; the keys begin with it.
        part: Where the gates are; its ``loss_weights`` tell what counts how much.
        routing: Of a forward pass that is done.

    Returns:
        Weighted sum of all; each without its weight, for the statistics.
    """
    total: torch.Tensor | float = 0.0
    each = {}
    if not part.training or routing is None:
        return total, each
    for loss, weight in getattr(part, "loss_weights", {}).items():
        summed = torch.stack([of[loss] for of in routing.losses.values()]).sum()
        each[f"{name}_{loss}"] = summed.detach()
        total = total + weight * summed
    return total, each


def mean_known(values: Iterable[float | None]) -> float:
    """The mean of what is a number; NaN where nothing is.

    Example:
        >>> mean_known([0.5, math.nan, None])
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
    paths = [
        torch.unique_consecutive(row[:n]).tolist()
        for row, n in zip(best.cpu(), lengths.tolist())
    ]
    return [[token for token in path if token != blank] for path in paths]


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
