import numpy as np
import pytest

from espnet_smoe.report.bootstrap import paired_p_value, score_interval
from espnet_smoe.report.scores import METRICS

WER = METRICS["wer"]


def error_counts(utterances: int, rate: float, seed: int = 0) -> np.ndarray:
    """Edits and lengths of utterances with ten words, (N, 2)."""
    edits = np.random.default_rng(seed).binomial(10, rate, utterances)
    return np.stack([edits, np.full(utterances, 10)], axis=1).astype(float)


@pytest.mark.parametrize("name", METRICS)
def test_interval_contains_the_value(name):
    refs = [f"w{i % 7} a b c w{i % 5} d" for i in range(50)]
    hyps = [r.replace("w3", "x").replace("w1 a", "a") for r in refs]
    score = score_interval(METRICS[name], [METRICS[name].counts(refs, hyps)])
    assert score.low < score.value < score.high
    assert score.value == METRICS[name].score(refs, hyps)
    assert score.n == 50


def test_interval_shrinks_with_the_root_of_the_number_of_utterances():
    small, large = (score_interval(WER, [error_counts(n, 0.2)]) for n in (50, 5000))
    ratio = (small.high - small.low) / (large.high - large.low)
    assert 7 < ratio < 14  # sqrt(100) = 10


def test_interval_covers_the_truth_in_about_95_percent_of_samples():
    hits = 0
    for seed in range(200):
        score = score_interval(WER, [error_counts(40, 0.2, seed)], seed)
        hits += score.low <= 20 <= score.high
    assert 0.88 <= hits / 200 <= 0.99


def test_interval_of_equal_utterances_is_a_point():
    score = score_interval(WER, [np.array([[1.0, 4.0]] * 20)])
    assert (score.low, score.value, score.high) == (25, 25, 25)


def test_interval_is_reproducible():
    counts = [error_counts(30, 0.3)]
    assert score_interval(WER, counts) == score_interval(WER, counts)


def test_mean_over_strata_weighs_conditions_equally():
    strata = [np.array([[0.0, 4.0]] * 30), np.array([[2.0, 4.0]] * 10)]
    score = score_interval(WER, strata)
    assert score.value == 25  # the pooled corpus would give 12.5
    assert score.low == score.high == 25  # resampled inside each stratum
    assert score.n == 40


def test_identical_systems_have_p_of_one():
    counts = [error_counts(40, 0.2)]
    assert paired_p_value(WER, counts, counts) == 1


def test_clearly_better_system_has_a_small_p_in_both_directions():
    good, bad = [error_counts(200, 0.1, 1)], [error_counts(200, 0.3, 2)]
    assert paired_p_value(WER, good, bad) < 0.01
    assert paired_p_value(WER, bad, good) < 0.01


def test_equally_good_systems_are_rarely_called_different():
    small = sum(
        paired_p_value(WER, [error_counts(60, 0.2, s)], [error_counts(60, 0.2, s + 1)])
        < 0.05
        for s in range(0, 200, 2)
    )
    assert small <= 12  # 5 of 100 expected


def test_pairing_sees_a_small_but_steady_gain():
    hard = np.arange(100) % 10
    first = np.stack([hard + 1, np.full(100, 20)], axis=1).astype(float)
    second = first - [1, 0]
    second[::10] += [1, 0]
    assert paired_p_value(WER, [first], [second]) < 0.01


def test_systems_on_different_utterances_are_refused():
    with pytest.raises(ValueError, match="same utterances"):
        paired_p_value(WER, [error_counts(5, 0.1)], [error_counts(6, 0.1)])


def test_seeds_that_disagree_widen_the_interval():
    alike = np.stack([error_counts(400, 0.2, 1)] * 3)
    apart = np.stack([error_counts(400, rate, 1) for rate in (0.1, 0.2, 0.3)])
    narrow, wide = score_interval(WER, [alike]), score_interval(WER, [apart])
    assert wide.high - wide.low > 3 * (narrow.high - narrow.low)
    assert wide.value == pytest.approx(20, abs=1)
    assert wide.n == narrow.n == 400


def test_one_seed_is_the_plain_bootstrap():
    counts = error_counts(40, 0.2)
    assert score_interval(WER, [counts]) == score_interval(WER, [counts[None]])


def test_seeds_that_disagree_make_a_difference_less_certain():
    apart = [np.stack([error_counts(200, r, s) for s, r in enumerate((0.1, 0.3))])]
    other = [np.stack([error_counts(200, r, s) for s, r in enumerate((0.32, 0.12))])]
    alone = paired_p_value(WER, [apart[0][0]], [other[0][0]])
    assert alone < 0.01 < 0.2 < paired_p_value(WER, apart, other)
    assert paired_p_value(WER, apart, apart) == 1


def test_versions_of_one_utterance_are_drawn_together():
    once = error_counts(50, 0.2)
    source = np.tile(np.arange(50), 4)
    four = score_interval(WER, [np.tile(once, (4, 1))], clusters=[source])
    alone = score_interval(WER, [once])
    assert (four.value, four.low, four.high) == (alone.value, alone.low, alone.high)
    apart = score_interval(WER, [np.tile(once, (4, 1))])  # as if four times the data
    assert four.high - four.low > 1.7 * (apart.high - apart.low)
    assert four.n == 200


def test_strata_of_the_same_sources_are_drawn_together():
    once, sources = error_counts(50, 0.2), [np.arange(50)] * 3
    mean = score_interval(WER, [once] * 3, clusters=sources)
    assert mean.low == score_interval(WER, [once]).low
    better = once.copy()
    better[:, 0] = np.maximum(better[:, 0] - 1, 0)
    p = paired_p_value(WER, [once] * 3, [better] * 3, clusters=sources)
    assert p == paired_p_value(WER, [once], [better])
