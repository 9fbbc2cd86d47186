"""Minibatches of an epoch from shards, drawn from the seed and the epoch alone.

The shards are put in a random order, and each process takes a stretch of as many
utterances as the others. It goes through it a window at a time, whose minibatches
are drawn of utterances about as long as each other. Each process has as many of them
in a window as the others, or the trainer would leave out what some have more.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from espnet_smoe.data.speech.shard import read_ahead
from espnet_smoe.training.shard_tables import Row, ShardTables

WINDOW = 8192  # utterances that are mixed, of a process
BUCKET = 1.1  # the longest of a bucket is at most so many times as long as another


@dataclass(frozen=True)
class Limit:
    """The size of a minibatch.

    Attributes:
        elements: Of its padded arrays, at most, where one utterance is not longer;
            0 for any.
        utterances: At most; 0 for any.
    """

    elements: int = 0
    utterances: int = 0

    def most(self, longest: float) -> int:
        """Utterances of a minibatch whose longest one has so many elements."""
        most = max(1, int(self.elements // longest)) if self.elements else None
        return min(filter(None, (most, self.utterances)))


class ShardBatches:
    """The minibatches of one process in one epoch; a `batch_sampler` of rows.

    Args:
        tables: Of the training set.
        limit: Of a minibatch of this process.
        seed: Of the training.
        epoch: From 1.
        process: Number of this process, and of all.
        window: Utterances that are mixed.

    Raises:
        ValueError: There are more processes than utterances.
    """

    def __init__(
        self,
        tables: ShardTables,
        limit: Limit,
        seed: int,
        epoch: int,
        process: tuple[int, int] = (0, 1),
        window: int = WINDOW,
    ):
        self._tables, self._limit, self._process = tables, limit, process
        self._seed, self._skipped = (seed, epoch), 0
        count, (_, processes) = len(tables.lengths), process
        if count < processes:
            raise ValueError(
                f"{count} utterances for {processes} processes: start fewer (--ngpu, "
                "--num_nodes, --train_nj)"
            )
        shards = len(tables.shards) - 1
        self._order = np.random.default_rng(self._seed).permutation(shards)
        sizes = np.diff(tables.shards)[self._order]
        self._ends = np.cumsum(sizes)  # of each shard, in the order of this epoch
        self._windows = max(1, round(count / processes / window))
        what = (limit, seed, epoch, process, window, tables.fingerprint)
        self.fingerprint = hashlib.sha256(repr(what).encode()).hexdigest()

    def __len__(self) -> int:
        return sum(self._counts) - self._skipped

    def skip(self, number: int) -> None:
        """Leave out the first minibatches, without reading them."""
        self._skipped += number

    def __iter__(self) -> Iterator[list[Row]]:
        skipped = self._skipped
        following = None
        for window in range(self._windows):
            if skipped >= self._counts[window]:
                skipped -= self._counts[window]
                continue
            rows = following or self._rows(window)
            following = None
            if window + 1 < self._windows:
                following = self._rows(window + 1)
            for batch in self._drawn(window)[skipped:]:
                yield [rows[at] for at in batch]
            skipped = 0

    @cached_property
    def _counts(self) -> list[int]:
        """How many minibatches each process has of each window."""
        return [self._count(window) for window in range(self._windows)]

    def _count(self, window: int) -> int:
        own = [self._lengths(window, process) for process in range(self._process[1])]
        wanted = max(len(_packed(lengths, self._limit)[1]) for lengths in own)
        return min(wanted, *map(len, own)) if len(own) > 1 else wanted

    def _stretch(self, window: int, process: int) -> tuple[int, int]:
        """Places in the order of this epoch, from the first to behind the last."""
        count, processes = len(self._tables.lengths), self._process[1]
        first, last = (count * n // processes for n in (process, process + 1))
        size = last - first
        begin, end = (size * n // self._windows for n in (window, window + 1))
        return first + begin, first + end

    def _pieces(self, window: int, process: int) -> Iterator[tuple[int, int]]:
        """The numbers of utterances of a window, shard by shard."""
        first, last = self._stretch(window, process)
        at = int(np.searchsorted(self._ends, first, side="right"))
        while first < last:
            shard = int(self._order[at])
            until = min(last, int(self._ends[at]))
            end = int(self._tables.shards[shard + 1]) - (int(self._ends[at]) - until)
            yield end - (until - first), end
            first, at = until, at + 1

    def _lengths(self, window: int, process: int) -> np.ndarray:
        pieces = self._pieces(window, process)
        return np.concatenate([self._tables.lengths[i:j] for i, j in pieces])

    def _rows(self, window: int) -> list[Row]:
        pieces = self._pieces(window, self._process[0])
        rows = [row for piece in pieces for row in self._tables.read(*piece)]
        read_ahead([row.values[0] for row in rows])
        return rows

    def _drawn(self, window: int) -> list[np.ndarray]:
        """Minibatches of places in a window."""
        process = self._process[0]
        lengths = self._lengths(window, process)
        mixed = np.random.default_rng((*self._seed, window, process))
        places = mixed.permutation(len(lengths))
        order, ends = _packed(lengths[places], self._limit)
        batches = np.split(places[order], ends[:-1])
        _make(batches, self._counts[window])
        # Alike in all processes, whose minibatches are then about as long.
        same = np.random.default_rng((*self._seed, window)).permutation(len(batches))
        return [batches[at] for at in same]


def _packed(lengths: np.ndarray, limit: Limit) -> tuple[np.ndarray, list[int]]:
    """Utterances into minibatches, the longest first.

    Returns:
        (N,) the places of `lengths`, bucket by bucket, in their order within each; and
        the end of each minibatch among them.
    """
    buckets = np.ceil(np.log(np.maximum(lengths, 1)) / np.log(BUCKET))
    order = np.argsort(-buckets, kind="stable")
    longest = BUCKET ** buckets[order]
    ends: list[int] = []
    at = 0
    while at < len(order):
        at = min(len(order), at + limit.most(longest[at]))
        ends.append(at)
    return order, ends


def _make(batches: list[np.ndarray], count: int) -> None:
    """Divide the largest minibatches, or put the smallest together, to have so many."""
    while len(batches) < count:
        largest = max(range(len(batches)), key=lambda at: len(batches[at]))
        half = len(batches[largest]) // 2
        batches.insert(largest + 1, batches[largest][half:])
        batches[largest] = batches[largest][:half]
    while len(batches) > count:
        last = batches.pop()
        batches[-1] = np.concatenate([batches[-1], last])
