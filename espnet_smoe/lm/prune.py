"""Relative-entropy pruning of n-grams: Stolcke, "Entropy-based Pruning of Backoff
Language Models", 1998.
"""

import numpy as np

from espnet_smoe.lm.kneser_ney import END, START
from espnet_smoe.lm.trie import Level, Trie

LEAST = 1e-12  # mass below this is rounding


def prune(trie: Trie, threshold: float) -> Trie:
    """Leave out n-grams without which the model changes little.

    An n-gram goes where the perplexity of the model's own texts grows by less than a
    share of ``threshold`` without it. Words and contexts of n-grams that stay are kept.

    Args:
        trie: A normalised model; it is left as it is.
        threshold: Such as 1e-8; a larger one prunes more, 0 nothing.

    Returns:
        A normalised model.

    Raises:
        ValueError: The threshold is negative.
    """
    if threshold < 0:
        raise ValueError(f"a pruning threshold must be 0 or more, got {threshold}")
    links = trie.suffixes()
    keep = [np.ones(len(level.key), dtype=bool) for level in trie.levels]
    history = _history(trie)
    for order in range(len(trie.levels), 1, -1):
        growth = np.expm1(_loss(trie, order, history[order - 2], links[order - 1]))
        keep[order - 1] = growth >= threshold
        if order < len(trie.levels):
            keep[order - 1][trie.context(order + 1)[keep[order]]] = True
    pruned = _select(trie, keep)
    normalize(pruned)
    return pruned


def _history(trie: Trie) -> list[np.ndarray]:
    """Of each order, log10 P(w_1 .. w_n)."""
    first = trie.levels[0].log_prob.copy()
    first[START] = first[END]  # a sentence starts as often as one ends
    result = [first]
    for order in range(2, len(trie.levels) + 1):
        above = result[-1][trie.context(order)]
        result.append(above + trie.levels[order - 1].log_prob)
    return result


def _masses(
    trie: Trie, order: int, suffix: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Probabilities of n-grams, and what they leave over in each context.

    Returns:
        ``(M,)`` p(w|h); ``(M,)`` p(w|h'), where h' is h without its first word;
        ``(contexts,)`` 1 minus the sum of each.
    """
    level, above = trie.levels[order - 1], trie.levels[order - 2]
    context = trie.context(order)
    results = []
    for log_prob in (level.log_prob, trie.lower(order, suffix)):
        p = 10**log_prob
        rest = 1 - np.bincount(context, p, minlength=len(above.key))
        results.append((p, np.maximum(rest, LEAST)))
    (p, rest), (lower, lower_rest) = results
    return p, lower, rest, lower_rest


def _loss(
    trie: Trie, order: int, history: np.ndarray, suffix: np.ndarray
) -> np.ndarray:
    """Relative entropy, in nats, of the model and that without an n-gram.

    Stolcke's Eq. 4 to 6, for each n-gram of one order on its own.
    """
    p, lower, rest, lower_rest = _masses(trie, order, suffix)
    h = trie.context(order)
    alpha = rest / lower_rest
    new_alpha = (rest[h] + p) / (lower_rest[h] + lower)
    own = p * (np.log(lower) + np.log(new_alpha) - np.log(p))
    others = rest[h] * (np.log(new_alpha) - np.log(alpha[h]))
    return -(10 ** history[h]) * (own + others)


def _select(trie: Trie, keep: list[np.ndarray]) -> Trie:
    """The n-grams to keep, under contexts that have moved together."""
    levels = []
    moved = np.zeros(1, dtype=np.int64)
    for level, kept in zip(trie.levels, keep):
        context, word = np.divmod(level.key[kept], trie.size)
        key = moved[context] * trie.size + word
        levels.append(Level(key, level.log_prob[kept], level.backoff[kept]))
        moved = np.cumsum(kept) - 1
    return Trie.of(levels, trie.size)


def normalize(trie: Trie) -> None:
    """Set the back-off weights with which every context's words sum to 1."""
    links = trie.suffixes()
    for order in range(2, len(trie.levels) + 1):
        # a shorter context's weights, which this reads, have been set before
        _, _, rest, lower_rest = _masses(trie, order, links[order - 1])
        above = trie.levels[order - 2]
        used = np.zeros(len(above.key), dtype=bool)
        used[trie.context(order)] = True
        above.backoff = np.where(used, np.log10(rest / lower_rest), 0.0)
    trie.levels[-1].backoff = np.zeros(len(trie.levels[-1].key))
