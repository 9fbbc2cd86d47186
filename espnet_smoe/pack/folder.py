"""A trained model as a folder that the Hugging Face hub takes as it is."""

from collections.abc import Sequence
from pathlib import Path

import yaml

from espnet_smoe.data.data_dir import new_folder, write_lines
from espnet_smoe.inference.checkpoint import SAFE_MODEL, save_weights
from espnet_smoe.pack.card import model_card
from espnet_smoe.pack.gathered import gather
from espnet_smoe.registry import task_name


def write_folder(
    config_file: Path,
    model_file: Path,
    out: Path,
    name: str,
    license: str,
    languages: Sequence[str] | None = None,
    decoding: Path | None = None,
) -> None:
    """Write weights, configuration, tokenizer, statistics and model card.

    Args:
        config_file: Training configuration; scores and numbers of the card come from
            the experiment that it is in.
        model_file: Checkpoint.
        out: A new folder; it appears when all of it is there.
        name: Of the model, on the hub.
        license: Of the weights.
        languages: Codes; those of the model's tasks when None.
        decoding: YAML to decode by; the model's own, if it has one, when None.

    Raises:
        ValueError: A file is missing or damaged.
        OSError: The disk is full.
    """
    with new_folder(out) as folder:
        gathered = gather(config_file, model_file, folder, decoding)
        save_weights(gathered.weights, folder / SAFE_MODEL)
        task = task_name(gathered.config)
        # as in ESPnet's zip files: its own loaders read it
        meta = {
            "files": {f"{task}_model_file": SAFE_MODEL},
            "yaml_files": {f"{task}_train_config": "config.yaml"},
        }
        (folder / "meta.yaml").write_text(yaml.safe_dump(meta), encoding="utf-8")
        card = model_card(config_file, model_file, gathered, name, license, languages)
        write_lines(folder / "README.md", [card])
