"""States of random number generators, as what `torch.load` reads without care."""

import functools
import random
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import torch


def random_state() -> dict[str, Any]:
    """The states of Python, NumPy and PyTorch, on the GPU also where it is in use."""
    name, keys, *rest = np.random.get_state()
    state = {
        "python": random.getstate(),
        "numpy": (name, torch.from_numpy(keys.astype(np.int64)), *rest),
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_initialized():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def set_random_state(state: dict[str, Any]) -> None:
    """Go on with the numbers that would have followed `random_state`."""
    random.setstate(state["python"])
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state["torch"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])


def seed_each_utterance(dataset: Any, seed: int) -> None:
    """Let what is drawn while an utterance is prepared depend on nothing else.

    Else it would depend on those that a loader's worker has prepared before, and nobody
    could begin in the middle of an epoch.

    Args:
        dataset: Of ESPnet, in a worker of a loader.
        seed: Of this epoch.
    """
    prepare = getattr(dataset, "preprocess", None)
    if prepare is not None:
        dataset.preprocess = functools.partial(_prepare_seeded, prepare, seed)


def _prepare_seeded(prepare: Callable, seed: int, utterance: str, data: Any) -> Any:
    own = zlib.crc32(f"{seed} {utterance}".encode())
    random.seed(own)
    np.random.seed(own)
    torch.manual_seed(own)
    return prepare(utterance, data)
