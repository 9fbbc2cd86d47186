#!/usr/bin/env python3
"""Fit the cosine to the data: options for asr_train, from a configuration and a set.

    local/schedule.py conf/train.yaml dump/raw/train
    --scheduler_conf first_cycle_steps=2250 --scheduler_conf warmup_steps=112

The learning rate has to reach its end when the training does. The configurations are
for 40,000 hours; with less data their cosine would never leave its warm-up.
"""

import argparse
import sys
from math import ceil
from pathlib import Path

import yaml

WARMUP = 0.05  # of all steps, as in the configurations


def updates(utterances: int, config: dict) -> int:
    """How often a training updates the weights.

    Args:
        utterances: Of the training set.
        config: ``batch_size``, ``accum_grad`` and ``max_epoch`` are read.

    Raises:
        ValueError: An epoch has fewer minibatches than an update gathers.
    """
    minibatches = ceil(utterances / config["batch_size"])
    each_epoch = minibatches // config["accum_grad"]
    if each_epoch == 0:
        raise ValueError(
            f"{utterances} utterances are {minibatches} minibatches of "
            f"{config['batch_size']}, fewer than accum_grad: {config['accum_grad']}; "
            "lower batch_size and accum_grad in a copy of the configuration"
        )
    return each_epoch * config["max_epoch"]


def get_parser() -> argparse.ArgumentParser:
    """Options of the program."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", type=Path, help="such as conf/train.yaml")
    parser.add_argument("data", type=Path, help="directory with wav.scp")
    return parser


def main(argv: list[str] | None = None) -> None:
    """Print the options on one line, or what is wrong."""
    args = get_parser().parse_args(argv)
    for path in (args.config, args.data / "wav.scp"):
        if not path.is_file():
            sys.exit(f"{path} does not exist (stage 4 writes the data)")
    config = yaml.safe_load(args.config.read_text(encoding="utf-8"))
    if config.get("scheduler") != "cosineannealingwarmuprestarts":
        return  # another schedule is its author's own affair
    with open(args.data / "wav.scp", "rb") as lines:
        utterances = sum(1 for _ in lines)
    try:
        steps = updates(utterances, config)
    except ValueError as error:
        sys.exit(f"{args.config} with {args.data}: {error}")
    print(
        f"--scheduler_conf first_cycle_steps={steps}",
        f"--scheduler_conf warmup_steps={int(WARMUP * steps)}",
    )


if __name__ == "__main__":
    main()
