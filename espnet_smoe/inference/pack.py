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
from dataclasses import asdict
from pathlib import Path

import yaml

from espnet_smoe.command import check_out, new_parser, run_command
from espnet_smoe.compat import pack_funcs
from espnet_smoe.inference.checkpoint import CURE
from espnet_smoe.inference.config_files import (
    LENGTHS,
    named_files,
    read_config,
    trained_lengths,
)
from espnet_smoe.input_files import (
    check_finite,
    check_statistics_file,
    read_checkpoint,
)


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
    config = read_config(experiment / "config.yaml")
    weights = read_checkpoint(experiment / model, CURE)
    check_finite(weights, experiment / model, CURE)
    if stats := (config.get("normalize_conf") or {}).get("stats_file"):
        check_statistics_file(stats)
    # beside the zip file: where that fits, its parts do
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".pack", dir=out.parent) as name:
        folder = Path(name)
        extra = copy_files(config, folder)
        lengths = asdict(trained_lengths(experiment / "config.yaml", config))
        (folder / LENGTHS).write_text(json.dumps(lengths), encoding="utf-8")
        text = yaml.safe_dump(config, allow_unicode=True, sort_keys=False)
        (folder / "config.yaml").write_text(text, encoding="utf-8")
        shutil.copy(experiment / model, folder / "model.pth")
        with contextlib.chdir(folder):
            # From a folder of its own: ESPnet keeps paths relative to the working one,
            # and absolute ones (links to another disk) could not be unpacked.
            pack_funcs.pack(
                files={"asr_model_file": "model.pth"},
                yaml_files={"asr_train_config": "config.yaml"},
                option=[*extra, LENGTHS],
                outpath="packed.zip",
            )
        os.replace(folder / "packed.zip", out)


def copy_files(config: dict, folder: Path) -> list[str]:
    """Copy the files that a configuration names, and name the copies instead."""
    copied = []
    for section, key, _ in named_files(config):
        source = Path(section[key])
        shutil.copy(source, folder / source.name)
        section[key] = source.name
        copied.append(source.name)
    return copied


def get_parser() -> argparse.ArgumentParser:
    """Options of the command."""
    parser = new_parser("python3 -m espnet_smoe.inference.pack", __doc__)
    parser.add_argument("--exp", type=Path, required=True, help="experiment folder")
    parser.add_argument("--model", default="valid.acc.ave.pth", help="checkpoint in it")
    parser.add_argument("--out", type=Path, required=True, help="zip file to write")
    return parser


def main(argv: list[str] | None = None) -> None:
    """Run the command."""
    args = get_parser().parse_args(argv)
    check_out(args.out)
    pack(args.exp, args.model, args.out)
    print(f"{args.out}: {args.out.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    sys.exit(run_command(main))
