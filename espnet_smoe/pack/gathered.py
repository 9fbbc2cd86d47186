"""What a model needs beside its weights, gathered in a folder."""

import json
import logging
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from espnet_smoe.data.data_dir import write_lines
from espnet_smoe.inference.checkpoint import cure_of
from espnet_smoe.inference.config_files import (
    DECODING,
    LENGTHS,
    Lengths,
    named_files,
    own_decoding,
    read_config,
    trained_lengths,
)
from espnet_smoe.inference.speech_to_text import speech_to_text_class
from espnet_smoe.input_files import (
    check_finite,
    check_statistics_file,
    check_tensors,
    read_checkpoint,
)


@dataclass
class Gathered:
    """What a model needs beside its weights, in a folder.

    Attributes:
        config: Training configuration that names the files beside it.
        weights: Key -> tensor, whole and finite.
        files: Names of tokenizer, statistics and decoding YAML.
        lengths: Of the training utterances.
    """

    config: dict[str, Any]
    weights: Mapping[str, Any]
    files: list[str]
    lengths: Lengths


def gather(
    config_file: Path, model_file: Path, folder: Path, decoding: Path | None = None
) -> Gathered:
    """Copy what a model needs into a folder, all but the weights.

    Args:
        config_file: Training configuration.
        model_file: Checkpoint, which is read and checked.
        folder: Empty.
        decoding: YAML to decode by; the model's own, if it has one, when None.

    Raises:
        ValueError: A file is missing or damaged, or the YAML is of another kind of
            model.
    """
    config = read_config(config_file)
    decoding = decoding or own_decoding(config_file)
    if decoding is not None:
        options = speech_to_text_class(config_file).Options.read(decoding)
        if graph := getattr(options, "graph", None):
            logging.warning(
                "%s names the decoding graph %s, which does not go along: who has none "
                "there gives another with --graph",
                *(decoding, graph),
            )
    cure = cure_of(model_file)
    weights = read_checkpoint(model_file, cure)
    check_tensors(weights, model_file, cure)
    check_finite(weights, model_file, cure)
    if stats := (config.get("normalize_conf") or {}).get("stats_file"):
        check_statistics_file(stats)
    lengths = trained_lengths(config_file, config)
    files = write_beside_weights(config, lengths, folder)
    if decoding is not None:
        files.append(shutil.copy(decoding, folder / DECODING).name)
    return Gathered(config, weights, files, lengths)


def write_beside_weights(
    config: dict[str, Any], lengths: Lengths, folder: Path
) -> list[str]:
    """Write ``config.yaml``, the lengths, and copies of what the configuration names.

    Args:
        config: Training configuration; names the copies afterwards.
        lengths: Of the training utterances.
        folder: Empty.

    Returns:
        Names of the copies.
    """
    copied = []
    for section, key, _ in named_files(config):
        source = Path(section[key])
        shutil.copy(source, folder / source.name)
        section[key] = f"./{source.name}"  # without a slash no path for the model zoo
        copied.append(source.name)
    write_lines(folder / LENGTHS, [json.dumps(asdict(lengths))])
    text = yaml.safe_dump(config, allow_unicode=True, sort_keys=False)
    write_lines(folder / "config.yaml", text.splitlines())
    return copied
