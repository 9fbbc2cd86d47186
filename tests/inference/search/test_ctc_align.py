"""An alignment is the best of all, and says when and how surely."""

from itertools import product

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from espnet_smoe.inference.search.ctc_align import TokenSpan, align
from espnet_smoe.model.ctc_path import collapse


def random_log_probs(seed: int, frames: int, units: int):
    logits = 2 * np.random.default_rng(seed).normal(size=(frames, units))
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


def labels_of(spans, frames, blank):
    labels = np.full(frames, blank)
    for span in spans:
        labels[span.start : span.end] = span.token
    return labels


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    frames=st.integers(1, 6),
    tokens=st.lists(st.integers(0, 2), min_size=1, max_size=4),
    blank=st.integers(0, 2),
)
def test_no_alignment_of_the_text_is_better(seed, frames, tokens, blank):
    log_probs = random_log_probs(seed, frames, 3)
    at = np.arange(frames)
    scores = [
        log_probs[at, labels].sum()
        for labels in product(range(3), repeat=frames)
        if collapse(labels, blank) == tokens
    ]
    assume(scores)
    spans = align(log_probs, tokens, blank)
    labels = labels_of(spans, frames, blank)
    assert collapse(labels, blank) == tokens == [span.token for span in spans]
    assert log_probs[at, labels].sum() == pytest.approx(max(scores))
    for span in spans:
        heard = np.exp(log_probs[span.start : span.end, span.token])
        assert span.confidence == pytest.approx(heard.mean())


def test_a_token_is_where_it_peaks_as_long_as_it_does():
    best = [0, 3, 3, 0, 3, 2, 0]
    log_probs = np.log(0.6 * np.eye(4)[best] + 0.1).astype(np.float32)
    spans = align(log_probs, [3, 3, 2])
    assert [(s.token, s.start, s.end) for s in spans] == [
        (3, 1, 3),
        (3, 4, 5),
        (2, 5, 6),
    ]
    assert [s.confidence for s in spans] == pytest.approx([0.7] * 3)


def test_a_long_text_fits_exactly():
    tokens = list(range(1, 41)) * 5  # no repeats: as many frames as tokens will do
    spans = align(random_log_probs(0, len(tokens), 41), tokens)
    assert [(s.start, s.end) for s in spans] == [(t, t + 1) for t in range(len(tokens))]


def test_no_text_has_no_spans():
    assert align(random_log_probs(0, 3, 4), []) == []
    assert align(np.empty((0, 4)), []) == []


def test_a_text_that_does_not_fit_is_refused_with_the_numbers():
    log_probs = random_log_probs(0, 3, 6)
    for tokens, numbers in (([1, 2, 3, 4], "4 tokens, 0"), ([1, 1, 2], "3 tokens, 1")):
        with pytest.raises(ValueError, match=f"{numbers} .* fit into 3 frames"):
            align(log_probs, tokens)


@pytest.mark.parametrize("token", [-1, 0, 6])
def test_what_is_no_token_is_refused(token):
    with pytest.raises(ValueError, match=f"token {token} cannot be aligned"):
        align(random_log_probs(0, 4, 6), [2, token])


def test_a_text_without_probability_is_refused():
    with np.errstate(divide="ignore"):
        log_probs = np.log([[0.5, 0.5, 0.0], [0.5, 0.5, 0.0]])
    with pytest.raises(ValueError, match="no alignment of the 1 tokens"):
        align(log_probs, [2])
    assert align(log_probs[:1], [1]) == [TokenSpan(1, 0, 1, 0.5)]
