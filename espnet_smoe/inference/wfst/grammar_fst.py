"""G, the grammar of a decoding graph: an n-gram model as a transducer.

A state stands for a history, an arc for a word, and an arc with ``#0`` leads to the
shorter history. A path may back off where the model has the longer n-gram, too; that
nearly always costs more, and keeps the graph as small as the model (Mohri, Pereira,
Riley 2008, section 3.1).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from espnet_smoe.inference.wfst.lexicon_fst import (
    EPSILON,
    Arcs,
    import_kaldifst,
    make_fst,
)
from espnet_smoe.lm.ngram import NGram
from espnet_smoe.lm.text import MARKS
from espnet_smoe.lm.trie import ABSENT, Trie

ROOT = 0  # the empty n-gram
NATS = float(np.log(10))


@dataclass(frozen=True)
class _Flat:
    """All N n-grams of a trie in one row: the empty one, then order by order.

    Attributes:
        word: ``(N,)`` the last word of each.
        history: ``(N,)`` the n-gram before that word.
        tail: ``(N,)`` the longest n-gram that each one ends with, but itself.
        cost: ``(N,)`` of the word after the history, in nats.
        backoff: ``(N,)`` of going on to the tail, in nats.
    """

    word: np.ndarray
    history: np.ndarray
    tail: np.ndarray
    cost: np.ndarray
    backoff: np.ndarray

    @classmethod
    def of(cls, trie: Trie) -> "_Flat":
        """Number the n-grams of a trie."""
        sizes = [len(level.key) for level in trie.levels]
        first = [0, *np.cumsum([1, *sizes])]  # of each order, from that of no word
        words, histories, tails = [[-1]], [[ROOT]], [[ROOT]]
        for order, links in enumerate(trie.suffixes(), 1):
            words.append(trie.word(order))
            if order == 1:
                histories.append(np.full(sizes[0], ROOT))
                tails.append(np.full(sizes[0], ROOT))
                continue
            histories.append(first[order - 1] + trie.context(order))
            tails.append(_tails(trie, order, links, first))
        return cls(
            np.concatenate(words),
            np.concatenate(histories),
            np.concatenate(tails),
            np.concatenate([[0.0], *(-NATS * x.log_prob for x in trie.levels)]),
            np.concatenate([[0.0], *(-NATS * x.backoff for x in trie.levels)]),
        )


def _tails(trie: Trie, order: int, links: np.ndarray, first: list) -> np.ndarray:
    """Numbers of the n-grams that those of one order end with.

    A pruned model may lack the n-gram that is one word shorter.
    """
    tails = first[order - 1] + links
    missing = np.flatnonzero(links == ABSENT)
    ngrams = trie.ngrams(order, missing)
    tails[missing] = ROOT
    for length in range(1, order - 1):  # the longest that there is comes last
        found = trie.find(ngrams[:, order - length :])
        there = found != ABSENT
        tails[missing[there]] = first[length] + found[there]
    return tails


def grammar_fst(model: NGram, labels: np.ndarray, backoff: int) -> Any:
    """G: sequences of words and their costs.

    Args:
        model: The language model.
        labels: ``(V,)`` labels of the model's words; 0 for words to leave out, and
            with them their n-grams.
        backoff: Label of ``#0``.

    Returns:
        A ``kaldifst.StdVectorFst``, sorted for a composition on its left.
    """
    flat = _Flat.of(model.trie)
    begin, end = (model.words.index(mark) for mark in MARKS)
    start = 1 + begin  # the unigrams follow the empty n-gram
    is_word, last = _arcs_and_ends(flat, labels, begin, end, model.order)
    is_state = np.zeros(len(flat.word), dtype=bool)
    is_state[[ROOT, start]] = True
    is_state[flat.history[is_word | last]] = True
    entered, price = _nearest_states(flat, is_state)
    back = is_state.copy()
    back[ROOT] = False
    number = np.cumsum(is_state) - 1  # of the states
    label = labels[flat.word[is_word]]
    words = Arcs(
        source=number[flat.history[is_word]],
        target=number[entered[is_word]],
        ilabel=label,
        olabel=label,
        cost=(flat.cost + price)[is_word],
    )
    shorter = Arcs(
        source=number[back],
        target=number[entered[flat.tail[back]]],
        ilabel=np.full(back.sum(), backoff),
        olabel=np.full(back.sum(), EPSILON),
        cost=flat.backoff[back] + price[flat.tail[back]],
    )
    finals = zip(number[flat.history[last]].tolist(), flat.cost[last].tolist())
    fst = make_fst([words, shorter], finals, int(number[start]))
    import_kaldifst().arcsort(fst, sort_type="ilabel")
    return fst


def _arcs_and_ends(
    flat: _Flat, labels: np.ndarray, begin: int, end: int, order: int
) -> tuple[np.ndarray, np.ndarray]:
    """Which n-grams ``(N,)`` become an arc, and which make their history an end."""
    inside = (labels[flat.word] > 0) | (flat.word == begin)
    inside[ROOT] = True
    for _ in range(order):  # left out with any word of its history
        inside &= inside[flat.history]
    ends = (flat.word == end) & inside[flat.history]
    arcs = inside & (flat.word != begin)
    arcs[ROOT] = False
    return arcs, ends


def _nearest_states(flat: _Flat, is_state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where an n-gram leads: one that nothing follows goes on to a shorter history.

    Returns:
        ``(N,)`` number of an n-gram, and what the way there costs in nats.
    """
    entered = np.arange(len(flat.word))
    price = np.zeros(len(flat.word))
    while np.any(leave := ~is_state[entered]):
        price += np.where(leave, flat.backoff[entered], 0.0)
        entered = np.where(leave, flat.tail[entered], entered)
    return entered, price
