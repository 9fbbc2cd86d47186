"""What makes a killed training resumable at any moment.

ESPnet writes ``checkpoint.pth`` in place, and only then the epoch's own model. Killed
within the first, the checkpoint is broken; killed between the two, the model of that
epoch is missing when the best models are averaged.
"""

import functools
import logging
import os
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from espnet_smoe.compat import average_nbest_models, trainer
from espnet_smoe.input_files import read_checkpoint


class Overlay(ModuleType):
    """A module some of whose names mean something else to who has it in its place.

    ESPnet's trainer saves, and clips gradients, in the middle of long methods, where no
    subclass reaches. So its modules get this in place of the name ``torch``; PyTorch
    itself stays as it is for everything else in the process.

    Args:
        module: What has all other names.
        **names: Those that mean something else.
    """

    def __init__(self, module: ModuleType, **names: Any):
        super().__init__(module.__name__)
        self._module = module
        vars(self).update(names)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)


def save_whole(obj: object, path: str | os.PathLike) -> None:
    """`torch.save` beside ``path``, then rename."""
    partial = f"{os.fspath(path)}.part"
    torch.save(obj, partial)
    os.replace(partial, path)


def protect_checkpoints() -> None:
    """Let training survive a kill while it saves; idempotent.

    A file that ESPnet's trainer writes appears under its name when it is complete, and
    a resumed training first writes the model that its checkpoint is ahead of.
    """
    if isinstance(trainer.torch, Overlay):
        return
    trainer.torch = average_nbest_models.torch = Overlay(torch, save=save_whole)
    complete = _complete(trainer.Trainer.resume)
    trainer.Trainer.resume = staticmethod(complete)


def _complete(resume: Any) -> Any:
    @functools.wraps(resume)
    def resume_complete(
        checkpoint: str | Path,
        model: torch.nn.Module,
        reporter: Any,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        resume(checkpoint, model, reporter, *args, **kwargs)
        path = Path(checkpoint).with_name(f"{reporter.get_epoch()}epoch.pth")
        if not path.exists():
            logging.warning(f"{path} is missing; written again from {checkpoint}")
            states = read_checkpoint(checkpoint, f"remove {checkpoint}")
            save_whole(states["model"], path)

    return resume_complete
