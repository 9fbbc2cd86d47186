"""Mutual information of classes and experts, and what chance would give."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from espnet_smoe.report.routing.mutual_information import (
    count_pairs,
    entropy,
    mutual_information,
    shuffled,
)


def draw(joint, number, seed=0):
    """Pairs of class and expert from a joint distribution ``(C, E)``."""
    rng = np.random.default_rng(seed)
    flat = rng.choice(joint.size, number, p=joint.ravel())
    return flat // joint.shape[1], flat % joint.shape[1]


def test_a_planted_dependence_is_found_at_its_true_size():
    joint = np.array([[0.30, 0.05, 0.05], [0.02, 0.08, 0.10], [0.10, 0.25, 0.05]])
    independent = np.outer(joint.sum(1), joint.sum(0))
    true = (joint * np.log2(joint / independent)).sum()
    classes, experts = draw(joint, 20000)
    counts = count_pairs(classes, experts, (3, 3))
    assert counts.sum() == 20000
    assert mutual_information(counts) == pytest.approx(true, abs=0.01)
    runs = np.arange(20000)
    for dealt in shuffled(classes, runs, times=3):
        assert mutual_information(count_pairs(dealt, experts, (3, 3))) < 0.002


def test_frames_of_unknown_class_do_not_count():
    counts = count_pairs(np.array([0, -1, 1, -1]), np.array([1, 1, 0, 0]), (2, 2))
    assert counts.tolist() == [[0, 1], [1, 0]]


@given(st.lists(st.lists(st.integers(0, 20), min_size=3, max_size=3), min_size=2))
def test_information_is_between_nothing_and_the_entropy_of_the_expert(counts):
    counts = np.array(counts)
    bits = mutual_information(counts)
    assert 0 <= bits <= entropy(counts.sum(axis=0)) + 1e-9
    assert mutual_information(counts.T) == pytest.approx(bits, abs=1e-9)


def test_class_that_decides_tells_all_and_an_even_split_nothing():
    assert mutual_information(np.diag([5, 3, 2])) == entropy(np.array([5, 3, 2]))
    assert mutual_information(np.array([[2, 4], [3, 6]])) == pytest.approx(0)
    assert mutual_information(np.zeros((2, 2))) == 0


def test_entropy_is_that_of_shares_and_never_below_nothing():
    assert entropy(np.array([1, 1, 0, 2])) == 1.5
    assert entropy(np.array([3, 3])) == entropy(np.array([1, 1])) == 1
    assert str(entropy(np.array([7]))) == str(entropy(np.zeros(2))) == "0.0"


def test_shuffling_keeps_runs_and_classes_and_leaves_the_unknown():
    classes = np.array([0, 0, 0, 1, 1, -1, -1, 2, 3, 3])
    runs = np.array([0, 0, 0, 1, 1, 2, 2, 3, 4, 4])
    dealt = shuffled(classes, runs, times=30)
    assert len({tuple(d) for d in dealt}) > 5
    for new in dealt:
        assert new[5] == new[6] == -1
        of_run = [set(new[runs == run]) for run in range(5)]
        assert all(map(len, of_run)) and max(map(len, of_run)) == 1
        assert sorted(c for run in of_run for c in run) == [-1, 0, 1, 2, 3]


def test_long_runs_raise_what_chance_gives():
    """A few long runs look dependent; shuffled frame by frame they would not."""
    rng = np.random.default_rng(0)
    runs = np.repeat(np.arange(40), 50)
    classes, experts = (rng.integers(0, 4, 40)[runs] for _ in range(2))
    bits = mutual_information(count_pairs(classes, experts, (4, 4)))

    def by_chance(of):
        dealt = shuffled(classes, of)
        return np.mean(
            [mutual_information(count_pairs(d, experts, (4, 4))) for d in dealt]
        )

    assert by_chance(np.arange(2000)) < 0.01 < 0.08 < by_chance(runs)
    assert bits < 2 * by_chance(runs)
