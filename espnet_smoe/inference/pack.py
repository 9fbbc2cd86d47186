"""Pack a trained model into one zip file that works on any machine (stage 14).

    python3 -m espnet_smoe.inference.pack --exp exp/train_bbpe500 --out model.zip

The zip is ESPnet's own format: ``espnet2.main_funcs.pack_funcs.unpack`` gives back
``asr_train_config`` and ``asr_model_file`` with paths that fit the new place.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from espnet_smoe.command import check_out, new_parser, run_command
from espnet_smoe.compat import pack_funcs
from espnet_smoe.data.data_dir import write_lines
from espnet_smoe.inference.checkpoint import cure_of, save_weights
from espnet_smoe.inference.config_files import (
    DECODING,
    LENGTHS,
    Lengths,
    named_files,
    own_decoding,
    read_config,
    trained_lengths,
)
from espnet_smoe.input_files import (
    SAFETENSORS,
    check_finite,
    check_statistics_file,
    read_checkpoint,
)
from espnet_smoe.registry import task_name


def pack(experiment: Path, model: str, out: Path) -> None:
    """Pack the configuration, weights, tokenizer and statistics of an experiment.

    Args:
        experiment: Folder with ``config.yaml``.
        model: Name of the checkpoint in it.
        out: The zip file to write; never half of it under this name.

    Raises:
        ValueError: A file is missing or damaged.
        OSError: The disk is full.
    """
    if not (experiment / model).is_file():
        raise ValueError(
            f"{experiment / model} does not exist; stage 11 (train) makes it."
        )
    pack_files(experiment / "config.yaml", experiment / model, out)


def pack_files(config_file: Path, model_file: Path, out: Path) -> None:
    """`pack` a model by its files.

    Args:
        config_file: Training configuration.
        model_file: Checkpoint.
        out: The zip file to write.
    """
    # beside the zip file: where that fits, its parts do
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".pack", dir=out.parent) as name:
        folder = Path(name)
        gathered = gather(config_file, model_file, folder)
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
    weights: dict[str, Any]
    files: list[str]
    lengths: Lengths


def gather(config_file: Path, model_file: Path, folder: Path) -> Gathered:
    """Copy what a model needs into a folder, all but the weights.

    Args:
        config_file: Training configuration.
        model_file: Checkpoint, which is read and checked.
        folder: Empty.

    Raises:
        ValueError: A file is missing or damaged.
    """
    config = read_config(config_file)
    cure = cure_of(model_file)
    weights = read_checkpoint(model_file, cure)
    check_finite(weights, model_file, cure)
    if stats := (config.get("normalize_conf") or {}).get("stats_file"):
        check_statistics_file(stats)
    files = copy_files(config, folder)
    lengths = trained_lengths(config_file, config)
    write_lines(folder / LENGTHS, [json.dumps(asdict(lengths))])
    text = yaml.safe_dump(config, allow_unicode=True, sort_keys=False)
    (folder / "config.yaml").write_text(text, encoding="utf-8")
    if (decoding := own_decoding(config_file)) is not None:
        files.append(shutil.copy(decoding, folder / DECODING).name)
    return Gathered(config, weights, files, lengths)


def copy_files(config: dict, folder: Path) -> list[str]:
    """Copy the files that a configuration names, and name the copies instead."""
    copied = []
    for section, key, _ in named_files(config):
        source = Path(section[key])
        shutil.copy(source, folder / source.name)
        section[key] = f"./{source.name}"  # without a slash no path for the model zoo
        copied.append(source.name)
    return copied


def get_parser() -> argparse.ArgumentParser:
    """Options of the command."""
    parser = new_parser("python3 -m espnet_smoe.inference.pack", __doc__)
    parser.add_argument("--exp", type=Path, required=True, help="experiment folder")
    parser.add_argument("--model", default="valid.acc.ave.pth", help="checkpoint in it")
    parser.add_argument("--out", type=Path, required=True, help="zip file to write")
    parser.add_argument(
        "--decoding",
        type=Path,
        help="YAML that it is to decode by, where a user gives none; kept in the "
        "experiment, too",
    )
    return parser


def main(argv: list[str] | None = None) -> None:
    """Run the command."""
    args = get_parser().parse_args(argv)
    check_out(args.out)
    own = args.exp / DECODING
    if args.decoding and not (own.exists() and own.samefile(args.decoding)):
        write_lines(own, [args.decoding.read_text(encoding="utf-8").rstrip("\n")])
    pack(args.exp, args.model, args.out)
    print(f"{args.out}: {args.out.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    sys.exit(run_command(main))
