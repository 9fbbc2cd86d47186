"""Trainings that go on from the last step, not only from the last epoch.

A checkpoint is written every so many updates, where an epoch of minibatches ends, and
when a signal asks for it, also in the middle of a validation: SIGUSR1, and SIGTERM,
after which the training ends.
"""

import argparse
import functools
import itertools
import logging
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, get_worker_info

from espnet_smoe.compat import trainer
from espnet_smoe.training.accumulation import reduce_once_an_update
from espnet_smoe.training.model_parallel import model_parallel_of
from espnet_smoe.training.model_parallel_trainer import share_weights
from espnet_smoe.training.random_state import (
    random_state,
    seed_each_utterance,
    set_random_state,
)
from espnet_smoe.training.step_checkpoint import (
    NAME,
    Parts,
    check_batches,
    fingerprint_batches,
    rank,
    read_step,
    skip_batches,
    world_size,
)

OPTION = "save_every_steps"
SAVE, END = 1, 2  # what a signal asks for
ASKED_BY = {signal.SIGUSR1: SAVE, signal.SIGTERM: SAVE | END}


def save_steps() -> None:
    """Let ESPnet's trainer save steps and go on from them; idempotent.

    It also reduces gradients once an update, see `reduce_once_an_update`, and shares
    weights out, see `share_weights`.

    DeepSpeed's trainer, which has checkpoints of its own, stays as it is.
    """
    cls = trainer.Trainer
    if hasattr(cls.train_one_epoch.__func__, "saves_steps"):
        return
    share_weights()
    reduce_once_an_update()  # inside: its minibatches are those that are left
    cls.add_arguments = classmethod(_with_option(cls.add_arguments.__func__))
    cls.build_options = classmethod(_with_value(cls.build_options.__func__))
    cls.train_one_epoch = classmethod(_with_steps(cls.train_one_epoch.__func__))
    validate = _heeding_signals(cls.validate_one_epoch.__func__)
    cls.validate_one_epoch = classmethod(validate)
    cls.run = classmethod(_without_step_at_the_end(cls.run.__func__))


def _with_option(add_arguments: Any) -> Any:
    @functools.wraps(add_arguments)
    def add_with_option(cls: type, parser: argparse.ArgumentParser) -> None:
        add_arguments(cls, parser)
        parser.add_argument(
            f"--{OPTION}",
            type=int,
            default=0,
            help=f"Write {NAME}, from which a killed training goes on, every so many "
            "updates and at the end of an epoch; 0: only when SIGUSR1 or SIGTERM asks",
        )

    return add_with_option


def _with_value(build_options: Any) -> Any:
    @functools.wraps(build_options)
    def build_with_value(cls: type, args: argparse.Namespace) -> Any:
        options = build_options(cls, args)
        setattr(options, OPTION, getattr(args, OPTION, 0))
        return options

    return build_with_value


def _without_step_at_the_end(run: Any) -> Any:
    @functools.wraps(run)
    def run_to_the_end(
        cls: type, *args: Any, trainer_options: Any, **given: Any
    ) -> None:
        heeded = [signal.SIGUSR1]
        if hasattr(cls.train_one_epoch, "saves_steps"):  # not other trainers' own
            heeded.append(signal.SIGTERM)
        with ExitStack() as stack:
            for number in heeded:
                stack.enter_context(ASKED.by(number))
            run(cls, *args, trainer_options=trainer_options, **given)
        if rank() == 0:
            (Path(trainer_options.output_dir) / NAME).unlink(missing_ok=True)

    return run_to_the_end


def _with_steps(train: Any) -> Any:
    @functools.wraps(train)
    def train_one_epoch(
        cls: type,
        model: nn.Module,
        iterator: Iterable,
        optimizers: Sequence[torch.optim.Optimizer],
        schedulers: Sequence[Any],
        scaler: Any,
        reporter: Any,
        options: Any,
        **others: Any,
    ) -> bool:
        inner = model.module if isinstance(model, DistributedDataParallel) else model
        parts = Parts(inner, optimizers, schedulers, scaler, reporter)
        epoch = Epoch(parts, iterator, options)
        invalid = train(
            cls,
            model=model,
            iterator=epoch,
            optimizers=optimizers,
            schedulers=schedulers,
            scaler=scaler,
            reporter=reporter,
            options=options,
            **others,
        )
        epoch.end()
        options.epoch_behind = epoch
        # also where the valid steps were before the training was interrupted
        return invalid and "grad_norm" not in reporter.stats

    train_one_epoch.saves_steps = True
    return train_one_epoch


def _heeding_signals(validate: Any) -> Any:
    @functools.wraps(validate)
    def validate_one_epoch(
        cls: type, model: nn.Module, iterator: Iterable, options: Any, **others: Any
    ) -> None:
        epoch = getattr(options, "epoch_behind", None)
        if epoch is not None:
            iterator = epoch.validated(iterator)
        validate(cls, model=model, iterator=iterator, options=options, **others)

    return validate_one_epoch


class Asked:
    """What signals have asked this process for since it was last looked at."""

    def __init__(self) -> None:
        self.what = 0

    def note(self, number: int, frame: object = None) -> None:
        """Take a signal; a second one changes nothing."""
        self.what |= ASKED_BY[signal.Signals(number)]

    @contextmanager
    def by(self, number: signal.Signals) -> Iterator[None]:
        """Note a signal while this block runs."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(number, self.note)
        try:
            yield
        finally:
            signal.signal(number, before or signal.SIG_DFL)


ASKED = Asked()


def _begin_worker(begin: Callable[[int], None] | None, seed: int, worker: int) -> None:
    """Of a loader: reads on when a signal ends all, until the step is written."""
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda n, _: signal.signal(n, signal.SIG_DFL))
    if begin is not None:
        begin(worker)
    seed_each_utterance(get_worker_info().dataset, seed)  # a copy of this worker's


class Epoch:
    """The minibatches of an epoch that are still to be done; saves steps in between.

    Args:
        parts: Of the training; a step that it has come to is restored at once.
        iterator: Of all minibatches.
        options: Of ESPnet's trainer.

    Raises:
        ValueError: The step that is there does not belong to this training.
    """

    def __init__(self, parts: Parts, iterator: Iterable, options: Any):
        self._parts, self._iterator = parts, iterator
        self._path = Path(options.output_dir) / NAME
        self._accum_grad, self._gpu = options.accum_grad, options.ngpu > 0
        self._every = getattr(options, OPTION, 0) * options.accum_grad
        self._fingerprint = fingerprint_batches(iterator)
        epoch = parts.reporter.get_epoch()
        self._seed = options.seed + epoch
        self._keep_workers(iterator)
        self._saved, self._random = False, None  # at its end
        self._begin_at: dict[str, Any] | None = None
        if not hasattr(options, "step_was_read"):  # the first epoch of this process
            options.step_was_read = True
            self._go_on(epoch, options.resume)
        self._done = self._begin_at["batches"] if self._begin_at else 0

    def _keep_workers(self, iterator: Iterable) -> None:
        """Let those of a loader read on when a signal comes."""
        if isinstance(iterator, DataLoader) and iterator.num_workers:
            iterator.worker_init_fn = functools.partial(
                _begin_worker, iterator.worker_init_fn, self._seed
            )

    def _go_on(self, epoch: int, resume: bool) -> None:
        state = read_step(self._path, epoch) if resume else None
        if world_size() > 1:
            distributed.barrier()  # nobody writes before all have read
        if state is None:
            if rank() == 0:
                self._path.unlink(missing_ok=True)
        elif state["epoch"] < epoch:
            self._parts.restore_gradients(state)
        else:
            check_batches(state, self._fingerprint, self._path)
            self._parts.restore(state, self._path)
            self._begin_at = state
            logging.info(
                f"Epoch {epoch} goes on after {state['batches']} minibatches, using "
                f"{self._path}"
            )

    def __len__(self) -> int:
        return len(self._iterator)

    def __iter__(self) -> Iterator:
        for batch in self._rest():
            yield batch
            self._done += 1
            if self._done % self._accum_grad == 0:
                self._after_update()

    def _rest(self) -> Iterator:
        """The minibatches after those that are done, without reading the latter."""
        state = self._begin_at
        if state is None:
            yield from self._iterator
            return
        if state["done"]:
            set_random_state(state["processes"][rank()]["random"])
            return
        read = 0 if skip_batches(self._iterator, self._done) else self._done
        rest = iter(self._iterator)
        for _ in itertools.islice(rest, read):
            pass
        set_random_state(state["processes"][rank()]["random"])
        yield from rest

    def _after_update(self) -> None:
        asked = self._asked_of_any()
        if asked or (self._every and self._done % self._every == 0):
            self._save(done=False)
        if asked & END:
            self._leave()

    def end(self) -> None:
        """Save where all minibatches are done, before what takes long after them."""
        self._random = random_state()
        self._at_end(self._asked_of_any(), bool(self._every))

    def validated(self, batches: Iterable) -> Iterator:
        """Those of the validation after it; what is asked for meanwhile is done."""
        self._keep_workers(batches)
        for batch in batches:
            yield batch
            self._at_end(self._asked_of_any())

    def _at_end(self, asked: int, always: bool = False) -> None:
        if (asked or always) and not self._saved:
            self._share_gradients()
            self._save(done=True)
            self._saved = True
        if asked & END:
            self._leave()

    def _asked_of_any(self) -> int:
        asked, ASKED.what = ASKED.what, 0
        if world_size() > 1:
            device = "cuda" if self._gpu else "cpu"
            bits = [asked & SAVE, asked & END]
            of_all = torch.tensor(bits, device=device)
            distributed.all_reduce(of_all, distributed.ReduceOp.MAX)
            asked = int(of_all.sum())
        return asked

    def _save(self, done: bool) -> None:
        random = self._random if done else None
        self._parts.save(self._path, self._done, done, self._fingerprint, random)

    def _leave(self) -> None:
        logging.warning(
            f"SIGTERM: the training ends; the same command goes on from {self._path}"
        )
        if world_size() > 1:
            distributed.barrier()  # until the first process has written
        sys.exit(128 + signal.SIGTERM)

    def _share_gradients(self) -> None:
        """Add up what an epoch left over, so that one file holds it for all."""
        if world_size() == 1:
            return
        model = self._parts.model
        model_parallel = model_parallel_of(model)
        if model_parallel is not None:
            model_parallel.average_copies()
        own = set() if model_parallel is None else model_parallel.shared_out()
        parameters = [
            p for n, p in model.named_parameters() if p.requires_grad and n not in own
        ]
        if not parameters:
            return
        present = [p.grad is not None for p in parameters]
        used = torch.tensor(present, device=parameters[0].device, dtype=torch.int)
        distributed.all_reduce(used, distributed.ReduceOp.MAX)
        for parameter, anywhere in zip(parameters, used.tolist()):
            if anywhere:
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
                distributed.all_reduce(parameter.grad)
                parameter.grad /= world_size()
