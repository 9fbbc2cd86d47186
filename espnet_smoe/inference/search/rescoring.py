"""Attention rescoring: decoders that read both ways choose among what CTC has found.

All hypotheses of all utterances are scored together. What those of an utterance share
is computed once: keys and values of its encoder output, and every prefix (from right to
left every suffix) that several of them have.
"""

from collections.abc import Iterator, Sequence

import torch

from espnet_smoe.decoder.transformer import SMoETransformerDecoder
from espnet_smoe.inference.search.hypothesis import Hypothesis
from espnet_smoe.inference.search.prefix_tree import PrefixTree, decode_trees

POSITIONS = 4096  # of trees or encoder frames that are decoded together, with padding
LOGITS = 512  # rows as long as the vocabulary at a time: they stay in the cache


@torch.inference_mode()
def rescore(
    decoder: SMoETransformerDecoder,
    encoded: torch.Tensor,
    lengths: torch.Tensor,
    nbests: Sequence[Sequence[Hypothesis]],
    sos: int,
    eos: int,
    ctc_weight: float = 0.5,
    reverse_weight: float = 0.3,
) -> list[list[Hypothesis]]:
    """Score hypotheses anew, by their CTC score and two decoders.

    ``ctc_weight * ctc + (1 - reverse_weight) * L2R + reverse_weight * R2L``, as WeNet
    does it (Wu et al. 2021, "U2++", arXiv 2106.05642); the decoders score the end too.

    Args:
        decoder: From left to right; its ``right`` is the one from right to left, which
            is not asked where ``reverse_weight`` is 0.
        encoded: Encoder's output ``(B, T, D)``.
        lengths: ``(B,)`` frames.
        nbests: The hypotheses of each utterance with their CTC scores; may be none.
        sos: Id of the token that the decoders' inputs begin with.
        eos: Id of the token that ends a text.
        ctc_weight: Of the scores that the hypotheses come with.
        reverse_weight: Of the decoder from right to left, in 0..1.

    Returns:
        The hypotheses of each utterance with their new scores, best first.

    Raises:
        ValueError: A weight is out of its range, or there is no decoder from right to
            left though it has a weight.

    Example:
        >>> from espnet_smoe.decoder.bidirectional import U2PPTransformerDecoder
        >>> decoder = U2PPTransformerDecoder(10, 16, 2, 32, 1, 1).eval()
        >>> found = [Hypothesis((5, 6), -1.0), Hypothesis((5, 7), -1.2)]
        >>> encoder_out, lengths = torch.zeros(1, 7, 16), torch.tensor([7])
        >>> len(rescore(decoder, encoder_out, lengths, [found], sos=9, eos=9)[0])
        2
    """
    right = getattr(decoder, "right", None)
    _check(ctc_weight, reverse_weight, right)
    texts = [[hypothesis.tokens for hypothesis in nbest] for nbest in nbests]
    left_to_right = decoder_scores(decoder, encoded, lengths, texts, sos, eos)
    right_to_left = left_to_right
    if reverse_weight:
        texts = [[tokens[::-1] for tokens in of_one] for of_one in texts]
        right_to_left = decoder_scores(right, encoded, lengths, texts, sos, eos)
    results = []
    for nbest, *read in zip(nbests, left_to_right, right_to_left, strict=True):
        scored = [
            Hypothesis(
                hypothesis.tokens,
                ctc_weight * hypothesis.score
                + (1 - reverse_weight) * l2r
                + reverse_weight * r2l,
            )
            for hypothesis, l2r, r2l in zip(nbest, *read, strict=True)
        ]
        results.append(sorted(scored, key=lambda h: h.score, reverse=True))
    return results


@torch.inference_mode()
def decoder_scores(
    decoder: SMoETransformerDecoder,
    encoded: torch.Tensor,
    lengths: torch.Tensor,
    texts: Sequence[Sequence[Sequence[int]]],
    sos: int,
    eos: int,
) -> list[list[float]]:
    """Log probabilities of texts, their ends included.

    Args:
        decoder: Not training.
        encoded: Encoder's output ``(B, T, D)``.
        lengths: ``(B,)`` frames.
        texts: Of each utterance, in the order in which the decoder reads.
        sos: Begins every input.
        eos: Ends every text.

    Returns:
        Of each utterance, of each text.
    """
    trees = [PrefixTree.of(of_one) for of_one in texts]
    frames = lengths.tolist()
    scores: list[list[float]] = [[] for _ in trees]
    for batch in _batches(trees, frames):
        rows = torch.tensor(batch, device=encoded.device)
        encoder_out = encoded[rows, : max(frames[b] for b in batch)]
        of_batch = [trees[b] for b in batch]
        of_texts = _scores(decoder, encoder_out, lengths[batch], of_batch, sos, eos)
        for b, of_one in zip(batch, of_texts):
            scores[b] = of_one
    return scores


def _check(
    ctc_weight: float, reverse_weight: float, right: torch.nn.Module | None
) -> None:
    if ctc_weight < 0:
        raise ValueError(f"ctc_weight must not be negative, got {ctc_weight}")
    if not 0 <= reverse_weight <= 1:
        raise ValueError(f"reverse_weight must be in 0..1, got {reverse_weight}")
    if reverse_weight and right is None:
        raise ValueError(
            f"reverse_weight is {reverse_weight}, but the model has no decoder from "
            "right to left; set it to 0"
        )


def _batches(trees: Sequence[PrefixTree], frames: Sequence[int]) -> Iterator[list[int]]:
    """Utterances with hypotheses, trees of about one size together."""
    batch: list[int] = []
    most = longest = 0
    for b in sorted(range(len(trees)), key=lambda b: len(trees[b])):
        if not trees[b].ends:
            continue
        most, longest = max(most, len(trees[b])), max(longest, frames[b])
        if batch and (len(batch) + 1) * max(most, longest) > POSITIONS:
            yield batch
            batch, most, longest = [], len(trees[b]), frames[b]
        batch.append(b)
    if batch:
        yield batch


def _scores(
    decoder: SMoETransformerDecoder,
    encoded: torch.Tensor,
    lengths: torch.Tensor,
    trees: Sequence[PrefixTree],
    sos: int,
    eos: int,
) -> list[list[float]]:
    """Log probabilities of the texts of each tree, decoded in one batch."""
    hidden = decode_trees(decoder, encoded, lengths, trees, sos)  # (B, M, D)
    width = hidden.size(1)
    asked: list[int] = []  # after which prefix, in the flattened batch
    wanted: list[int] = []  # which token
    for b, tree in enumerate(trees):
        asked += [b * width + node for node in (*tree.parents[1:], *tree.ends)]
        wanted += [*tree.tokens[1:], *[eos] * len(tree.ends)]
    gains = iter(_log_probs(decoder, hidden.flatten(0, 1), asked, wanted))
    results = []
    for tree in trees:
        sums = [0.0]  # of each prefix
        for parent in tree.parents[1:]:
            sums.append(sums[parent] + next(gains))
        results.append([sums[node] + next(gains) for node in tree.ends])
    return results


def _log_probs(
    decoder: SMoETransformerDecoder,
    hidden: torch.Tensor,
    asked: Sequence[int],
    wanted: Sequence[int],
) -> list[float]:
    """Log probabilities of the tokens ``wanted`` after the rows ``asked``.

    Args:
        decoder: Whose output layer scores them.
        hidden: ``(N, D)``.
        asked: Rows; each goes once through the output layer.
        wanted: A token for each.
    """
    device = hidden.device
    nodes, rows = torch.tensor(asked, device=device).unique(return_inverse=True)
    tokens = torch.tensor(wanted, device=device)
    gains = torch.empty(len(rows), device=device)
    for start in range(0, len(nodes), LOGITS):
        of_part = nodes[start : start + LOGITS]
        logits = decoder.output_layer(hidden[of_part]).float()  # (LOGITS, V)
        here = ((rows >= start) & (rows < start + len(of_part))).nonzero()[:, 0]
        of_row = rows[here] - start
        gains[here] = logits[of_row, tokens[here]] - logits.logsumexp(dim=1)[of_row]
    return gains.tolist()
