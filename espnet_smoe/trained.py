"""What a training leaves beside its weights: size of the model, lengths of speech."""

import argparse
import functools
import json
import logging
from pathlib import Path

from torch import nn

from espnet_smoe.check_config import count_parameters
from espnet_smoe.compat import AbsTask
from espnet_smoe.cost import macs_per_second
from espnet_smoe.data.data_dir import write_lines
from espnet_smoe.inference.config_files import write_lengths
from espnet_smoe.training.step_checkpoint import rank

SIZE = "params.json"  # read by the tables of scores


def describe_trained() -> None:
    """Let ESPnet's trainings of ASR models leave both files; idempotent."""
    train = AbsTask.__dict__["main_worker"].__func__
    if hasattr(train, "describes"):
        return

    @functools.wraps(train)
    def train_and_describe(cls: type[AbsTask], args: argparse.Namespace) -> None:
        train(cls, args)
        if cls.__name__ != "ASRTask" or args.collect_stats or args.dry_run or rank():
            return
        try:
            describe(cls, Path(args.output_dir))
        except Exception:  # of a model of any kind: its training is done all the same
            logging.warning("the model's size is not told", exc_info=True)

    train_and_describe.describes = True
    AbsTask.main_worker = classmethod(train_and_describe)


def describe(task: type[AbsTask], folder: Path) -> None:
    """Write both files of an experiment."""
    model, _ = task.build_model_from_file(folder / "config.yaml")
    write_size(folder, model)
    write_lengths(folder)


def write_size(folder: Path, model: nn.Module) -> None:
    """Write the parameters of a model, and its products for a second of speech.

    Args:
        folder: Of the experiment.
        model: As ESPnet builds it.
    """
    macs = sum(macs_per_second(model).values()) or None
    size = {**count_parameters(model), "multiply_accumulates": macs}
    write_lines(folder / SIZE, [json.dumps(size)])
