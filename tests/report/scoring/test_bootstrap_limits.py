"""Intervals and p-values where little or nothing can be said."""

import numpy as np
import pytest
from scipy import stats

from espnet_smoe.report.scoring import bootstrap
from espnet_smoe.report.scoring.bootstrap import paired_p_value, score_interval
from espnet_smoe.report.scoring.metrics import METRICS
from tests.report.scoring.test_bootstrap import WER, error_counts, spoken


def test_a_resample_without_a_stratum_is_drawn_again():
    strata = [error_counts(20, 0.1), error_counts(20, 0.3, 1)]
    clusters = [np.zeros(20, int), np.arange(1, 21)]  # one voice has all of a stratum
    score = score_interval(WER, strata, clusters=clusters)
    assert score.low < score.value < score.high
    better = [np.maximum(s - [1, 0], 0) for s in strata]
    assert 0 < paired_p_value(WER, strata, better, clusters=clusters) < 0.05
    assert paired_p_value(WER, strata, strata, clusters=clusters) == 1


@pytest.mark.parametrize("name", METRICS)
def test_a_stratum_that_a_resample_misses_does_not_count_as_zero(name):
    metric = METRICS[name]
    texts = ["a b c d e f"] * 8
    counts = metric.counts(texts, ["a b c d e x"] * 8)
    # two voices, each with one stratum; both score the same
    clusters = [np.zeros(8, int), np.ones(8, int)]
    score = score_interval(metric, [counts, counts], clusters=clusters)
    assert score.low == pytest.approx(score.value) == pytest.approx(score.high)


def test_one_cluster_has_no_interval_and_no_p_value():
    counts = error_counts(30, 0.2)
    one = [np.zeros(30, int)]
    score = score_interval(WER, [counts], clusters=one)
    assert score.value == METRICS["wer"].formula(counts.sum(0, keepdims=True))[0]
    assert (score.low, score.high) == (None, None)
    assert paired_p_value(WER, [counts], [counts / 2], clusters=one) is None
    assert score_interval(WER, [counts[:1]]).low is None


def test_two_clusters_have_an_interval_and_strata_of_one_row_each_have_none():
    counts = error_counts(2, 0.4)
    assert score_interval(WER, [counts]).low is not None
    assert paired_p_value(WER, [counts], [counts + [1, 0]]) is not None
    alone = [counts[:1], counts[1:]]  # nothing tells how much a row might differ
    assert score_interval(WER, alone).low is None
    assert paired_p_value(WER, alone, alone) is None


def test_strata_that_no_resample_has_together_leave_a_score_alone(monkeypatch):
    monkeypatch.setattr(bootstrap, "RESAMPLES", 500)
    monkeypatch.setattr(bootstrap, "ATTEMPTS", 3)
    strata = [error_counts(1, 0.4, seed) for seed in range(40)]  # a voice each
    clusters = [np.array([number]) for number in range(40)]
    score = score_interval(WER, strata, clusters=clusters)
    assert score.value > 0 and (score.low, score.high) == (None, None)
    assert paired_p_value(WER, strata, strata, clusters=clusters) is None


def test_without_any_reference_there_is_neither_score_nor_p_value():
    silent = np.array([[1.0, 0.0], [0.0, 0.0]])
    score = score_interval(WER, [silent])
    assert (score.value, score.low, score.high, score.n) == (None, None, None, 2)
    assert paired_p_value(WER, [silent], [silent]) is None


def test_a_tie_of_systems_that_differ_has_p_of_one():
    first = error_counts(40, 0.3)
    second = first[::-1].copy()  # the same errors in other utterances
    assert paired_p_value(WER, [first], [second]) == 1


def test_a_few_voices_that_agree_do_not_prove_much():
    first, clusters = spoken(3, 30, 0.0, seed=0)
    second = first + [1, 0]
    p = paired_p_value(WER, [first], [second], clusters=[clusters])
    farthest = stats.norm.isf(0.5 / (bootstrap.RESAMPLES + 1)) / (3 / 2) ** 0.5
    assert p == pytest.approx(2 * stats.t.sf(farthest, 2)) and p > 0.05
    many = np.repeat(np.arange(30), 3)
    assert paired_p_value(WER, [first], [second], clusters=[many]) < 0.01


def test_systems_with_other_numbers_of_seeds_can_be_compared():
    one = [error_counts(200, 0.3, 1)]
    three = [np.stack([error_counts(200, 0.1, s) for s in (2, 3, 4)])]
    assert paired_p_value(WER, one, three) < 0.05
    apart = [np.stack([error_counts(200, r, 5) for r in (0.05, 0.3, 0.6)])]
    assert paired_p_value(WER, one, apart) > 0.5


def test_pairing_counts_where_the_numbers_of_seeds_differ():
    hard = np.arange(100) % 10
    first = np.stack([hard + 1, np.full(100, 20)], axis=1).astype(float)
    second = first - [1, 0]
    second[::10] += [1, 0]  # a small gain, but nearly everywhere
    assert paired_p_value(WER, [first], [np.stack([second] * 2)]) < 0.01
    assert paired_p_value(WER, [np.stack([second] * 2)], [first]) < 0.01
