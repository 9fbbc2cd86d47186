"""The best CTC path of a text, and the unit of each frame."""

from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from espnet_smoe.report.routing.align import align, nearest_unit


def collapse(path):
    kept = [t for t, before in zip(path, (None, *path)) if t != before]
    return [t for t in kept if t != 0]


def best_path(log_probs, units):
    """Of all paths that spell the text, the most probable."""
    size, tokens = log_probs.shape
    paths = [p for p in product(range(tokens), repeat=size) if collapse(p) == units]
    return max(paths, key=lambda p: log_probs[range(size), p].sum())


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 5),
    st.lists(st.integers(1, 2), min_size=1, max_size=3),
    st.integers(0, 1000),
)
def test_alignment_is_the_best_of_all_paths(size, units, seed):
    rng = np.random.default_rng(seed)
    log_probs = torch.tensor(rng.normal(size=(size, 3)) * 2).log_softmax(1)
    repeated = sum(a == b for a, b in zip(units, units[1:]))
    found = align(log_probs, units, blank=0)
    if size < len(units) + repeated:
        assert found is None
        return
    spikes, scores = found
    best = best_path(log_probs.numpy(), units)
    assert [0 if s < 0 else units[s] for s in spikes] == list(best)
    assert spikes[spikes >= 0].tolist() == sorted(spikes[spikes >= 0])
    assert set(spikes[spikes >= 0]) == set(range(len(units)))
    expected = log_probs[range(size), best]
    assert scores == pytest.approx(expected.numpy(), abs=1e-5)


def test_equal_units_are_told_apart_by_the_blank_between():
    log_probs = torch.full((5, 3), -9.0)
    for frame, token in enumerate((1, 1, 0, 1, 2)):
        log_probs[frame, token] = -0.01
    spikes, _ = align(log_probs, [1, 1, 2], blank=0)
    assert spikes.tolist() == [0, 0, -1, 1, 2]


def test_a_unit_said_twice_needs_a_frame_more():
    assert align(torch.zeros(2, 3), [1, 1], blank=0) is None
    assert align(torch.zeros(4, 3), [2, 1, 1, 2], blank=0) is None
    for units in ([1, 2, 1], [1, 1]):
        assert align(torch.zeros(3, 3), units, blank=0) is not None


def test_no_text_has_no_alignment():
    assert align(torch.zeros(4, 3), [], blank=0) is None


def test_a_blank_frame_belongs_to_the_nearest_spike_and_to_the_earlier_of_two():
    spikes = np.array([-1, -1, 0, 0, -1, -1, -1, 1, 2, -1, -1])
    assert nearest_unit(spikes).tolist() == [0, 0, 0, 0, 0, 0, 1, 1, 2, 2, 2]
    assert nearest_unit(np.array([-1, 0, -1, 1])).tolist() == [0, 0, 0, 1]
    assert nearest_unit(np.array([0])).tolist() == [0]
