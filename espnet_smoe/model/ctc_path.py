"""From one CTC label a frame to units."""

import numpy as np


def collapse(labels: np.ndarray, blank: int) -> list[int]:
    """Turn one label a frame into units: repeats count once, blanks not at all.

    Args:
        labels: ``(T,)``.
        blank: Id of the blank.

    Example:
        >>> collapse(np.array([0, 5, 5, 0, 5, 3, 0]), blank=0)
        [5, 5, 3]
    """
    labels = np.asarray(labels)
    begins = np.ones(len(labels), dtype=bool)
    begins[1:] = labels[1:] != labels[:-1]
    return labels[begins & (labels != blank)].tolist()
