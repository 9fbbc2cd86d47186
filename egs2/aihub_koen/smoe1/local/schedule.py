#!/usr/bin/env python3
"""Fit the cosine to the data: options for asr_train, from a configuration and a set.

    local/schedule.py conf/train.yaml dump/raw/train -- --max_epoch 3
    --scheduler_conf first_cycle_steps=2250 --scheduler_conf warmup_steps=112

The learning rate has to reach its end when the training does. The configurations are
for 40,000 hours; with less data their cosine would never leave its warm-up. What
follows ``--`` are options of the training, as in --asr_args. A training that goes on
keeps the cosine that it began with (--exp).
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from espnet_smoe.command import run_command

WARMUP = 0.05  # of all steps, as in the configurations
EVEN = ("sorted", "unsorted")  # types of batches that hold equally many utterances
SHAPES = ("speech_shape", "text_shape")  # what the driver gives to training
FOLD_LENGTHS = (80000, 150)


def updates(utterances: int, config: dict) -> int:
    """How often a training updates the weights, with batches of equal size.

    Args:
        utterances: Of the training set.
        config: ``batch_size``, ``accum_grad``, ``max_epoch`` and, where it is there,
            ``num_iters_per_epoch`` are read.

    Raises:
        ValueError: An epoch has fewer minibatches than an update gathers.
    """
    # ESPnet's samplers share the rest out among the minibatches
    minibatches = max(utterances // config["batch_size"], 1)
    return updates_of(minibatches, config, f"{utterances} utterances are {minibatches}")


def updates_of(minibatches: int, config: dict, what: str) -> int:
    """How often a training updates the weights.

    Args:
        minibatches: Of the training set.
        config: As for `updates`.
        what: How many minibatches there are of what, for the error.

    Raises:
        ValueError: As `updates`.
    """
    each_epoch = (config.get("num_iters_per_epoch") or minibatches) // (
        config.get("accum_grad") or 1
    )
    if each_epoch == 0:
        of = f" of {config['batch_size']}" if "batch_size" in config else ""
        raise ValueError(
            f"{what} minibatches{of}, fewer than accum_grad: {config['accum_grad']}; "
            "lower batch_size and accum_grad in a copy of the configuration"
        )
    return each_epoch * config["max_epoch"]


def count_updates(config: dict, data: Path, stats: Path | None) -> int:
    """How often a training on a data directory updates the weights.

    Args:
        config: Options of the training.
        data: Directory with ``wav.scp``.
        stats: What stage 10 made of it, for batches of a length and not of a number.

    Raises:
        ValueError: A file is missing, or as for `updates`.
    """
    kind = config.get("batch_type", "folded")
    if kind in EVEN:
        if not (data / "wav.scp").is_file():
            raise ValueError(
                f"{data / 'wav.scp'} does not exist (stage 4 writes the data)"
            )
        with open(data / "wav.scp", "rb") as lines:
            return updates(sum(1 for _ in lines), config)
    shapes = [str((stats or data) / "train" / name) for name in SHAPES]
    for path in shapes:
        if not Path(path).is_file():
            raise ValueError(f"{path} does not exist (stage 10 writes it)")
    from espnet2.samplers.build_batch_sampler import build_batch_sampler

    sampler = build_batch_sampler(
        type=kind,
        shape_files=shapes,
        batch_size=config.get("batch_size", 20),
        batch_bins=config.get("batch_bins", 1_000_000),
        fold_lengths=config.get("fold_length") or FOLD_LENGTHS,
        drop_last=config.get("drop_last_iter", False),
        min_batch_size=config.get("min_batch_size", 1),
    )
    return updates_of(len(sampler), config, f"{stats} makes {len(sampler)}")


def with_options(config: dict, words: Sequence[str]) -> dict:
    """The configuration, changed by options of the command line."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for name in ("max_epoch", "batch_size", "batch_bins", "accum_grad"):
        parser.add_argument(f"--{name}", type=int)
    for name in ("num_iters_per_epoch", "min_batch_size"):
        parser.add_argument(f"--{name}", type=int)
    for name in ("batch_type", "scheduler"):
        parser.add_argument(f"--{name}")
    parser.add_argument("--drop_last_iter", type=yaml.safe_load)
    parser.add_argument("--fold_length", type=int, action="append")
    given, _ = parser.parse_known_args(words)
    return config | {k: v for k, v in vars(given).items() if v is not None}


def begun_with(exp: Path) -> dict[str, Any] | None:
    """The cosine of an experiment that has a checkpoint; None where it has none."""
    if not (exp / "checkpoint.pth").exists():
        return None
    keys = ("first_cycle_steps", "warmup_steps")
    if (exp / "provenance.json").is_file():
        record = json.loads((exp / "provenance.json").read_text(encoding="utf-8"))
        config = record["config"]
        found = {key: config.get(f"scheduler_conf.{key}") for key in keys}
    else:
        config = yaml.safe_load((exp / "config.yaml").read_text(encoding="utf-8"))
        found = {key: config.get("scheduler_conf", {}).get(key) for key in keys}
    return found if None not in found.values() else None


def get_parser() -> argparse.ArgumentParser:
    """Options of the program."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", type=Path, help="such as conf/train.yaml")
    parser.add_argument("data", type=Path, help="directory with wav.scp")
    parser.add_argument("--stats", type=Path, help="statistics of the data (stage 10)")
    parser.add_argument("--exp", type=Path, help="experiment that may go on")
    return parser


def main(argv: list[str] | None = None) -> None:
    """Print the options on one line, or what is wrong."""
    words = sys.argv[1:] if argv is None else argv
    split = words.index("--") if "--" in words else len(words)
    args = get_parser().parse_args(words[:split])
    if not args.config.is_file():
        raise ValueError(f"{args.config} does not exist")
    config = yaml.safe_load(args.config.read_text(encoding="utf-8"))
    config = with_options(config, words[split + 1 :])
    if config.get("scheduler") != "cosineannealingwarmuprestarts":
        return  # another schedule is its author's own affair
    cosine = begun_with(args.exp) if args.exp else None
    if cosine is None:
        try:
            steps = count_updates(config, args.data, args.stats)
        except ValueError as error:
            raise ValueError(f"{args.config} with {args.data}: {error}") from error
        cosine = {"first_cycle_steps": steps, "warmup_steps": int(WARMUP * steps)}
    else:
        print(
            f"{args.exp} keeps its cosine of {cosine['first_cycle_steps']} updates",
            file=sys.stderr,
        )
    print(*(f"--scheduler_conf {key}={value}" for key, value in cosine.items()))


if __name__ == "__main__":
    sys.exit(run_command(main))
