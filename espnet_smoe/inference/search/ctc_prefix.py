"""Units straight from a CTC head, without lexicon and language model: the baselines."""

import numpy as np

from espnet_smoe.inference.search.hypothesis import NEG_INF, Hypothesis
from espnet_smoe.model.ctc_path import collapse


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


class PrefixBeam:
    """The most probable sequences of units, summed over their alignments.

    Graves and Jaitly 2014, "Towards end-to-end speech recognition with recurrent neural
    networks", Algorithm 1, all prefixes and units of a frame at once. Frames come in
    pieces of any length, as a stream brings them; how they are cut changes nothing.

    A prefix that was left out on the way takes the alignments that pass through it
    along. What is kept grows by at most K prefixes a frame, a hundred bytes each.

    Args:
        blank: Id of the blank.
        beam: Prefixes kept, K.

    Raises:
        ValueError: The beam is below 1.

    Example:
        >>> search = PrefixBeam(beam=2)
        >>> search.advance(np.log([[0.6, 0.4]]))
        >>> search.advance(np.log([[0.6, 0.4]]))
        >>> search.nbest()[0].tokens
        (1,)
    """

    def __init__(self, blank: int = 0, beam: int = 8):
        if beam < 1:
            raise ValueError(f"beam must be at least 1, got {beam}")
        self.blank, self.beam = blank, beam
        self._prefixes = _Prefixes()
        self._nodes = np.zeros(1, dtype=np.int64)  # (K,) first the empty prefix alone
        # what came last decides whether the same unit goes on or begins again
        self._after_blank = np.zeros(1)  # (K,) log probabilities
        self._after_unit = np.full(1, NEG_INF)

    def advance(self, log_probs: np.ndarray) -> None:
        """Take further frames.

        Args:
            log_probs: ``(T, V)``.

        Raises:
            ValueError: One is NaN.
        """
        log_probs = np.asarray(log_probs)
        if np.isnan(log_probs).any():
            raise ValueError(
                "the CTC head gives NaN: the checkpoint is broken, take an earlier one"
            )
        for frame, units in zip(log_probs, self._likely(log_probs)):
            self._step(frame, units)

    def nbest(self) -> list[Hypothesis]:
        """At most K hypotheses of all frames so far, best first.

        Their scores are log probabilities.
        """
        scores = np.logaddexp(self._after_blank, self._after_unit)
        order = np.argsort(-scores, kind="stable")
        return [
            Hypothesis(self._prefixes.units(self._nodes[i]), float(scores[i]))
            for i in order
        ]

    def _likely(self, log_probs: np.ndarray) -> np.ndarray:
        """The units ``(T, C)`` by which prefixes may grow in each frame.

        The best 2 K + 1 are enough for the same result as all: of these a prefix may
        not grow by the blank, less likely by its own last unit, and K - 1 at most lead
        to other prefixes of the beam. K remain that are as good as any other unit.
        """
        count = 2 * self.beam + 1
        frames, vocabulary = log_probs.shape
        if vocabulary <= count:
            return np.broadcast_to(np.arange(vocabulary), log_probs.shape)
        return np.argpartition(log_probs, -count, axis=1)[:, -count:]

    def _step(self, frame: np.ndarray, units: np.ndarray) -> None:
        """Take one frame ``(V,)``; prefixes grow by ``units`` ``(C,)`` only."""
        nodes, after_blank, after_unit = (
            self._nodes,
            self._after_blank,
            self._after_unit,
        )
        parents, lasts = self._prefixes.ends(nodes)  # (K,) each
        total = np.logaddexp(after_blank, after_unit)
        emission = frame[lasts].astype(np.float64)  # the empty prefix: anything
        # a prefix stays what it is by a blank, or by its last unit going on
        stay_blank = total + frame[self.blank]
        stay_unit = after_unit + emission
        gains = np.where(units == self.blank, NEG_INF, frame[units])
        longer = total[:, None] + gains  # (K, C)
        # the same unit again needs a blank before it: CTC joins repeats
        again = units == lasts[:, None]
        longer[again] = (after_blank + emission)[again.nonzero()[0]]
        # what one prefix grows to may be another one of the beam
        short, long = (nodes[:, None] == parents).nonzero()
        if len(short):
            before = np.where(
                lasts[short] == lasts[long], after_blank[short], total[short]
            )
            # both ways to it count as one prefix, and it stands in the beam once
            stay_unit[long] = np.logaddexp(stay_unit[long], before + emission[long])
            pair, unit = again[long].nonzero()
            longer[short[pair], unit] = NEG_INF
        scores = np.concatenate([np.logaddexp(stay_blank, stay_unit), longer.ravel()])
        best = _best(scores, self.beam)
        kept, grown = best[best < len(nodes)], best[best >= len(nodes)] - len(nodes)
        origin, place = np.divmod(grown, len(units))
        new = self._prefixes.grow(nodes[origin], units[place])
        self._nodes = np.concatenate([nodes[kept], new])
        self._after_unit = np.concatenate([stay_unit[kept], longer[origin, place]])
        self._after_blank = np.concatenate(
            [stay_blank[kept], np.full(len(new), NEG_INF)]
        )


def prefix_beam(
    log_probs: np.ndarray, blank: int = 0, beam: int = 8
) -> list[Hypothesis]:
    """`PrefixBeam` over a whole utterance.

    Args:
        log_probs: ``(T, V)``.
        blank: Id of the blank.
        beam: Prefixes kept, K.

    Returns:
        At most K hypotheses, best first, with their log probabilities.

    Raises:
        ValueError: The beam is below 1.

    Example:
        >>> best = prefix_beam(np.log([[0.6, 0.4], [0.6, 0.4]]), beam=2)[0]
        >>> best.tokens, round(float(np.exp(best.score)), 2)
        ((1,), 0.64)
    """
    search = PrefixBeam(blank, beam)
    search.advance(log_probs)
    return search.nbest()


def _best(scores: np.ndarray, k: int) -> np.ndarray:
    """Places of the k largest scores, without impossible ones, in any order."""
    k = min(k, len(scores))
    best = np.argpartition(-scores, k - 1)[:k]
    return np.sort(best[scores[best] > NEG_INF])


class _Prefixes:
    """All prefixes that a search has met, each one unit longer than its parent."""

    def __init__(self) -> None:
        self._ends = [(-1, -1)]  # parent and last unit; the empty prefix has none
        self._numbers: dict[tuple[int, int], int] = {}

    def ends(self, nodes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Parents and last units ``(K,)`` of prefixes."""
        ends = np.array([self._ends[node] for node in nodes.tolist()])
        return ends[:, 0], ends[:, 1]

    def grow(self, nodes: np.ndarray, units: np.ndarray) -> np.ndarray:
        """Prefixes ``(n,)`` with one unit more each."""
        grown = []
        for end in zip(nodes.tolist(), units.tolist()):
            if end not in self._numbers:
                self._numbers[end] = len(self._ends)
                self._ends.append(end)
            grown.append(self._numbers[end])
        return np.array(grown, dtype=np.int64)

    def units(self, node: int) -> tuple[int, ...]:
        """All units of a prefix."""
        units = []
        while node:
            node, unit = self._ends[node]
            units.append(unit)
        return tuple(units[::-1])
