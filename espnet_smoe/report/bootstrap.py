"""How sure a score is: intervals and p-values by resampling utterances and seeds.

A score may be a mean over strata (the mean over the narrowband conditions, say):
utterances are then resampled inside each stratum, so that every resample keeps
the test set's design. Where the same source utterance was heard through several
conditions it is the sources that are resampled, each with all that was heard of it:
its versions succeed and fail together. Where a system was trained with several seeds
its score is the mean over them, and a resample draws seeds as well; a few seeds tell
little about all seeds, so such an interval is rather too narrow than too wide.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from espnet_smoe.report.scores import Metric

RESAMPLES = 1000
SEED = 1


@dataclass(frozen=True)
class Score:
    """A score with its 95 % interval over ``n`` utterances."""

    value: float
    low: float
    high: float
    n: int

    def to_dict(self) -> dict:
        """The entry of ``scores.json``."""
        return {k: round(v, 4) for k, v in asdict(self).items()}


def score_interval(
    metric: Metric,
    strata: Sequence[np.ndarray],
    seed: int = SEED,
    sources: Sequence[np.ndarray] | None = None,
) -> Score:
    """Score of a metric, meaned over strata, with its percentile interval.

    Args:
        metric: The metric that made the counts.
        strata: Counts (N_s, K) of each stratum, or (seeds, N_s, K); one stratum =
            the plain corpus score.
        seed: Seed of the resampling.
        sources: (N_s,) number of each row's source, from 0, for each stratum; None
            where every row has its own.

    Returns:
        The score and the 2.5 % and 97.5 % quantiles of 1,000 resamples.
    """
    low, high = np.quantile(_resampled(metric, strata, seed, sources), [0.025, 0.975])
    return Score(
        value=float(_value(metric, strata)),
        low=float(low),
        high=float(high),
        n=sum(counts.shape[-2] for counts in strata),
    )


def paired_p_value(
    metric: Metric,
    first: Sequence[np.ndarray],
    second: Sequence[np.ndarray],
    seed: int = SEED,
    sources: Sequence[np.ndarray] | None = None,
) -> float:
    """Two-sided p-value of "both systems are equally good".

    Both systems are scored on the same resampled utterances (and the same resampled
    seeds, where both have as many); the differences, shifted to mean zero, are the
    null distribution of the observed difference (Riezler and Maxwell 2005, the test
    that sacrebleu calls paired bootstrap).

    Args:
        metric: The metric that made the counts.
        first: Counts (N_s, K) of each stratum, or (seeds, N_s, K), one system.
        second: The same utterances in the same order, the other system.
        seed: Seed of the resampling.
        sources: As for `score_interval`.

    Returns:
        p in (0, 1]; 1 for identical systems, at least 1 / 1,001.

    Raises:
        ValueError: The systems were not scored on the same utterances.
    """
    sizes = [c.shape[-2] for c in first], [c.shape[-2] for c in second]
    if sizes[0] != sizes[1]:
        raise ValueError(
            f"a paired test needs the same utterances: {sizes[0]} and {sizes[1]}"
        )
    observed = abs(_value(metric, second) - _value(metric, first))
    # One seed and equal sizes: both systems see the same draws.
    difference = _resampled(metric, second, seed, sources) - _resampled(
        metric, first, seed, sources
    )
    null = np.abs(difference - difference.mean())
    return float((np.sum(null >= observed) + 1) / (RESAMPLES + 1))


def _value(metric: Metric, strata: Sequence[np.ndarray]) -> float:
    totals = [counts.sum(axis=-2) for counts in strata]  # (K) or (seeds, K) each
    return np.mean([metric.formula(np.atleast_2d(t)) for t in totals])


def _resampled(
    metric: Metric,
    strata: Sequence[np.ndarray],
    seed: int,
    sources: Sequence[np.ndarray] | None,
) -> np.ndarray:
    """Scores of the resampled corpora, (RESAMPLES,)."""
    rng = np.random.default_rng(seed)
    runs = [counts.reshape(-1, *counts.shape[-2:]) for counts in strata]
    if sources is None:
        drawn = [_draw(counts.shape[1], rng) for counts in runs]
    else:
        times = _draw(1 + max(int(of.max()) for of in sources), rng)
        drawn = [times[:, of] for of in sources]
    scores = [_scores(metric, counts, times) for counts, times in zip(runs, drawn)]
    return _draw_seeds(np.mean(scores, axis=0), seed)


def _draw_seeds(scores: np.ndarray, seed: int) -> np.ndarray:
    """Mean of seeds drawn with replacement: (seeds, RESAMPLES) -> (RESAMPLES,)."""
    drawn = np.random.default_rng(seed).integers(len(scores), size=scores.shape)
    return np.take_along_axis(scores, drawn, axis=0).mean(axis=0)


def _draw(number: int, rng: np.random.Generator) -> np.ndarray:
    """How often each of ``number`` is drawn with replacement, (RESAMPLES, number)."""
    drawn = rng.integers(number, size=(RESAMPLES, number))
    # Offset each row so that one bincount counts all rows at once.
    flat = (drawn + number * np.arange(RESAMPLES)[:, None]).ravel()
    return np.bincount(flat, minlength=RESAMPLES * number).reshape(RESAMPLES, number)


def _scores(metric: Metric, counts: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Scores of the resamples of one stratum, the same draws for every seed.

    Args:
        metric: The metric that made the counts.
        counts: (seeds, N, K).
        times: (RESAMPLES, N) how often each row is drawn.

    Returns:
        (seeds, RESAMPLES).
    """
    totals = times.astype(np.float64) @ counts  # (seeds, RESAMPLES, K)
    scores = metric.formula(totals.reshape(-1, totals.shape[-1]))
    return scores.reshape(len(counts), -1)
