"""Pruning: what goes, what stays, and that it is as little worse as it claims."""

from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from espnet_smoe.lm import prune as module
from espnet_smoe.lm.ngram import NGram
from espnet_smoe.lm.trie import Trie


def text(sentences=150, seed=0):
    """Sentences of 8 words, of which the next depends on the two before."""
    rng = np.random.default_rng(seed)
    likes = rng.dirichlet(np.full(8, 0.3), size=(8, 8))
    lines = []
    for _ in range(sentences):
        words = [0, 0]
        for _ in range(rng.integers(1, 9)):
            words.append(rng.choice(8, p=likes[words[-2], words[-1]]))
        lines.append(" ".join("abcdefgh"[word] for word in words[2:]))
    return lines


@cache
def estimated(order):
    return NGram.estimate(text(), order)


def ngrams(model):
    """Set of the model's n-grams by order, as tuples of ids."""
    levels = enumerate(model.trie.levels, 1)
    return [
        set(map(tuple, model.trie.ngrams(n, np.arange(len(level.key))).tolist()))
        for n, level in levels
    ]


def distributions(trie, contexts):
    """``(contexts, V)`` probabilities of all words but the start."""
    size = trie.size
    contexts = np.repeat(contexts, size, axis=0)
    words = np.tile(np.arange(size), len(contexts) // size)
    p = 10 ** trie.log_prob(np.column_stack([contexts, words])).reshape(-1, size)
    return np.delete(p, 1, axis=1)


@given(st.sampled_from([1e-6, 1e-4, 1e-3, 1e-2, 0.1, 9.0]), st.integers(2, 4))
def test_pruned_model_is_normalised_and_closed(threshold, order):
    model = estimated(order)
    pruned = model.prune(threshold)
    kept = ngrams(pruned)
    assert kept[0] == ngrams(model)[0]
    for shorter, longer, before in zip(kept, kept[1:], ngrams(model)[1:]):
        assert longer <= before
        assert {ngram[:-1] for ngram in longer} <= shorter
    for length in range(1, order):
        seen = sorted(ngrams(model)[length - 1])
        contexts = np.array([ngram for ngram in seen if 2 not in ngram])
        sums = distributions(pruned.trie, contexts).sum(axis=1)
        np.testing.assert_allclose(sums, 1, atol=1e-9)


def test_larger_threshold_leaves_fewer_ngrams_and_a_higher_perplexity():
    model = estimated(4)
    pruned = [model.prune(threshold) for threshold in (0, 1e-4, 1e-3, 1e-2, 9)]
    sizes = [sum(each.counts) for each in pruned]
    assert sizes[0] == sum(model.counts)
    assert sizes == sorted(set(sizes), reverse=True)
    assert pruned[-1].counts == model.counts[:1]  # and the order is 1
    ppl = [each.perplexity(text()).ppl for each in pruned]
    assert ppl == sorted(set(ppl))


def test_threshold_0_and_the_weights_anew_change_nothing():
    model = estimated(3)
    same = model.prune(0)
    for old, new in zip(model.trie.levels, same.trie.levels):
        np.testing.assert_array_equal(old.key, new.key)
        np.testing.assert_allclose(old.backoff, new.backoff, atol=1e-9)


@pytest.mark.parametrize("order", [2, 3])
def test_loss_of_an_ngram_is_the_relative_entropy_without_it(order):
    model = NGram.estimate(text(60), order)
    trie = model.trie
    links, history = trie.suffixes(), module._history(trie)
    loss = module._loss(trie, order, history[order - 2], links[order - 1])
    for place in range(0, len(loss), 7):
        keep = [np.ones(count, dtype=bool) for count in model.counts]
        keep[-1][place] = False
        without: Trie = module._select(trie, keep)
        module.normalize(without)
        context = trie.ngrams(order, np.array([place]))[:, :-1]
        p, q = distributions(trie, context)[0], distributions(without, context)[0]
        weight = 10 ** history[order - 2][trie.context(order)[place]]
        expected = weight * np.sum(p * np.log(p / q))
        assert loss[place] == pytest.approx(expected, rel=1e-6, abs=1e-15)


def test_probability_of_a_history_is_the_product_of_its_words():
    model = estimated(3)
    [place] = model.trie.levels[1].find(np.array([1 * model.trie.size + 3]))
    word = model.words[3]
    expected = model.log_prob("</s>") + model.log_prob(word, ["<s>"])
    assert module._history(model.trie)[1][place] == pytest.approx(expected)


def test_pruning_what_was_pruned_keeps_it_normalised():
    pruned = estimated(4).prune(1e-4).prune(1e-3)
    contexts = np.array([[a, b, c] for a in (1, 3, 4) for b in (3, 5) for c in (3, 6)])
    sums = distributions(pruned.trie, contexts).sum(axis=1)
    np.testing.assert_allclose(sums, 1, atol=1e-9)


def test_model_pruned_from_is_left_as_it_is():
    model = estimated(3)
    before = model.perplexity(text())
    model.prune(0.1)
    assert model.perplexity(text()) == before


def test_negative_threshold_is_an_error():
    with pytest.raises(ValueError, match="0 or more, got -1"):
        NGram.estimate(["a"], 1).prune(-1)
