"""The folder of an experiment, as if it had been trained here."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import nn

from espnet_smoe.data.data_dir import new_folder, write_lines
from espnet_smoe.inference.checkpoint import check_weights, save_weights, skeleton
from espnet_smoe.inference.config_files import LENGTHS, read_config
from espnet_smoe.input_files import check_finite
from espnet_smoe.trained import write_size

ONE_MODEL = "Take weights and configuration of one model"
CONFIG, TOKENS, WEIGHTS = "config.yaml", "tokens.txt", "model.pth"


@dataclass
class Experiment:
    """A model as a training here would have left it.

    Attributes:
        config: Training configuration. It names its files as they are in ``files``;
            ``token_list`` is added.
        state: Weights under our names.
        tokens: V of them.
        files: Further files by name: text in lines, or bytes.
        lengths: `Lengths` of the training, as far as known.
        summary: Lines that tell the user what it is.
    """

    config: Mapping[str, Any]
    state: Mapping[str, torch.Tensor]
    tokens: Sequence[str]
    files: Mapping[str, str | bytes] = field(default_factory=dict)
    lengths: Mapping[str, float] = field(default_factory=dict)
    summary: Sequence[str] = ()


def write_experiment(folder: Path, experiment: Experiment, source: Path) -> None:
    """Write the folder; it appears when all of it is there and fits.

    Args:
        folder: New or empty.
        experiment: What it shall hold.
        source: Where it comes from, for messages.

    Raises:
        ValueError: The weights do not fit the configuration, or are no numbers.
    """
    check_finite(experiment.state, str(source), "fetch it again")
    with new_folder(folder) as partial:
        _write_files(partial, experiment)
        write_size(partial, _fitting_model(partial, experiment, source))
        save_weights(experiment.state, partial / WEIGHTS)


def _write_files(folder: Path, experiment: Experiment) -> None:
    config = {**experiment.config, "token_list": TOKENS}
    text = yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
    write_lines(folder / CONFIG, text.splitlines())
    write_lines(folder / TOKENS, experiment.tokens)
    if experiment.lengths:
        write_lines(folder / LENGTHS, [json.dumps(dict(experiment.lengths))])
    for name, content in experiment.files.items():
        if isinstance(content, str):
            write_lines(folder / name, [content])
        else:
            (folder / name).write_bytes(content)


def _fitting_model(folder: Path, experiment: Experiment, source: Path) -> nn.Module:
    """The model that the folder's configuration makes, once the weights fit it."""
    try:
        model = skeleton(read_config(folder / CONFIG))
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from error
    check_weights(model, experiment.state, source, ONE_MODEL)
    return model
