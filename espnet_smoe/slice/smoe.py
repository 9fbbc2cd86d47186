"""A slice as an experiment that training has left."""

import json
from dataclasses import asdict
from pathlib import Path

import yaml

from espnet_smoe.data.data_dir import write_lines
from espnet_smoe.inference.checkpoint import save_weights
from espnet_smoe.inference.config_files import LENGTHS, Lengths
from espnet_smoe.inference.pack import copy_files
from espnet_smoe.slice.sub_model import SubModel


def write(made: SubModel, folder: Path, final: Path, lengths: Lengths) -> None:
    """Write the experiment; parts without a label stay mixtures.

    Args:
        made: The slice.
        folder: Where to write it.
        final: Where it will be.
        lengths: Of the training.
    """
    copy_files(made.config, folder)
    text = yaml.safe_dump(made.config, allow_unicode=True, sort_keys=False)
    write_lines(folder / "config.yaml", text.splitlines())
    write_lines(folder / LENGTHS, [json.dumps(asdict(lengths))])
    save_weights(made.state, folder / "model.pth")
    made.notes += [f"the {name} is still a mixture" for name in made.mixtures]
    made.notes.append(f"espnet-smoe transcribe --model {final} a.wav")
