"""Training from shards: ESPnet's ``--iterator_type task``.

ESPnet's own iterators keep every utterance of every table in each process and open a
file an utterance. Here, a process reads shards of its own, see `ShardBatches`.
"""

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from torch.utils.data import DataLoader

from espnet_smoe.compat import (
    AbsIterFactory,
    AbsTask,
    dataset,
    iterable_dataset,
    worker_init_fn,
)
from espnet_smoe.data.speech.shard import KIND, read_member
from espnet_smoe.training.shard_batches import Limit, ShardBatches
from espnet_smoe.training.shard_tables import Row, ShardTables
from espnet_smoe.training.step_checkpoint import rank, world_size

OF_ELEMENTS = ("numel", "length")  # batch types whose size is `batch_bins`
OF_UTTERANCES = ("unsorted", "sorted")  # and those with `batch_size`


def train_from_shards() -> None:
    """Let ESPnet read shards; idempotent.

    Tables of the type `KIND` can be read by all of its datasets, and tasks without an
    iterator of their own train from them with ``--iterator_type task``.
    """
    iterable_dataset.DATA_TYPES[KIND] = read_member
    help = "Recordings in shards: utterance_id_a shards/000000.tar:512"
    dataset.DATA_TYPES[KIND] = {"func": Recordings, "kwargs": [], "help": help}
    AbsTask.build_task_iter_factory = classmethod(build_factory)


class Recordings(dict):
    """Recordings of a ``wav.scp`` by utterance, read when they are asked for."""

    def __init__(self, path: str):
        super().__init__(dataset.read_2columns_text(path))

    def __getitem__(self, utterance: str) -> np.ndarray:
        return read_member(super().__getitem__(utterance), utterance)


class ShardDataset(dataset.AbsDataset):
    """What a row of `ShardTables` is to the model.

    Args:
        tables: Path, name and type of each, as ESPnet has them.
        preprocess: Of the task.
        dtype: Of arrays of floats.
    """

    def __init__(
        self,
        tables: list[tuple[str, str, str]],
        preprocess: Callable | None,
        dtype: str,
    ):
        self.preprocess, self._dtype = preprocess, dtype
        self._names = [name for _, name, _ in tables]
        self._kinds = [kind for _, _, kind in tables]

    def names(self) -> tuple[str, ...]:
        """The fields of an utterance."""
        return tuple(self._names)

    def has_name(self, name: str) -> bool:
        """Whether an utterance has this field."""
        return name in self._names

    def __getitem__(self, row: Row) -> tuple[str, dict[str, np.ndarray]]:
        data = {
            name: read_member(value, row.id)
            if kind == KIND
            else iterable_dataset.DATA_TYPES[kind](value)
            for name, kind, value in zip(self._names, self._kinds, row.values)
        }
        if self.preprocess is not None:
            data = self.preprocess(row.id, data)
        types = {"f": self._dtype, "i": np.int64}
        return row.id, {
            name: value.astype(types.get(value.dtype.kind, value.dtype))
            for name, value in data.items()
        }


class ShardIterFactory(AbsIterFactory):
    """The minibatches of each epoch.

    Args:
        tables: Of the training set.
        limit: Of a minibatch of this process.
        read: The dataset of its rows.
        loader: Further options of the loader.
        seed: Of the training.
    """

    def __init__(
        self,
        tables: ShardTables,
        limit: Limit,
        read: ShardDataset,
        loader: dict[str, Any],
        seed: int,
    ):
        self._tables, self._limit, self._read = tables, limit, read
        self._loader, self._seed = loader, seed

    def build_iter(self, epoch: int, shuffle: bool | None = None) -> DataLoader:
        """The minibatches of one epoch."""
        process = (rank(), world_size())
        batches = ShardBatches(self._tables, self._limit, self._seed, epoch, process)
        begin = partial(worker_init_fn, base_seed=epoch + self._seed)
        return DataLoader(
            self._read, batch_sampler=batches, worker_init_fn=begin, **self._loader
        )


def build_factory(
    task: type, args: argparse.Namespace, iter_options: Any, mode: str
) -> AbsIterFactory:
    """The iterator of a training set in shards; ESPnet's own one of other sets.

    Raises:
        ValueError: The set is not in shards, or an option does not go with them.
    """
    if mode != "train":
        return task.build_sequence_iter_factory(args, iter_options, mode)
    tables = iter_options.data_path_and_name_and_type
    if tables[0][2] != KIND:
        raise ValueError(
            f"--iterator_type task: {tables[0][0]} comes first and is of type "
            f"'{tables[0][2]}', not '{KIND}'; leave the option out, or make shards "
            "(--audio_format shards)"
        )
    if iter_options.num_iters_per_epoch is not None:
        raise ValueError(
            "num_iters_per_epoch: an epoch of shards is all of them; leave it out"
        )
    limit = _limit(iter_options, world_size())
    read = ShardDataset(tables, iter_options.preprocess_fn, args.train_dtype)
    task.check_task_requirements(read, args.allow_variable_data_keys, train=True)
    loader = {
        "num_workers": args.num_workers,
        "collate_fn": iter_options.collate_fn,
        "pin_memory": args.ngpu > 0,
    }
    paths = [path for path, _, _ in tables]
    index = ShardTables(paths, iter_options.shape_files)
    return ShardIterFactory(index, limit, read, loader, args.seed)


def _limit(options: Any, processes: int) -> Limit:
    """What is left to one process of the size of a minibatch, as with ESPnet's own."""
    if options.batch_type in OF_ELEMENTS:
        return Limit(elements=max(1, options.batch_bins // processes))
    if options.batch_type in OF_UTTERANCES:
        return Limit(utterances=max(1, options.batch_size // processes))
    known = ", ".join((*OF_ELEMENTS, *OF_UTTERANCES))
    raise ValueError(
        f"batch_type: '{options.batch_type}' does not go with shards; take one of "
        f"{known}"
    )
