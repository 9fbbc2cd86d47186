"""Confidence intervals and p-values of scores, by resampling clusters and seeds.

The units that are resampled decide what an interval is valid for. Errors of one speaker
are correlated, as are those of one utterance in several conditions, so the units are
clusters, each drawn with all of its rows: speakers where
they are known, else utterances (`clusters.py`). A system that was trained with several
seeds has the mean of its scores, and seeds are a second, crossed unit: each resample
draws clusters and seeds. With one seed an interval is of this training alone.

A resample of few units spreads too little: its variance is (n - 1) / n of the right
one, and normal quantiles are nearer than Student's. Both are corrected as in the
expanded percentile interval of Hesterberg ("What teachers should know about the
bootstrap", 2015); the degrees of freedom of clusters and seeds are put together by
Satterthwaite's formula. With eight units the 2.5 % quantile becomes that of 0.6 %.
Below five units no resample reaches far enough, and the interval is Student's t.

A score may be a mean over strata (the mean over the narrowband conditions, say).
Without clusters, rows are drawn inside each stratum. With clusters a resample may leave
a stratum without a reference; it is drawn again, since the score is not defined there.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import NormalDist

import numpy as np

from espnet_smoe.report.scoring.metrics import REFERENCE_SIZE, Metric

RESAMPLES = 10_000
CHUNK = 500  # resamples drawn at once: bounds the memory
ATTEMPTS = 200  # to draw a resample in which every stratum has a reference
SEED = 1
OUTSIDE = 0.05  # what a 95 % interval leaves out
FEW = 4  # degrees of freedom: with fewer, no resample reaches as far as it should
ROUNDING = 1e-9

Strata = Sequence[np.ndarray]


@dataclass(frozen=True)
class Score:
    """A score with its 95 % interval.

    Attributes:
        value: None where all references are empty.
        low: Lower end; None where nothing can be said (no two units, no value).
        high: Upper end; None likewise.
        n: Utterances.
        units: Clusters that were resampled.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int
    units: int

    def to_dict(self) -> dict:
        """The entry of ``scores.json``."""
        entry = asdict(self)
        return {k: v if v is None else round(v, 4) for k, v in entry.items()}


def score_interval(
    metric: Metric,
    strata: Strata,
    seed: int = SEED,
    clusters: Sequence[np.ndarray] | None = None,
) -> Score:
    """Score of a metric, meaned over strata, with its interval.

    Args:
        metric: The metric that made the counts.
        strata: Counts (N_s, K) of each stratum, or (seeds, N_s, K); one stratum =
            the plain corpus score.
        seed: Of the resampling.
        clusters: (N_s,) number of each row's cluster, from 0, for each stratum; None
            where every row is one of its own.

    Returns:
        The score and the quantiles of 10,000 resamples.
    """
    plan = _Plan.of(strata, clusters)
    rows = sum(counts.shape[-2] for counts in strata)
    full = _full(metric, strata)  # (seeds,)
    if not np.isfinite(full).all():
        return Score(None, None, None, rows, plan.units)
    value = float(full.mean())
    (resampled,) = _resampled(metric, [plan.sums(strata)], plan, seed)
    if plan.freedom < 1 or resampled.shape[1] < 2:
        return Score(value, None, None, rows, plan.units)
    spread = _Spread.of([full], [resampled], plan)
    drawn = _draw_seeds(resampled, seed)
    if spread.freedom < FEW:
        # Quantiles end at the most extreme resample, which few units put too near.
        reach = spread.reach(OUTSIDE / 2) * drawn.std()
        low = max(0.0, value - reach)
        high = min(100.0, value + reach) if metric.higher_is_better else value + reach
    else:
        # Quantiles, not value +- reach: they keep the skew of the distribution.
        tail = NormalDist().cdf(-spread.reach(OUTSIDE / 2))
        low, high = np.quantile(drawn, [tail, 1 - tail])
    return Score(value, float(low), float(high), rows, plan.units)


def paired_p_value(
    metric: Metric,
    first: Strata,
    second: Strata,
    seed: int = SEED,
    clusters: Sequence[np.ndarray] | None = None,
) -> float | None:
    """Two-sided p-value of "both systems are equally good".

    Both systems are scored on the same resampled clusters (and the same resampled
    seeds, where both have as many); the differences, shifted to mean zero, are the
    null distribution of the observed difference (Riezler and Maxwell 2005, the test
    that sacrebleu calls paired bootstrap). For few clusters or seeds the p-value is
    corrected as the interval is.

    Args:
        metric: The metric that made the counts.
        first: Counts (N_s, K) of each stratum, or (seeds, N_s, K), one system.
        second: The same utterances in the same order, the other system.
        seed: Of the resampling.
        clusters: As for `score_interval`.

    Returns:
        p in (0, 1]: 1 for a tie, never less than 1 / 10,001; None where there is no
        score or no stratum has two clusters.

    Raises:
        ValueError: The systems were not scored on the same utterances.
    """
    sizes = [[c.shape[-2] for c in strata] for strata in (first, second)]
    if sizes[0] != sizes[1]:
        raise ValueError(
            f"a paired test needs the same utterances: {sizes[0]} and {sizes[1]}"
        )
    plan = _Plan.of(first, clusters)
    full = [_full(metric, strata) for strata in (first, second)]
    if plan.freedom < 1 or not np.isfinite(np.concatenate(full)).all():
        return None
    observed = abs(full[1].mean() - full[0].mean())
    sums = [plan.sums(strata) for strata in (first, second)]
    resampled = _resampled(metric, sums, plan, seed)
    if resampled[0].shape[1] < 2:
        return None
    if len(full[0]) == len(full[1]):  # seeds in pairs: what they share cancels
        full, resampled = [full[1] - full[0]], [resampled[1] - resampled[0]]
        difference = _draw_seeds(resampled[0], seed)
    else:  # no pairs of seeds: each system draws its own
        drawn = [_draw_seeds(s, seed, of) for of, s in enumerate(resampled)]
        difference = drawn[1] - drawn[0]
    null = np.abs(difference - difference.mean())
    as_far = np.sum(null >= observed - ROUNDING)
    # What was observed counts as one of the resamples, so that p is never 0.
    p = (as_far + 1) / (len(null) + 1)
    return _Spread.of(full, resampled, plan).corrected(float(p))


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's adjustment of the p-values of one family, at most 1.

    Args:
        p_values: Those of all tests of the family; None where there was no test.

    Example:
        >>> holm([0.01, 0.04, None, 0.03])
        [0.03, 0.06, None, 0.06]
    """
    known = sorted((p, i) for i, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, place) in enumerate(known):
        largest = max(largest, min(1.0, p * (len(known) - rank)))
        adjusted[place] = largest
    return adjusted


@dataclass(frozen=True)
class _Plan:
    """What is drawn, and what belongs to it.

    Attributes:
        rows: (N_s,) cluster of each row, for each stratum.
        pools: Sizes of the sets of clusters that are drawn from, one after the other.
        references: (C, strata) size of the references of each cluster.
    """

    rows: list[np.ndarray]
    pools: list[int]
    references: np.ndarray

    @classmethod
    def of(cls, strata: Strata, clusters: Sequence[np.ndarray] | None) -> "_Plan":
        sizes = [counts.shape[-2] for counts in strata]
        if clusters is None:
            starts = np.cumsum([0, *sizes])
            of = [start + np.arange(size) for start, size in zip(starts, sizes)]
            pools = sizes
        else:
            of, pools = list(clusters), [1 + max(int(c.max()) for c in clusters)]
        references = np.zeros((sum(pools), len(strata)))
        for number, (counts, rows) in enumerate(zip(strata, of)):
            one = counts.reshape(-1, *counts.shape[-2:])[0]  # the same for every seed
            np.add.at(references[:, number], rows, one[:, REFERENCE_SIZE])
        return cls(of, pools, references)

    @property
    def units(self) -> int:
        return sum(self.pools)

    @property
    def freedom(self) -> int:
        """Degrees of freedom: each pool has lost one to its mean."""
        return self.units - len(self.pools)

    def sums(self, strata: Strata) -> list[np.ndarray]:
        """Counts of each cluster in each stratum, (seeds, C, K) each."""
        summed = []
        for counts, rows in zip(strata, self.rows):
            runs = counts.reshape(-1, *counts.shape[-2:])
            of_cluster = np.zeros((len(runs), self.units, runs.shape[-1]))
            np.add.at(of_cluster, (slice(None), rows), runs)
            summed.append(of_cluster)
        return summed

    def draw(self, number: int, rng: np.random.Generator) -> np.ndarray:
        """How often each cluster is in a resample that has a score, (<= number, C)."""
        times = self._draw(number, rng)
        # A stratum without a reference has no score. Its resample is drawn again, not
        # left out, so that the number of resamples does not depend on the data.
        for _ in range(ATTEMPTS):
            lost = ~self._scored(times)
            if not lost.any():
                break
            times[lost] = self._draw(int(lost.sum()), rng)
        return times[self._scored(times)]

    def _scored(self, times: np.ndarray) -> np.ndarray:
        return (times @ self.references > 0).all(axis=1)

    def _draw(self, number: int, rng: np.random.Generator) -> np.ndarray:
        return np.hstack([_draw(size, number, rng) for size in self.pools])


def _draw(size: int, number: int, rng: np.random.Generator) -> np.ndarray:
    """How often each of ``size`` is drawn with replacement, (number, size)."""
    drawn = rng.integers(size, size=(number, size))
    # Counts of clusters, not copies of rows: a resample then is one product with the
    # summed counts. Offset each row so that one bincount counts all rows at once.
    flat = (drawn + size * np.arange(number)[:, None]).ravel()
    times = np.bincount(flat, minlength=number * size).reshape(number, size)
    return times.astype(np.float64)


def _full(metric: Metric, strata: Strata) -> np.ndarray:
    """Score of the whole set with each seed, (seeds,)."""
    totals = [np.atleast_2d(counts.sum(axis=-2)) for counts in strata]  # (seeds, K)
    return np.mean([metric.formula(t) for t in totals], axis=0)


def _resampled(
    metric: Metric, systems: Sequence[list[np.ndarray]], plan: _Plan, seed: int
) -> list[np.ndarray]:
    """Scores of each system on the same resampled clusters, (seeds, R) each."""
    rng = np.random.default_rng(seed)
    scores: list[list[np.ndarray]] = [[] for _ in systems]
    for _ in range(RESAMPLES // CHUNK):
        times = plan.draw(CHUNK, rng)
        for found, sums in zip(scores, systems):
            of_strata = [_scores(metric, of_cluster, times) for of_cluster in sums]
            found.append(np.mean(of_strata, axis=0))
    return [np.concatenate(found, axis=1) for found in scores]


def _scores(metric: Metric, of_cluster: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Scores of the resamples of one stratum: (seeds, C, K), (R, C) -> (seeds, R)."""
    totals = times @ of_cluster  # (seeds, R, K)
    return metric.formula(totals.reshape(-1, totals.shape[-1])).reshape(
        len(of_cluster), -1
    )


def _draw_seeds(scores: np.ndarray, seed: int, system: int = 0) -> np.ndarray:
    """Mean of seeds drawn with replacement: (seeds, R) -> (R,)."""
    rng = np.random.default_rng([seed, 1 + system])  # not the stream of the clusters
    drawn = rng.integers(len(scores), size=scores.shape)
    return np.take_along_axis(scores, drawn, axis=0).mean(axis=0)


@dataclass(frozen=True)
class _Spread:
    """How a distribution of resamples compares with that of the score itself.

    Attributes:
        ratio: Standard deviation that it should have over the one that it has.
        freedom: Degrees of freedom behind it.
    """

    ratio: float
    freedom: float

    @classmethod
    def of(
        cls, full: Sequence[np.ndarray], resampled: Sequence[np.ndarray], plan: _Plan
    ) -> "_Spread":
        """From the parts that clusters and seeds have in the variance.

        Args:
            full: (seeds,) scores of the whole set, for each system that draws its own
                seeds.
            resampled: (seeds, R) scores of the resampled clusters, likewise.
            plan: What was drawn.
        """
        # Clusters are shared by both systems: the variance of their difference counts.
        signs = (1, -1)
        means = sum(
            sign * scores.mean(axis=0) for sign, scores in zip(signs, resampled)
        )
        parts = [(float(np.var(means)), plan.freedom, plan.units)]
        for scores in full:
            if len(scores) > 1:
                variance = float(np.var(scores)) / len(scores)
                parts.append((variance, len(scores) - 1, len(scores)))
        spread = sum(variance for variance, _, _ in parts)
        if spread <= ROUNDING**2:  # all clusters agree: what is left is their number
            _, freedom, number = parts[0]
            return cls((number / freedom) ** 0.5, freedom)
        # A plug-in variance is (n - 1) / n of the right one; then Satterthwaite.
        right = [(v * number / freedom, freedom) for v, freedom, number in parts]
        total = sum(v for v, _ in right)
        freedom = total**2 / sum(v**2 / f for v, f in right)
        return cls((total / spread) ** 0.5, freedom)

    def reach(self, tail: float) -> float:
        """Standard deviations of the resamples up to the ``tail`` of the score."""
        from scipy.special import stdtrit  # not for a --help

        return float(-self.ratio * stdtrit(self.freedom, tail))

    def corrected(self, p: float) -> float:
        """The p-value that a two-sided p of the resamples stands for."""
        from scipy.special import stdtr

        distance = NormalDist().inv_cdf(p / 2) / self.ratio
        return float(2 * stdtr(self.freedom, distance))
