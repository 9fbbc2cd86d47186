"""Clusters of utterances with correlated errors: the units of the bootstrap.

All utterances of a speaker, where ``utt2spk`` tells speakers apart; else all versions
of an utterance that passed several conditions; else each utterance alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from espnet_smoe.report.scoring.pairing import look_up, read_text

SPEAKERS, UTTERANCES = "speakers", "utterances"
ROUGH = 10  # an interval of fewer clusters is rough


@dataclass(frozen=True)
class Clusters:
    """Clusters of the rows of a test set.

    Attributes:
        of: (N,) number of each row's cluster, from 0; None where each row is its own.
        by: What a cluster is: `SPEAKERS` or `UTTERANCES`.
        why: Why it is not speakers, in words; empty where it is.
    """

    of: np.ndarray | None
    by: str
    why: str = ""


def find_clusters(
    utts: Sequence[str],
    speakers: Sequence[str] | None,
    sources: np.ndarray | None = None,
) -> Clusters:
    """Put a test set's rows into clusters.

    Args:
        utts: Ids of the N rows.
        speakers: (N,) who speaks each; None where unknown.
        sources: (N,) number of the utterance that each row is a version of; None where
            there are no versions.

    Example:
        >>> find_clusters(["a1", "a2", "b1"], ["a", "a", "b"]).of.tolist()
        [0, 0, 1]
    """
    source = np.arange(len(utts)) if sources is None else sources
    why = "speakers are not known: no utt2spk"
    if speakers is not None:
        number = np.unique(speakers, return_inverse=True)[1]
        of = _joined(number, source)
        many = len(np.unique(number)) > 1
        if many and of.max() < len(np.unique(source)) - 1:
            return Clusters(of, SPEAKERS)
        why = "all are of one speaker"
        if many:
            why = "utt2spk gives every utterance a speaker of its own"
    return Clusters(sources, UTTERANCES, why)


def _joined(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(N,) clusters of rows that share either number, directly or through others.

    Args:
        first: (N,) numbers below N.
        second: (N,) likewise.
    """
    from scipy.sparse import coo_matrix  # not for a --help
    from scipy.sparse.csgraph import connected_components

    size = len(first)
    rows = np.arange(size)
    links = np.concatenate([size + first, 2 * size + second])  # a node a number
    edges = np.ones(2 * size), (np.tile(rows, 2), links)
    nodes = coo_matrix(edges, shape=(3 * size, 3 * size))
    return connected_components(nodes)[1][:size]


def speakers_of(data: Path, utts: Sequence[str]) -> list[str] | None:
    """Who speaks each utterance, from ``utt2spk``; None without it.

    Raises:
        ValueError: It has no speaker for some of the utterances.
    """
    path = data / "utt2spk"
    return look_up(read_text(path, ""), utts, path) if path.is_file() else None


def sources_of(data: Path, utts: Sequence[str]) -> np.ndarray | None:
    """(N,) number of each utterance's source, where ids are ``<source>-<condition>``.

    None where they are not, as in a set with one condition for each utterance.
    """
    path = data / "utt2condition"
    if not path.is_file():
        return None
    conditions = look_up(read_text(path, ""), utts, path)
    ends = [f"-{condition}" for condition in conditions]
    if not all(utt.endswith(end) for utt, end in zip(utts, ends)):
        return None
    names = [utt.removesuffix(end) for utt, end in zip(utts, ends)]
    return np.unique(names, return_inverse=True)[1]


def resampled(by: str, units: int, why: str = "") -> str:
    """What was resampled, in words.

    Example:
        >>> resampled("speakers", 8)
        '8 speakers, each with all its utterances (fewer than 10: rough)'
    """
    what = f"{units} {by}"
    if by == SPEAKERS:
        what += ", each with all its utterances"
    remarks = [f"{why}; another voice may differ by more"] if why else []
    remarks += [f"fewer than {ROUGH}: rough"] if units < ROUGH else []
    return what + (f" ({'; '.join(remarks)})" if remarks else "")
