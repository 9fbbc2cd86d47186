"""A training in the middle of an epoch, as a file.

``checkpoint.pth`` is a training between two epochs. ``step.pth`` beside it is what the
epoch after it has come to: weights, optimizers, schedulers, figures so far, and of each
process its place among the minibatches and the states of its random numbers.
"""

import copy
import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import distributed, nn
from torch.utils.data import DataLoader

from espnet_smoe.compat import reporter as espnet_reporter
from espnet_smoe.input_files import check_finite, read_checkpoint
from espnet_smoe.training.model_parallel import like, model_parallel_of
from espnet_smoe.training.random_state import random_state
from espnet_smoe.training.resume import save_whole

NAME = "step.pth"
CURE = "remove it to go on from the last epoch"


@dataclass
class Parts:
    """What a training consists of, as ESPnet's trainer has it in hand.

    Attributes:
        model: Inside of what makes it parallel.
        optimizers: All.
        schedulers: One for each optimizer, or None.
        scaler: Of losses in half precision, or None.
        reporter: The figures of this epoch.
    """

    model: nn.Module
    optimizers: Sequence[torch.optim.Optimizer]
    schedulers: Sequence[Any]
    scaler: Any
    reporter: Any

    def save(
        self,
        path: Path,
        batches: int,
        done: bool,
        fingerprint: str,
        random: dict[str, Any] | None = None,
    ) -> None:
        """Write a step; every process calls it, and the first one writes.

        Args:
            path: Replaced when the new one is complete.
            batches: Minibatches of this epoch that each process has behind it.
            done: Whether they are all; then the gradients that are left over belong to
                it, which are the same in all processes.
            fingerprint: Of the minibatches of this process, all of the epoch.
            random: States of random numbers to go on with; those of now when None.
        """
        model_parallel = model_parallel_of(self.model)
        if model_parallel is not None:
            model_parallel.collect()
        own = {"random": random or random_state(), "batches": fingerprint}
        processes = [own]
        if distributed.is_initialized():
            first = distributed.get_rank() == 0
            processes = [None] * distributed.get_world_size() if first else None
            distributed.gather_object(own, processes)
            if not first:
                return
        gradients = {name: p.grad for name, p in self.model.named_parameters() if done}
        if model_parallel is not None and done:
            gradients |= model_parallel.gradients
        state = {
            "epoch": self.reporter.get_epoch(),
            "batches": batches,
            "done": done,
            "processes": processes,
            "gradients": {k: v for k, v in gradients.items() if v is not None},
            "model": self.model.state_dict(),
            "optimizers": [o.state_dict() for o in self.optimizers],
            "schedulers": [s and s.state_dict() for s in self.schedulers],
            "scaler": self.scaler and self.scaler.state_dict(),
            "reporter": _figures(self.reporter),
        }
        save_whole(state, path)
        if model_parallel is not None:
            model_parallel.forget()

    def restore(self, state: dict[str, Any], path: Path) -> None:
        """Take over a step.

        Raises:
            ValueError: It is of another model.
        """
        try:
            self.model.load_state_dict(state["model"])
            for optimizer, saved in zip(self.optimizers, state["optimizers"]):
                optimizer.load_state_dict(copy.deepcopy(saved))  # not the mapped file
        except (RuntimeError, ValueError) as error:
            reason = str(error).split("\n")[0]
            raise ValueError(f"{path}: of another model ({reason}); {CURE}") from error
        for scheduler, saved in zip(self.schedulers, state["schedulers"]):
            if scheduler is not None and saved is not None:
                scheduler.load_state_dict(saved)
        if self.scaler is not None and state["scaler"]:
            self.scaler.load_state_dict(state["scaler"])
        self.restore_gradients(state)
        _set_figures(self.reporter, state["reporter"])

    def restore_gradients(self, state: dict[str, Any]) -> None:
        """Take over what an epoch left over for the first update of the next one."""
        for name, parameter in self.model.named_parameters():
            gradient = state["gradients"].get(name)
            if gradient is not None:
                parameter.grad = like(gradient.to(parameter.device), parameter).clone()


def read_step(path: Path, epoch: int) -> dict[str, Any] | None:
    """The step that a training has come to which is about to begin an epoch.

    Args:
        path: The file.
        epoch: After the last that is complete.

    Returns:
        The step, of this epoch or of the last minibatch of the one before; None where
        the file is missing or older.

    Raises:
        ValueError: It is damaged, newer, or of another number of processes.
    """
    state = check_step_file(path)
    if state is None:
        return None
    if state["epoch"] > epoch:
        raise ValueError(
            f"{path} is of epoch {state['epoch']}, and the last that is complete here "
            f"is {epoch - 1}: put the checkpoint.pth back that it belongs to; or {CURE}"
        )
    written, now = len(state["processes"]), world_size()
    if state["epoch"] == epoch and written != now:
        raise ValueError(
            f"{path} was written by {written} process{'es'[: 2 * (written > 1)]}, and "
            f"{now} would go on: start as many as then (--ngpu, --num_nodes, "
            f"--train_nj); or {CURE}"
        )
    current = state["epoch"] == epoch or (state["epoch"] == epoch - 1 and state["done"])
    return state if current else None


def check_step_file(path: Path) -> dict[str, Any] | None:
    """What the file holds; None where there is none.

    Raises:
        ValueError: It is damaged.
    """
    if not path.is_file():
        return None
    state = read_checkpoint(path, CURE)
    if not {"epoch", "batches", "done", "processes", "model"} <= state.keys():
        raise ValueError(f"{path}: not a step of a training; {CURE}")
    check_finite(state["model"], path, CURE)
    return state


def check_batches(state: dict[str, Any], fingerprint: str, path: Path) -> None:
    """Hold the minibatches of this process against those of a step.

    Raises:
        ValueError: They are others.
    """
    if state["processes"][rank()]["batches"] != fingerprint:
        raise ValueError(
            f"{path}: the minibatches of epoch {state['epoch']} are others now: train "
            "with the data, batch size and seed that they were made of; or "
            f"{CURE}"
        )


def fingerprint_batches(iterator: Any) -> str:
    """Of the minibatches of an epoch and their order; empty where nobody knows them."""
    batches = _batches(iterator)
    if not isinstance(batches, list):
        return getattr(batches, "fingerprint", "")
    digest = hashlib.sha256()
    for batch in batches:
        digest.update(f"{' '.join(map(str, batch))}\n".encode())
    return digest.hexdigest()


def skip_batches(iterator: Any, number: int) -> bool:
    """Leave out the first minibatches of an epoch, where that needs no reading."""
    batches = _batches(iterator)
    if isinstance(batches, list):
        del batches[:number]
        return True
    if hasattr(batches, "skip"):
        batches.skip(number)
        return True
    return False


def _batches(iterator: Any) -> Any:
    """What a loader of ESPnet goes through; None of others."""
    return iterator.batch_sampler if isinstance(iterator, DataLoader) else None


def rank() -> int:
    """Number of this process among those that train together."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def world_size() -> int:
    """Of how many processes this one is."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def _figures(reporter: Any) -> dict[str, Any]:
    columns = {}
    for key, values in reporter.stats.items():
        numbers = torch.tensor([v.value for v in values], dtype=torch.float64)
        weights = [getattr(v, "weight", None) for v in values]
        known = None if None in weights else torch.tensor(weights, dtype=torch.float64)
        columns[key] = (numbers, known)
    return {
        "columns": columns,
        "count": reporter.count,
        "total_count": reporter.total_count,
        "seconds": time.perf_counter() - reporter.start_time,
    }


def _set_figures(reporter: Any, saved: dict[str, Any]) -> None:
    for key, (numbers, weights) in saved["columns"].items():
        values = numbers.tolist()
        reporter.stats[key] = (
            [espnet_reporter.Average(v) for v in values]
            if weights is None
            else list(map(espnet_reporter.WeightedAverage, values, weights.tolist()))
        )
    reporter.count, reporter.total_count = saved["count"], saved["total_count"]
    reporter.start_time = time.perf_counter() - saved["seconds"]
