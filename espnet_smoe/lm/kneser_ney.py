"""Interpolated modified Kneser-Ney smoothing.

Chen and Goodman, "An Empirical Study of Smoothing Techniques for Language Modeling",
1998, section 4.3; in what they leave open (sentence starts, unknown words) as lmplz of
Heafield et al., "Scalable Modified Kneser-Ney Language Model Estimation", 2013.
"""

import logging
from dataclasses import dataclass

import numpy as np

from espnet_smoe.lm.trie import NEVER, Level, Trie

START, END = 1, 2  # ids of the sentence marks
FALLBACK = (0.5, 1.0, 1.5)  # lmplz's, where a text is too small to tell


@dataclass
class _Counts:
    """N-grams of one order.

    Attributes:
        key: ``(M,)`` as in :class:`Level`.
        count: ``(M,)`` occurrences, later adjusted counts.
        suffix: ``(M,)`` place of the n-gram without its first word.
        opens: ``(M,)`` whether it begins with the start of a sentence.
    """

    key: np.ndarray
    count: np.ndarray
    suffix: np.ndarray
    opens: np.ndarray


def estimate(ids: np.ndarray, size: int, order: int) -> Trie:
    """Estimate a model.

    Args:
        ids: ``(T,)`` words of all sentences, each from START to END.
        size: Number of words V, the marks and the unknown word (id 0) included.
        order: Of the longest n-grams; the text's longest sentence may lower it.

    Returns:
        The probability of all words but START sums to 1 after every context.
    """
    counts = _count(ids, size, order)
    for shorter, longer in zip(counts, counts[1:]):
        # Eq. 23-24: how many words precede it, but nothing precedes a sentence
        kinds = np.bincount(longer.suffix, minlength=len(shorter.key))
        shorter.count = np.where(shorter.opens, shorter.count, kinds)
    counts[0].count[START] = 0  # it is given, never predicted
    levels: list[Level] = []
    below = np.full(1, 1 / (size - 1))  # every word alike, START left out
    for n, grams in enumerate(counts, 1):
        context = grams.key // size if n > 1 else np.zeros(size, dtype=np.int64)
        discount = _discounts(grams.count, n)[np.minimum(grams.count, 3)]
        total = np.bincount(context, grams.count, minlength=len(below))
        taken = np.bincount(context, discount, minlength=len(below))
        weight = np.divide(taken, total, out=np.ones(len(below)), where=total > 0)
        if levels:
            levels[-1].backoff = np.log10(weight)
        own = (grams.count - discount) / total[context]
        below = own + weight[context] * below[grams.suffix]
        log_prob = np.log10(below)
        levels.append(Level(grams.key, log_prob, np.zeros(len(below))))
    levels[0].log_prob[START] = NEVER
    return Trie(levels, size)


def _count(ids: np.ndarray, size: int, order: int) -> list[_Counts]:
    """Count the n-grams of each order that the text holds."""
    ends = np.flatnonzero(ids == END)
    last = np.repeat(ends, np.diff(ends, prepend=-1))  # (T,) end of own sentence
    words = np.arange(size)
    count = np.bincount(ids, minlength=size)
    counts = [_Counts(words, count, np.zeros_like(words), words == START)]
    place = ids  # (T,) of the n-gram that starts here
    start = np.arange(len(ids))
    for n in range(2, order + 1):
        start = start[start + n - 1 <= last[start]]
        if len(start) == 0:
            logging.warning(
                f"the longest sentence has {n - 1} words with its marks: the order "
                f"of the model is {n - 1}, not {order}"
            )
            break
        keys = place[start] * size + ids[start + n - 1]
        key, first, inverse, count = np.unique(
            keys, return_index=True, return_inverse=True, return_counts=True
        )
        suffix = place[start[first] + 1]
        opens = counts[-1].opens[key // size]
        counts.append(_Counts(key, count, suffix, opens))
        place = np.zeros_like(ids)
        place[start] = inverse
    return counts


def _discounts(count: np.ndarray, order: int) -> np.ndarray:
    """Discounts of counts of 0, 1, 2, and 3 or more (Eq. 26)."""
    n = np.bincount(np.minimum(count, 5), minlength=6).astype(float)
    if n[1:4].all():
        k = np.arange(1, 4)
        discount = k - (k + 1) * n[1] / (n[1] + 2 * n[2]) * n[2:5] / n[1:4]
        # at 0 a context could leave nothing to words that never followed it
        if (discount > 0).all():
            return np.concatenate([[0.0], discount])
    logging.warning(
        f"{order}-grams: {', '.join(f'{n[k]:.0f} occur {k}x' for k in range(1, 5))}; "
        "the text is too small or too regular to estimate discounts of, so those of "
        f"{', '.join(map(str, FALLBACK))} are used (1, 2, 3 or more times)"
    )
    return np.array([0.0, *FALLBACK])
