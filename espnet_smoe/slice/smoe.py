"""A slice as an experiment that training has left."""

from pathlib import Path

import yaml

from espnet_smoe.data.data_dir import write_lines
from espnet_smoe.inference.checkpoint import save_weights
from espnet_smoe.inference.config_files import DECODING, Lengths
from espnet_smoe.pack.gathered import write_beside_weights
from espnet_smoe.registry import task_name
from espnet_smoe.slice.sub_model import SubModel


def write(made: SubModel, folder: Path, final: Path, lengths: Lengths) -> None:
    """Write the experiment; parts without a label stay mixtures.

    Args:
        made: The slice.
        folder: Where to write it.
        final: Where it will be.
        lengths: Of the training.
    """
    write_beside_weights(made.config, lengths, folder)
    if made.decoding:
        text = yaml.safe_dump(made.decoding, allow_unicode=True, sort_keys=False)
        write_lines(folder / DECODING, text.splitlines())
    save_weights(made.state, folder / "model.pth")
    made.notes += [f"the {name} is still a mixture" for name in made.mixtures]
    if task_name(made.config) == "asr":
        made.notes.append(f"espnet-smoe transcribe --model {final} a.wav")
    else:  # ESPnet's own tasks, which have no table of ours
        made.notes.append(f"espnet-smoe import espnet {final} --out EXP")
