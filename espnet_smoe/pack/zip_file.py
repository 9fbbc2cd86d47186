"""A trained model as one zip file that works on any machine.

The zip is ESPnet's own format: ``espnet2.main_funcs.pack_funcs.unpack`` gives back
``asr_train_config`` and ``asr_model_file`` with paths that fit the new place.
"""

import contextlib
import os
import shutil
from pathlib import Path

from espnet_smoe.compat import pack_funcs
from espnet_smoe.data.scratch import scratch_folder
from espnet_smoe.inference.checkpoint import save_weights
from espnet_smoe.inference.config_files import LENGTHS
from espnet_smoe.input_files import SAFETENSORS
from espnet_smoe.pack.gathered import gather
from espnet_smoe.registry import task_name


def write_zip(
    config_file: Path, model_file: Path, out: Path, decoding: Path | None = None
) -> None:
    """Write configuration, weights, tokenizer and statistics of a model.

    Args:
        config_file: Training configuration.
        model_file: Checkpoint.
        out: The zip file to write; never half of it under this name.
        decoding: YAML to decode by; the model's own, if it has one, when None.

    Raises:
        ValueError: A file is missing or damaged.
        OSError: The disk is full.
    """
    # beside the zip file: where that fits, its parts do
    with scratch_folder(out.parent, ".pack") as folder:
        gathered = gather(config_file, model_file, folder, decoding)
        if model_file.suffix == SAFETENSORS:
            save_weights(gathered.weights, folder / "model.pth")
        else:
            shutil.copy(model_file, folder / "model.pth")
        task = task_name(gathered.config)
        with contextlib.chdir(folder):
            # From a folder of its own: ESPnet keeps paths relative to the working one,
            # and absolute ones (links to another disk) could not be unpacked.
            pack_funcs.pack(
                files={f"{task}_model_file": "model.pth"},
                yaml_files={f"{task}_train_config": "config.yaml"},
                option=[*gathered.files, LENGTHS],
                outpath="packed.zip",
            )
        os.replace(folder / "packed.zip", out)
