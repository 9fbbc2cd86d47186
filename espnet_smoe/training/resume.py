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


class _Torch(ModuleType):
    """`torch` whose `save` replaces a file only when the new one is complete.

    ESPnet's trainer saves in the middle of a long method, where no subclass reaches.
    So its modules get this in place of the name ``torch``; `torch.save` itself stays
    as it is for everything else in the process.
    """

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)

    def save(self, obj: object, path: str | os.PathLike) -> None:
        """As `save_whole`."""
        save_whole(obj, path)


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
    if isinstance(trainer.torch, _Torch):
        return
    trainer.torch = average_nbest_models.torch = _Torch("torch")
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
            trainer.torch.save(model.state_dict(), path)

    return resume_complete
