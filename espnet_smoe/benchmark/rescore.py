"""``espnet-smoe benchmark rescore``: attention rescoring in one batch beside loops.

The weights are random. The n-best lists come from a CTC prefix beam over made-up
posteriors that are sure of most tokens and hesitate at some, as a trained head does:
what the hypotheses share, they share as those of a real list do.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from espnet_smoe.benchmark.comparison import Comparison, option, quick
from espnet_smoe.benchmark.measure import Sides
from espnet_smoe.decoder.bidirectional import U2PPTransformerDecoder
from espnet_smoe.decoder.transformer import SMoETransformerDecoder
from espnet_smoe.inference.search.ctc_prefix import prefix_beam
from espnet_smoe.inference.search.hypothesis import Hypothesis
from espnet_smoe.inference.search.rescoring import rescore

ROUNDS = 5
LOOP = "one hypothesis after the other"
ROWS = "the hypotheses of an utterance as a batch, as in WeNet"
TREES = "espnet-smoe"
FRAMES_A_SECOND = 25  # of the encoder
CTC_WEIGHT, REVERSE_WEIGHT = 0.5, 0.3
SURE, UNSURE = 12.0, 1.0  # logit of a frame's token, most that another one lacks

NBests = list[list[Hypothesis]]


@dataclass(frozen=True)
class Sizes:
    """The decoders, and what they rescore."""

    size: int = option(256, "D, width of the model", quick=16)
    hidden: int = option(1024, "F, width of an expert", quick=32)
    heads: int = option(4, "attention heads", quick=2)
    layers: int = option(3, "layers of each decoder", quick=1)
    experts: int = option(8, "E, two of them a token", quick=4)
    vocabulary: int = option(5000, "V", quick=50)
    utterances: int = option(8, "rescored together", quick=2)
    hypotheses: int = option(10, "of each utterance", quick=3)
    tokens: int = option(20, "tokens a hypothesis, about", quick=4)
    seconds: int = option(6, "seconds an utterance", quick=1)


QUICK = quick(Sizes)


def comparisons(sizes: Sizes) -> list[Comparison]:
    """All hypotheses at once beside two loops; mixtures, then dense decoders."""
    mixture = {"num_experts": sizes.experts, "top_k": 2}
    return [
        Comparison(
            f"{sizes.utterances} x {sizes.hypotheses} hypotheses of {sizes.tokens} "
            f"tokens, {name}",
            partial(sides_of, sizes, moe),
            LOOP,
            {TREES: 5.0},
            faster=True,
            check=same_nbests,
        )
        for name, moe in (("mixtures", mixture), ("dense", None))
    ]


def sides_of(sizes: Sizes, moe: Mapping[str, int] | None) -> Sides:
    """The sides, which share decoders, encoder output and n-best lists.

    Args:
        sizes: Theirs.
        moe: Mixture options of both decoders; None for dense ones.
    """
    torch.manual_seed(0)
    decoder = U2PPTransformerDecoder(
        sizes.vocabulary,
        sizes.size,
        attention_heads=sizes.heads,
        linear_units=sizes.hidden,
        num_blocks=sizes.layers,
        r_num_blocks=sizes.layers,
        moe=moe,
    ).eval()
    frames = sizes.seconds * FRAMES_A_SECOND
    encoded = torch.randn(sizes.utterances, frames, sizes.size)
    lengths = torch.full((sizes.utterances,), frames)
    nbests = [
        prefix_beam(log_probs, beam=sizes.hypotheses) for log_probs in posteriors(sizes)
    ]
    end = sizes.vocabulary - 1

    def run_trees() -> NBests:
        weights = CTC_WEIGHT, REVERSE_WEIGHT
        return rescore(decoder, encoded, lengths, nbests, end, end, *weights)

    return {
        LOOP: partial(looped, decoder, encoded, nbests, end, 1),
        ROWS: partial(looped, decoder, encoded, nbests, end, sizes.hypotheses),
        TREES: run_trees,
    }


def posteriors(sizes: Sizes) -> list[np.ndarray]:
    """Log probabilities ``(T, V)`` of each utterance.

    A token has one frame; every fourth has a second token nearly as likely.
    """
    random = np.random.default_rng(0)
    frames = sizes.seconds * FRAMES_A_SECOND
    made = []
    for _ in range(sizes.utterances):
        logits = random.normal(size=(frames, sizes.vocabulary))
        peaks = np.sort(random.choice(frames, sizes.tokens, replace=False))
        labels = np.zeros(frames, dtype=np.int64)
        labels[peaks] = random.integers(1, sizes.vocabulary - 1, sizes.tokens)
        logits[np.arange(frames), labels] += SURE
        seconds = random.integers(1, sizes.vocabulary - 1, len(peaks[::4]))
        logits[peaks[::4], seconds] += SURE - random.uniform(0, UNSURE, len(seconds))
        made.append(logits - np.log(np.exp(logits).sum(axis=1, keepdims=True)))
    return made


@torch.inference_mode()
def looped(
    decoder: U2PPTransformerDecoder,
    encoded: torch.Tensor,
    nbests: NBests,
    end: int,
    rows: int,
) -> NBests:
    """Rescore so many hypotheses of one utterance at a time."""
    results = []
    for encoder_out, nbest in zip(encoded, nbests):
        texts = [list(h.tokens) for h in nbest]
        scored = []
        for start in range(0, len(texts), rows):
            part = texts[start : start + rows]
            left = read(decoder, encoder_out, part, end)
            right = read(decoder.right, encoder_out, [text[::-1] for text in part], end)
            scored += [
                (1 - REVERSE_WEIGHT) * l2r + REVERSE_WEIGHT * r2l
                for l2r, r2l in zip(left, right)
            ]
        new = [
            Hypothesis(h.tokens, CTC_WEIGHT * h.score + score)
            for h, score in zip(nbest, scored)
        ]
        results.append(sorted(new, key=lambda h: h.score, reverse=True))
    return results


def read(
    decoder: SMoETransformerDecoder,
    encoder_out: torch.Tensor,
    texts: Sequence[list[int]],
    end: int,
) -> list[float]:
    """Log probabilities of texts after ``encoder_out`` ``(T, D)``, as in training."""
    lengths = torch.tensor([len(text) + 1 for text in texts])
    inputs = torch.full((len(texts), int(lengths.max())), end)
    targets = inputs.clone()
    for row, wanted, text in zip(inputs, targets, texts):
        row[1 : len(text) + 1] = torch.tensor(text)
        wanted[: len(text)] = torch.tensor(text)
    memory = encoder_out.expand(len(texts), -1, -1)
    frames = torch.full((len(texts),), len(encoder_out))
    logits, _ = decoder(memory, frames, inputs, lengths)
    gains = logits.log_softmax(dim=-1).gather(2, targets[..., None])[..., 0]
    counted = torch.arange(inputs.size(1)) < lengths[:, None]
    return (gains * counted).sum(dim=1).tolist()


def same_nbests(results: Mapping[str, NBests]) -> str:
    """How many n-best lists of the first and last side are in the same order."""
    loop, trees = results[LOOP], results[TREES]
    pairs = list(zip(loop, trees, strict=True))
    same = sum([h.tokens for h in a] == [h.tokens for h in b] for a, b in pairs)
    off = max(
        abs(h.score - k.score) for a, b in pairs for h, k in zip(a, b, strict=True)
    )
    return (
        f"{same} of {len(pairs)} n-best lists in the same order, scores differ by "
        f"{off:.1e} at most"
    )
