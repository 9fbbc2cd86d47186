"""Processes that accumulate gradients add them up once an update."""

import functools
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from typing import Any

from torch import nn
from torch.nn.parallel import DistributedDataParallel

from espnet_smoe.compat import trainer


def reduce_once_an_update() -> None:
    """Let ESPnet's trainer do so, which reduces after every minibatch; idempotent.

    A process keeps the gradients of its minibatches to itself until the last of
    ``accum_grad``. What an epoch leaves over goes into the first update of the next.
    """
    train = trainer.Trainer.train_one_epoch.__func__
    if hasattr(train, "reduces_once"):
        return

    @functools.wraps(train)
    def train_one_epoch(
        cls: type, model: nn.Module, iterator: Iterable, options: Any, **others: Any
    ) -> bool:
        if isinstance(model, DistributedDataParallel) and options.accum_grad > 1:
            iterator = ReducedOnce(iterator, model, options.accum_grad)
        return train(cls, model=model, iterator=iterator, options=options, **others)

    train_one_epoch.reduces_once = True
    trainer.Trainer.train_one_epoch = classmethod(train_one_epoch)


class ReducedOnce:
    """Minibatches, of which only the last of each update reduces gradients.

    Args:
        batches: Of an epoch.
        model: Runs forward and backward on a minibatch before the next one is taken.
        accum_grad: Minibatches of an update.
    """

    def __init__(
        self, batches: Iterable, model: DistributedDataParallel, accum_grad: int
    ):
        self._batches, self._model, self._accum_grad = batches, model, accum_grad

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator:
        for number, batch in enumerate(self._batches, 1):
            last = number % self._accum_grad == 0
            with nullcontext() if last else self._model.no_sync():
                yield batch
