"""Errors of utterances alone and of the recording that they are joined to."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import jiwer
import numpy as np

RESAMPLES = 1000


@dataclass(frozen=True)
class Aligned:
    """A text beside the references of utterances.

    Attributes:
        deleted: Units of the references that it lacks, ``(units,)``.
        wrong: Those that it lacks or has another unit for.
        inserted: How many more it has before each of them and behind the last,
            ``(units + 1,)``.
    """

    deleted: np.ndarray
    wrong: np.ndarray
    inserted: np.ndarray

    @classmethod
    def of(cls, references: Sequence[Sequence[str]], text: Sequence[str]) -> "Aligned":
        """Align units of utterances, one behind another, with those of a text."""
        units = [unit for of_one in references for unit in of_one]
        deleted, wrong = np.zeros((2, len(units)), bool)
        inserted = np.zeros(len(units) + 1, int)
        if not units:
            return cls(deleted, wrong, inserted)
        for chunk in jiwer.process_words(" ".join(units), " ".join(text)).alignments[0]:
            at = slice(chunk.ref_start_idx, chunk.ref_end_idx)
            deleted[at] |= chunk.type == "delete"
            wrong[at] |= chunk.type in ("delete", "substitute")
            if chunk.type == "insert":
                inserted[at.start] += chunk.hyp_end_idx - chunk.hyp_start_idx
        return cls(deleted, wrong, inserted)

    @classmethod
    def alone(
        cls, references: Sequence[Sequence[str]], texts: Sequence[Sequence[str]]
    ) -> "Aligned":
        """Align each utterance with its own text."""
        each = [cls.of([one], text) for one, text in zip(references, texts)]
        inserted = np.zeros(sum(map(len, references)) + 1, int)
        for first, one in zip(starts_of(references), each):
            inserted[first : first + len(one.inserted)] += one.inserted
        return cls(
            np.concatenate([one.deleted for one in each]),
            np.concatenate([one.wrong for one in each]),
            inserted,
        )

    def errors(self, references: Sequence[Sequence[str]]) -> np.ndarray:
        """Errors of each utterance; those between two count to the later one."""
        own = self.inserted[:-1] + self.wrong
        own[-1:] += self.inserted[-1]
        borders = [*starts_of(references), len(own)]
        return np.array([own[a:b].sum() for a, b in pairwise(borders)])


def starts_of(references: Sequence[Sequence[str]]) -> list[int]:
    """The number of the first unit of each utterance."""
    return [0, *np.cumsum([len(units) for units in references])[:-1].tolist()]


def at_seams(
    references: Sequence[Sequence[str]], alone: Aligned, together: Aligned, near: int
) -> tuple[int, int]:
    """Units near seams that are missing, and those that are too many.

    Args:
        references: Units of each utterance.
        alone: Their texts alone.
        together: That of the whole recording.
        near: How many on either side of a seam belong to it.

    Example:
        >>> spoken = [["a", "b"], ["c", "d"]]
        >>> alone = Aligned.alone(spoken, spoken)
        >>> at_seams(spoken, alone, Aligned.of(spoken, ["a", "b", "d"]), 1)
        (1, 0)
        >>> at_seams(spoken, alone, Aligned.of(spoken, "a b b c d".split()), 1)
        (0, 1)
    """
    lost = doubled = 0
    missing = together.deleted & ~alone.wrong
    counted = np.zeros(len(missing), bool)
    for seam in starts_of(references)[1:]:
        at = slice(max(0, seam - near), seam + near)
        lost += int((missing[at] & ~counted[at]).sum())
        counted[at] = True
        wide = slice(max(0, seam - near), seam + near + 1)
        more = together.inserted[wide].sum() - alone.inserted[wide].sum()
        doubled += max(0, int(more))
    return lost, doubled


def change(
    alone: np.ndarray, together: np.ndarray, seed: int = 0
) -> tuple[float, float, float]:
    """Percent that the whole has more errors, and its 95 % interval.

    Args:
        alone: Errors of each utterance, ``(utterances,)``.
        together: The same in the whole recording.
        seed: Of the bootstrap.
    """
    chosen = np.random.default_rng(seed).integers(
        len(alone), size=(RESAMPLES, len(alone))
    )
    before = np.maximum(alone[chosen].sum(axis=1), 1)
    low, high = np.percentile(together[chosen].sum(axis=1) / before, [2.5, 97.5])
    whole = together.sum() / max(1, alone.sum())
    return 100 * (whole - 1), 100 * (low - 1), 100 * (high - 1)
