"""What makes a killed training resumable at any moment.

ESPnet writes ``checkpoint.pth`` in place, and only then the epoch's own model. Killed
within the first, the checkpoint is broken; killed between the two, the model of that
epoch is missing when the best models are averaged.
"""

import functools
import logging
import os
from pathlib import Path
from typing import Any

import torch
from espnet2.train.trainer import Trainer


def protect_checkpoints() -> None:
    """Let training survive a kill while it saves; idempotent.

    A file that `torch.save` writes appears under its name when it is whole, and a
    resumed training first writes the model that its checkpoint is ahead of.
    """
    if hasattr(torch.save, "__wrapped__"):
        return
    torch.save = _whole(torch.save)
    Trainer.resume = staticmethod(_complete(Trainer.resume))


def _whole(save: Any) -> Any:
    @functools.wraps(save)
    def save_whole(obj: object, f: Any, *args: Any, **kwargs: Any) -> None:
        if not isinstance(f, (str, os.PathLike)):
            save(obj, f, *args, **kwargs)
            return
        partial = f"{os.fspath(f)}.part"
        save(obj, partial, *args, **kwargs)
        os.replace(partial, f)

    return save_whole


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
            torch.save(model.state_dict(), path)

    return resume_complete
