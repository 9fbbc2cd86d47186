"""Searches without a graph find what their definitions say."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from espnet_smoe.inference.search.ctc_prefix import (
    PrefixBeam,
    greedy,
    prefix_beam,
)
from espnet_smoe.model.ctc_path import collapse


def random_log_probs(seed: int, frames: int, units: int, scale: float = 1.0):
    logits = scale * np.random.default_rng(seed).normal(size=(frames, units))
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


def sums_over_alignments(log_probs, blank):
    """Log probability of every sequence of units."""
    frames, units = log_probs.shape
    sums = {}
    for labels in product(range(units), repeat=frames):
        key = tuple(collapse(labels, blank))
        of_one = log_probs[np.arange(frames), labels].sum()
        sums[key] = np.logaddexp(sums.get(key, -np.inf), of_one)
    return sums


def test_greedy_takes_the_best_label_of_each_frame():
    best = [0, 3, 3, 0, 3, 2]
    log_probs = np.log(0.6 * np.eye(4)[best] + 0.1)
    assert greedy(log_probs, blank=0) == [3, 3, 2]
    assert greedy(np.empty((0, 4)), blank=0) == []


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    frames=st.integers(0, 5),
    units=st.integers(2, 4),
    blank=st.integers(0, 1),
)
def test_a_wide_prefix_beam_sums_over_all_alignments(seed, frames, units, blank):
    log_probs = random_log_probs(seed, frames, units)
    expected = sums_over_alignments(log_probs, blank)
    found = prefix_beam(log_probs, blank, beam=2000)
    assert len(found) == len(expected)
    assert len({h.tokens for h in found}) == len(found)
    for hypothesis in found:
        assert hypothesis.score == pytest.approx(expected[hypothesis.tokens])
    scores = [h.score for h in found]
    assert scores == sorted(scores, reverse=True)


def test_a_narrow_beam_keeps_so_many_and_never_promises_too_much():
    log_probs = random_log_probs(3, 6, 4)
    expected = sums_over_alignments(log_probs, 0)
    found = prefix_beam(log_probs, beam=3)
    assert len(found) == 3
    assert all(h.score <= expected[h.tokens] + 1e-9 for h in found)


def test_a_prefix_beam_sees_what_greedy_cannot():
    # two blanks are the best alignment, but one unit in either frame is likelier
    log_probs = np.log([[0.6, 0.4], [0.6, 0.4]])
    assert greedy(log_probs) == []
    assert prefix_beam(log_probs, beam=2)[0].tokens == (1,)


def every_unit_searched(log_probs, blank, beam):
    """The same search over dictionaries, by the book: no unit is left out."""
    kept = {(): (0.0, -np.inf)}
    for frame in log_probs:
        grown = {}
        for prefix, (after_blank, after_unit) in kept.items():
            total = np.logaddexp(after_blank, after_unit)
            ways = [(prefix, 0, total + frame[blank])]
            if prefix:
                ways.append((prefix, 1, after_unit + frame[prefix[-1]]))
            for unit in set(range(len(frame))) - {blank}:
                before = after_blank if prefix[-1:] == (unit,) else total
                ways.append(((*prefix, unit), 1, before + frame[unit]))
            for longer, kind, score in ways:
                ends = list(grown.get(longer, (-np.inf, -np.inf)))
                ends[kind] = np.logaddexp(ends[kind], score)
                grown[longer] = tuple(ends)
        possible = [p for p, ends in grown.items() if max(ends) > -np.inf]
        best = sorted(possible, key=lambda p: -np.logaddexp(*grown[p]))[:beam]
        kept = {prefix: grown[prefix] for prefix in best}
    return {prefix: np.logaddexp(*ends) for prefix, ends in kept.items()}


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    frames=st.integers(1, 8),
    units=st.integers(2, 14),
    blank=st.integers(0, 1),
    beam=st.integers(1, 4),
    scale=st.sampled_from([0.3, 2.0, 5.0]),
)
def test_the_units_left_out_of_a_frame_could_not_win(
    seed, frames, units, blank, beam, scale
):
    log_probs = random_log_probs(seed, frames, units, scale)
    expected = every_unit_searched(log_probs, blank, beam)
    found = {h.tokens: h.score for h in prefix_beam(log_probs, blank, beam)}
    assert found == pytest.approx(expected)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), cuts=st.lists(st.integers(0, 12), max_size=4))
def test_how_a_stream_is_cut_changes_nothing(seed, cuts):
    log_probs = random_log_probs(seed, 12, 30, 3.0)
    search = PrefixBeam(beam=3)
    for piece in np.split(log_probs, sorted(cuts)):
        search.advance(piece)
    assert search.nbest() == prefix_beam(log_probs, beam=3)


def test_a_stream_has_a_result_at_any_time():
    search = PrefixBeam(beam=2)
    assert [h.tokens for h in search.nbest()] == [()]
    search.advance(np.log([[0.1, 0.8, 0.1]]))
    first = search.nbest()
    search.advance(np.log([[0.1, 0.1, 0.8]]))
    assert first[0].tokens == (1,) and search.nbest()[0].tokens == (1, 2)
    assert first == prefix_beam(np.log([[0.1, 0.8, 0.1]]), beam=2)


def test_impossible_labels_are_not_searched():
    with np.errstate(divide="ignore"):
        log_probs = np.log([[0.0, 1.0, 0.0], [0.5, 0.5, 0.0]])
    assert {h.tokens for h in prefix_beam(log_probs, beam=9)} == {(1,)}


def test_what_is_no_number_is_named():
    log_probs = np.log([[0.6, 0.4], [np.nan, np.nan]])
    with pytest.raises(ValueError, match="gives NaN: the checkpoint is broken"):
        PrefixBeam().advance(log_probs)


def test_a_beam_of_nothing_is_refused():
    with pytest.raises(ValueError, match="beam must be at least 1, got 0"):
        prefix_beam(np.zeros((1, 2)), beam=0)
