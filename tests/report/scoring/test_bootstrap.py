import random

import numpy as np
import pytest
from scipy import stats

from espnet_smoe.report.scoring import bootstrap
from espnet_smoe.report.scoring.bootstrap import holm, paired_p_value, score_interval
from espnet_smoe.report.scoring.metrics import METRICS

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


def test_few_seeds_correct_a_paired_test_as_few_units_do():
    """All utterances agree, so that the differences of three seeds are all there is."""
    edits = np.array([1.0, 1.0, 7.0])
    other = np.tile([0.0, 10.0], (3, 50, 1))
    worse = other.copy()
    worse[..., 0] = edits[:, None]
    # of the 27 means of three draws only that of three times 7 is 3 or more from theirs
    drawn = stats.norm.isf(1 / 27 / 2)
    expected = 2 * stats.t.sf(drawn / (3 / 2) ** 0.5, 2)
    assert paired_p_value(WER, [worse], [other]) == pytest.approx(expected, abs=0.01)
    assert paired_p_value(WER, [other], [worse]) == pytest.approx(expected, abs=0.01)


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


# -- against other computations --------------------------------------------------------


def rates(counts, clusters):
    """Error rate of each cluster, where all utterances are equally long."""
    return np.array([100 * counts[clusters == c, 0].mean() / 10 for c in set(clusters)])


def spoken(speakers, utterances, spread, seed, base=0.25):
    """Counts and clusters of speakers who differ, (N, 2) and (N,)."""
    rng = np.random.default_rng(seed)
    clusters = np.repeat(np.arange(speakers), utterances)
    rate = np.clip(base + rng.normal(0, spread, speakers), 0.01, 0.9)[clusters]
    edits = rng.binomial(10, rate)
    return np.stack([edits, np.full(len(edits), 10)], axis=1).astype(float), clusters


def test_interval_of_many_utterances_is_the_normal_one_at_95_percent():
    counts = error_counts(3000, 0.2)
    score = score_interval(WER, [counts])
    reach = 1.96 * 10 * counts[:, 0].std() / 3000**0.5
    assert score.high - score.value == pytest.approx(reach, rel=0.05)
    assert score.value - score.low == pytest.approx(reach, rel=0.05)


def test_interval_of_clusters_equals_a_plain_loop_over_speakers():
    counts, clusters = spoken(12, 5, 0.05, seed=3)
    counts[clusters == 7, 0] = 9  # one voice is hardly understood
    edits = [counts[clusters == speaker, 0].sum() for speaker in range(12)]
    rng = random.Random(0)
    drawn = [100 * sum(rng.choices(edits, k=12)) / (12 * 5 * 10) for _ in range(20_000)]
    # Hesterberg's expansion for twelve units
    tail = stats.norm.cdf(-((12 / 11) ** 0.5) * stats.t.ppf(0.975, 11))
    low, high = np.quantile(drawn, [tail, 1 - tail])
    score = score_interval(WER, [counts], clusters=[clusters])
    width = high - low
    assert score.low == pytest.approx(low, abs=0.04 * width)
    assert score.high == pytest.approx(high, abs=0.04 * width)
    assert score.units == 12 and score.n == 60
    # the skewness is in the interval, not only the spread
    assert score.high - score.value > 1.3 * (score.value - score.low)


def test_below_five_clusters_the_interval_is_students():
    counts, clusters = spoken(3, 30, 0.05, seed=1)
    of = rates(counts, clusters)
    reach = stats.t.ppf(0.975, 2) * of.std(ddof=1) / 3**0.5
    score = score_interval(WER, [counts], clusters=[clusters])
    assert score.high == pytest.approx(of.mean() + reach, rel=0.03)
    assert score.low == pytest.approx(max(0, of.mean() - reach), rel=0.1, abs=0.5)


@pytest.mark.parametrize("shift", [0.2, 0.4, 1.0])
def test_variances_of_voices_and_seeds_are_put_together_by_satterthwaite(shift):
    once, clusters = spoken(20, 30, 0.08, seed=4)
    runs = np.stack([once, once + [shift, 0], once + [2 * shift, 0]])
    voices = rates(once, clusters)
    parts = np.array([voices.var(ddof=1) / 20, (10 * shift) ** 2 / 3])
    spread = parts.sum() ** 0.5
    freedom = parts.sum() ** 2 / (parts**2 / [19, 2]).sum()
    score = score_interval(WER, [runs], clusters=[clusters])
    reach = stats.t.ppf(0.975, freedom) * spread
    # the bootstrap has the skewness of its data, the formula none
    assert (score.high - score.low) / 2 == pytest.approx(reach, rel=0.12)


@pytest.mark.parametrize("speakers", [12, 40])
def test_p_value_is_near_that_of_the_paired_t_test_over_speakers(speakers):
    for seed in range(4):
        first, clusters = spoken(speakers, 20, 0.1, seed)
        second = first.copy()
        better = np.random.default_rng(seed).binomial(1, 0.3, len(first))
        worse = np.random.default_rng(seed + 99).binomial(1, 0.2, len(first))
        second[:, 0] = np.clip(first[:, 0] - better + worse, 0, 10)
        expected = stats.ttest_rel(rates(first, clusters), rates(second, clusters))
        p = paired_p_value(WER, [first], [second], clusters=[clusters])
        # in standard deviations, where p-values of any size compare
        far, near = stats.norm.isf([p / 2, expected.pvalue / 2])
        assert far == pytest.approx(near, abs=0.25)


def test_smallest_p_value_counts_the_observation_itself():
    good, bad = [error_counts(500, 0.05, 1)], [error_counts(500, 0.4, 2)]
    raw = 1 / (bootstrap.RESAMPLES + 1)
    widened = stats.norm.isf(raw / 2) / (500 / 499) ** 0.5
    p = paired_p_value(WER, good, bad)
    assert p == pytest.approx(2 * stats.t.sf(widened, 499))
    assert p > raw


def test_intervals_of_eight_voices_cover_the_truth_where_those_of_utterances_do_not(
    monkeypatch,
):
    monkeypatch.setattr(bootstrap, "RESAMPLES", 1000)
    hits = {"voices": 0, "utterances": 0}
    for seed in range(200):
        counts, clusters = spoken(8, 20, 0.08, seed)
        for unit, of in (("voices", [clusters]), ("utterances", None)):
            score = score_interval(WER, [counts], clusters=of)
            hits[unit] += score.low <= 25 <= score.high
    assert 0.91 <= hits["voices"] / 200 <= 0.99
    assert hits["utterances"] / 200 < 0.7


@pytest.mark.parametrize("seeds", [2, 3])
def test_intervals_over_voices_and_seeds_cover_the_truth(monkeypatch, seeds):
    monkeypatch.setattr(bootstrap, "RESAMPLES", 1000)
    hits = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        clusters = np.repeat(np.arange(12), 10)
        voice, training = rng.normal(0, 0.04, 12), rng.normal(0, 0.03, (seeds, 1))
        rate = np.clip(0.25 + voice[clusters] + training, 0.01, 0.9)
        edits = rng.binomial(10, rate)  # (seeds, N)
        counts = np.stack([edits, np.full_like(edits, 10)], axis=-1).astype(float)
        score = score_interval(WER, [counts], clusters=[clusters])
        hits += score.low <= 25 <= score.high
    assert 0.86 <= hits / 200 <= 0.99


def test_equally_good_systems_are_rarely_called_different_over_voices(monkeypatch):
    monkeypatch.setattr(bootstrap, "RESAMPLES", 1000)
    called = 0
    for seed in range(200):
        first, clusters = spoken(8, 20, 0.05, seed)
        # a voice that one system finds hard the other may find easy
        second, _ = spoken(8, 20, 0.05, seed + 1000)
        p = paired_p_value(WER, [first], [second], clusters=[clusters])
        called += p < 0.05
    assert called <= 20  # 10 expected; over utterances 90


@pytest.mark.parametrize("clusters", [4, 5])
def test_from_five_clusters_on_the_interval_is_as_skewed_as_its_data(clusters):
    edits = np.array([1.0, 1, 1, 1, 6])[-clusters:]
    counts = np.stack([edits, np.full(clusters, 10.0)], axis=1)
    score = score_interval(WER, [counts])
    up, down = score.high - score.value, score.value - score.low
    if clusters == 4:  # Student's, symmetric until an error rate would be negative
        reach = stats.t.ppf(0.975, 3) * 10 * edits.std(ddof=1) / 2
        assert up == pytest.approx(reach, rel=0.03) and score.low == 0
    else:
        drawn = np.random.default_rng(0).choice(10 * edits, (20_000, 5)).mean(axis=1)
        tail = stats.norm.sf((5 / 4) ** 0.5 * stats.t.ppf(0.975, 4))
        assert score.high == np.quantile(drawn, 1 - tail) and score.low == 10
        assert up > 2 * down


@pytest.mark.parametrize("name", ["wer", "bleu"])
def test_students_interval_ends_where_scores_end(name):
    metric = METRICS[name]
    refs, hyps = ["a b c d e", "f g h i j"], ["a b c d e", "x f x g x h x i j x x"]
    score = score_interval(metric, [metric.counts(refs, hyps)])
    assert score.low == 0
    if name == "bleu":
        assert score.high == 100
    else:  # more may be inserted than was said
        assert score.high > 200


def test_small_strata_have_a_degree_of_freedom_less_each():
    strata = [error_counts(6, 0.3, seed) for seed in (1, 2, 3)]
    of = [10 * counts[:, 0] for counts in strata]
    spread = sum(values.var(ddof=1) / 6 for values in of) ** 0.5 / 3
    score = score_interval(WER, strata)
    reach = stats.t.ppf(0.975, 15) * spread
    assert (score.high - score.low) / 2 == pytest.approx(reach, rel=0.05)
    assert score.units == 18


def test_a_resample_has_as_many_rows_of_each_stratum_as_there_are():
    edits = [[9, 1, 0, 2, 0, 1], [0, 3, 0, 0, 1, 8]]
    strata = [np.stack([e, np.full(6, 10)], axis=1).astype(float) for e in edits]
    score = score_interval(WER, strata)
    # in edits: of twelve rows of ten words each, or it would be a fraction
    for end in (score.low, score.high):
        assert end * 1.2 == pytest.approx(round(end * 1.2), abs=1e-9)


def test_a_p_value_of_strata_and_of_seeds_uses_every_resample():
    """Where a resample is drawn again, too: their number bounds the p-value."""
    strata = [error_counts(20, 0.2), error_counts(20, 0.2, 1)]
    worse = [counts + [3, 0] for counts in strata]
    clusters = [np.zeros(20, int), np.arange(1, 21)]
    smallest = stats.norm.isf(0.5 / (bootstrap.RESAMPLES + 1))
    expected = 2 * stats.t.sf(smallest / (21 / 20) ** 0.5, 20)
    p = paired_p_value(WER, strata, worse, clusters=clusters)
    assert p == pytest.approx(expected)


def test_seeds_of_two_systems_are_drawn_apart_from_each_other_and_from_clusters():
    scores = np.arange(5.0)[:, None].repeat(4000, axis=1)
    alone = [bootstrap._draw_seeds(scores, 1, system) for system in (0, 1)]
    clusters = np.random.default_rng(1).integers(5, size=scores.shape).mean(axis=0)
    assert np.abs(np.corrcoef([*alone, clusters]) - np.eye(3)).max() < 0.06
    assert alone[0].mean() == pytest.approx(2, abs=0.1)


def test_scores_are_written_with_four_digits():
    entry = bootstrap.Score(12.345678, 11.00004, None, 7, 3).to_dict()
    assert entry == {"value": 12.3457, "low": 11.0, "high": None, "n": 7, "units": 3}


# -- many tests ------------------------------------------------------------------------


def test_holm_multiplies_by_what_is_left_and_keeps_the_order():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, None, 0.7]) == [1, None, 1]
    assert holm([0.02]) == [0.02] and holm([]) == []
