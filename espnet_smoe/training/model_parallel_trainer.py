"""ESPnet's trainer with weights that processes share out, see `model_parallel`."""

import argparse
import functools
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.distributed.fsdp.sharded_grad_scaler import ShardedGradScaler

from espnet_smoe.compat import AbsTask, str2bool, trainer
from espnet_smoe.training.model_parallel import (
    EXPERTS,
    FSDP,
    ModelParallel,
    model_parallel_of,
)
from espnet_smoe.training.resume import Overlay


def share_weights() -> None:
    """Let ESPnet's trainer do so where its options ask for it; idempotent."""
    cls = trainer.Trainer
    if hasattr(cls.run.__func__, "shares"):
        return
    cls.add_arguments = classmethod(_with_options(cls.add_arguments.__func__))
    cls.run = classmethod(_shared(cls.run.__func__))
    cls.train_one_epoch = classmethod(_forgetting(cls.train_one_epoch.__func__))
    cls.validate_one_epoch = classmethod(_collecting(cls.validate_one_epoch.__func__))
    build = _sharing(AbsTask.build_optimizers.__func__)
    AbsTask.build_optimizers = classmethod(build)


def _with_options(add_arguments: Callable) -> Callable:
    @functools.wraps(add_arguments)
    def add_with_options(cls: type, parser: argparse.ArgumentParser) -> None:
        add_arguments(cls, parser)
        parser.add_argument(
            f"--{EXPERTS}",
            type=int,
            default=1,
            help="Processes that share the experts of each layer, to which frames are "
            "sent; divides the processes and the experts",
        )
        parser.add_argument(
            f"--{FSDP}",
            type=str2bool,
            default=False,
            help="Share all weights, or all but the experts, over all processes, each "
            "layer gathered when it is computed",
        )

    return add_with_options


def _sharing(build: Callable) -> Callable:
    @functools.wraps(build)
    def build_optimizers(
        cls: type, args: argparse.Namespace, model: nn.Module
    ) -> list[torch.optim.Optimizer]:
        model_parallel = ModelParallel.asked_by(args, model)
        optimizers = build(cls, args, model)
        if model_parallel is not None:
            model_parallel.take(optimizers)
        return optimizers

    return build_optimizers


def _shared(run: Callable) -> Callable:
    @functools.wraps(run)
    def run_shared(cls: type, model: nn.Module, *args: Any, **given: Any) -> None:
        model_parallel = model_parallel_of(model)
        if model_parallel is None:
            run(cls, model, *args, **given)
            return
        if given.get("plot_attention_iter_factory") is not None:
            logging.warning("no pictures of attention: no process has the whole model")
            given["plot_attention_iter_factory"] = None
        with _in_trainer(model_parallel):
            run(cls, model, *args, **given)

    run_shared.shares = True
    return run_shared


@contextmanager
def _in_trainer(model_parallel: ModelParallel) -> Iterator[None]:
    """What the trainer calls of PyTorch, for a model that is shared."""
    before = trainer.torch, trainer.GradScaler
    parallel = torch.nn.parallel
    if model_parallel.fsdp:  # reduces gradients itself
        as_it_is = lambda model, **_: model  # noqa: E731
        parallel = Overlay(parallel, DistributedDataParallel=as_it_is)
    utils = Overlay(torch.nn.utils, clip_grad_norm_=model_parallel.clip_gradients)
    layers = Overlay(torch.nn, utils=utils, parallel=parallel)
    trainer.torch = Overlay(trainer.torch, nn=layers)
    trainer.GradScaler = ShardedGradScaler  # skips an update in all processes or none
    try:
        yield
    finally:
        trainer.torch, trainer.GradScaler = before


def _forgetting(train: Callable) -> Callable:
    @functools.wraps(train)
    def train_one_epoch(cls: type, model: nn.Module, **given: Any) -> bool:
        model_parallel = model_parallel_of(model)
        if model_parallel is not None:
            model_parallel.forget()
        return train(cls, model=model, **given)

    return train_one_epoch


def _collecting(validate: Callable) -> Callable:
    @functools.wraps(validate)
    def validate_one_epoch(cls: type, model: nn.Module, **given: Any) -> None:
        validate(cls, model=model, **given)
        model_parallel = model_parallel_of(model)
        if model_parallel is not None:
            model_parallel.collect()  # what the first process writes next

    return validate_one_epoch
