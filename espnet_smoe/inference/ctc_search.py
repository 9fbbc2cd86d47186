"""Units straight from a CTC head, without lexicon and language model: the baselines."""

import numpy as np

from espnet_smoe.inference.hypotheses import Hypothesis

NEVER = -np.inf


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


def greedy(log_probs: np.ndarray, blank: int = 0) -> list[int]:
    """The units of the most probable label of each frame.

    Args:
        log_probs: ``(T, V)``.
        blank: Id of the blank.

    Example:
        >>> greedy(np.log([[0.1, 0.9], [0.2, 0.8], [0.7, 0.3]]))
        [1]
    """
    return collapse(np.argmax(log_probs, axis=1), blank)


def prefix_beam(
    log_probs: np.ndarray, blank: int = 0, beam: int = 8
) -> list[Hypothesis]:
    """The most probable sequences of units, summed over their alignments.

    Graves and Jaitly 2014, "Towards end-to-end speech recognition with recurrent neural
    networks", Algorithm 1, all prefixes and units of a frame at once.

    Args:
        log_probs: ``(T, V)``.
        blank: Id of the blank.
        beam: Prefixes kept, K. A sum lacks the alignments of prefixes that were left
            out on the way.

    Returns:
        At most K hypotheses, best first, with their log probabilities.

    Raises:
        ValueError: The beam is below 1.

    Example:
        >>> best = prefix_beam(np.log([[0.6, 0.4], [0.6, 0.4]]), beam=2)[0]
        >>> best.tokens, round(float(np.exp(best.score)), 2)
        ((1,), 0.64)
    """
    if beam < 1:
        raise ValueError(f"beam must be at least 1, got {beam}")
    prefixes = _Prefixes()
    nodes = np.zeros(1, dtype=np.int64)  # (K,) the beam, first the empty prefix
    after_blank, after_unit = np.zeros(1), np.full(1, NEVER)  # (K,) log probabilities
    for frame in np.asarray(log_probs, dtype=np.float64):
        parents, lasts = prefixes.ends(nodes)
        total = np.logaddexp(after_blank, after_unit)
        stay_blank = total + frame[blank]
        stay_unit = np.where(lasts < 0, NEVER, after_unit + frame[lasts])
        longer = total[:, None] + frame  # (K, V)
        longer[:, blank] = NEVER
        spoken = np.flatnonzero(lasts >= 0)
        # said again, a unit needs a blank before it
        longer[spoken, lasts[spoken]] = after_blank[spoken] + frame[lasts[spoken]]
        # what one prefix grows to may be another one of the beam
        short, long = np.nonzero(nodes[:, None] == parents)
        stay_unit[long] = np.logaddexp(stay_unit[long], longer[short, lasts[long]])
        longer[short, lasts[long]] = NEVER
        scores = np.concatenate(
            [np.logaddexp(stay_blank, stay_unit), longer.ravel()]
        )  # (K + K V,)
        best = _best(scores, beam)
        stays = best < len(nodes)
        kept, grown = best[stays], best[~stays] - len(nodes)
        origin, unit = np.divmod(grown, len(frame))
        new = [prefixes.grow(n, u) for n, u in zip(nodes[origin], unit)]
        nodes = np.concatenate([nodes[kept], np.array(new, dtype=np.int64)])
        after_unit = np.concatenate([stay_unit[kept], longer[origin, unit]])
        after_blank = np.concatenate([stay_blank[kept], np.full(len(new), NEVER)])
    scores = np.logaddexp(after_blank, after_unit)
    order = np.argsort(-scores, kind="stable")
    return [Hypothesis(prefixes.units(nodes[i]), float(scores[i])) for i in order]


def _best(scores: np.ndarray, k: int) -> np.ndarray:
    """Places of the k largest scores, without impossible ones, in any order."""
    k = min(k, len(scores))
    best = np.argpartition(-scores, k - 1)[:k]
    return np.sort(best[scores[best] > NEVER])


class _Prefixes:
    """All prefixes that a search has met, each one unit longer than its parent."""

    def __init__(self) -> None:
        self._ends = [(-1, -1)]  # parent and last unit; the empty prefix has none
        self._numbers: dict[tuple[int, int], int] = {}

    def ends(self, nodes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Parents and last units ``(K,)`` of prefixes."""
        parents, lasts = zip(*(self._ends[node] for node in nodes))
        return np.array(parents), np.array(lasts)

    def grow(self, node: int, unit: int) -> int:
        """The prefix with one unit more."""
        end = (int(node), int(unit))
        if end not in self._numbers:
            self._numbers[end] = len(self._ends)
            self._ends.append(end)
        return self._numbers[end]

    def units(self, node: int) -> tuple[int, ...]:
        """All units of a prefix."""
        units = []
        while node:
            node, unit = self._ends[node]
            units.append(unit)
        return tuple(units[::-1])
