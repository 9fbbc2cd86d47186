"""The options of a training, from the command line and the file, checked."""

import argparse
import sys
from collections.abc import Sequence

from espnet_smoe.training_options import (
    check_top_level,
    check_training,
    refusals_in_one_line,
)
from espnet_smoe.yaml_file import read_yaml


def training_args(
    task: type,
    args: argparse.Namespace | None = None,
    cmd: Sequence[str] | None = None,
) -> argparse.Namespace:
    """Options of an ESPnet task, checked as `espnet-smoe check-config` does.

    Numbers that YAML reads as text, such as ``1e-3``, become numbers on the way. The
    task's model is from now on built with errors of one line.

    Args:
        task: Class of the task.
        args: What has been parsed; None to parse `cmd`.
        cmd: The command line; that of the process when None.

    Raises:
        ValueError: An unknown key, class or value; names it and the nearest known.
    """
    parser = task.get_parser()
    if args is None:
        args = _parse(parser, sys.argv[1:] if cmd is None else cmd)
    names = {action.dest for action in parser._actions}
    given = {name: value for name, value in vars(args).items() if name in names}
    vars(args).update(check_training(task, given))
    if not hasattr(task.build_model, "told"):
        task.build_model = staticmethod(refusals_in_one_line(task.build_model))
    return args


def _parse(parser: argparse.ArgumentParser, cmd: Sequence[str]) -> argparse.Namespace:
    """As ESPnet's parser does, but with a check of the file of ``--config``."""
    only = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    only.add_argument("--config")
    file, rest = only.parse_known_args(cmd)
    if file.config is not None:
        parser.set_defaults(**check_top_level(parser, read_yaml(file.config)))
    args = parser.parse_args(rest)
    args.config = file.config
    return args
