"""Mutual information of a frame's class and its expert, and its baseline by chance."""

import numpy as np

SHUFFLES = 20
SEED = 1


def count_pairs(
    classes: np.ndarray, experts: np.ndarray, shape: tuple[int, int]
) -> np.ndarray:
    """Frames of each class at each expert.

    Args:
        classes: ``(N,)``; frames with a negative class do not count.
        experts: ``(N,)``.
        shape: Number of classes C, number of experts E.

    Returns:
        ``(C, E)``.
    """
    known = classes >= 0
    flat = classes[known] * shape[1] + experts[known]
    return np.bincount(flat, minlength=shape[0] * shape[1]).reshape(shape)


def entropy(counts: np.ndarray) -> float:
    """Entropy of the distribution of counts, in bits; 0 without any.

    Example:
        >>> entropy(np.array([5, 5, 0]))
        1.0
    """
    counts = counts[counts > 0].astype(float)
    if not len(counts):
        return 0.0
    p = counts / counts.sum()
    return float(-(p * np.log2(p)).sum() + 0)


def mutual_information(counts: np.ndarray) -> float:
    """Mutual information of row and column, in bits.

    ``H(class) + H(expert) - H(class, expert)``, of 0 to the smaller of the first two.

    Args:
        counts: ``(C, E)``.

    Example:
        >>> mutual_information(np.array([[5, 0], [0, 5]]))
        1.0
    """
    of_class, of_expert = counts.sum(axis=1), counts.sum(axis=0)
    information = entropy(of_class) + entropy(of_expert) - entropy(counts.ravel())
    return max(information, 0.0)  # not below 0 by rounding


def shuffled(
    classes: np.ndarray, runs: np.ndarray, times: int = SHUFFLES
) -> list[np.ndarray]:
    """Shuffle the classes: a baseline in which class and expert are independent.

    A run of frames (those of one unit, a stretch of silence) keeps its frames and gets
    the class of another run: neighboring frames are alike, and shuffled frame by
    frame they would give too low a baseline.

    Args:
        classes: ``(N,)``, the same within a run; negative where unknown, which stays.
        runs: ``(N,)`` number of the run.
        times: How many to make.

    Returns:
        ``times`` arrays ``(N,)``.
    """
    known = classes >= 0
    _, first, run = np.unique(runs[known], return_index=True, return_inverse=True)
    of_run = classes[known][first]
    rng = np.random.default_rng(SEED)
    shuffles = []
    for _ in range(times):
        new = classes.copy()
        new[known] = rng.permutation(of_run)[run]
        shuffles.append(new)
    return shuffles
