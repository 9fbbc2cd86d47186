"""The options of a training, from the command line and the file, checked."""

import argparse
import functools
import sys
import textwrap
from collections.abc import Callable, Sequence
from typing import Any

from espnet_smoe.compat import abs_task
from espnet_smoe.config.refusals import refusals_in_one_line
from espnet_smoe.config.yaml_file import read_yaml
from espnet_smoe.training.options import check_top_level, check_training
from espnet_smoe.training.steps import save_steps

SHOWN = 160  # characters of PyTorch's message


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
    save_steps()
    parser = task.get_parser()
    if args is None:
        args = _parse(parser, sys.argv[1:] if cmd is None else cmd)
    names = {action.dest for action in parser._actions}
    given = {name: value for name, value in vars(args).items() if name in names}
    vars(args).update(check_training(task, given))
    if not hasattr(task.build_model, "one_line"):
        build = refusals_in_one_line(task.build_model.__func__)
        task.build_model = classmethod(build)
    if not hasattr(abs_task.load_pretrained_model, "one_line"):
        abs_task.load_pretrained_model = _with_advice(abs_task.load_pretrained_model)
    return args


def _with_advice(load: Callable) -> Callable:
    """Say how to go on where weights do not fit the model."""

    @functools.wraps(load)
    def load_or_advise(init_param: str, **options: Any) -> None:
        try:
            load(init_param=init_param, **options)
        except RuntimeError as error:
            lines = str(error).splitlines()[1:4]  # each may name hundreds of keys
            lines = [textwrap.shorten(x, SHOWN, placeholder=" ...") for x in lines]
            raise ValueError(
                f"--init_param {init_param} does not fit the model: {' '.join(lines)} "
                "Take the tokens and sizes that it was trained with; or leave out what "
                "does not fit with --ignore_init_mismatch true (in --asr_args)"
            ) from error

    load_or_advise.one_line = True
    return load_or_advise


def enough_for_each_process(build: Callable) -> Callable:
    """Say how to go on where a batch has not an utterance for each process."""

    @functools.wraps(build)
    def build_or_advise(cls: type, args: Any, iter_options: Any, mode: str) -> Any:
        try:
            return build(cls, args, iter_options, mode)
        except RuntimeError as error:
            if "world_size" not in str(error):
                raise
            table = iter_options.data_path_and_name_and_type[0][0]
            raise ValueError(
                f"{table}: a batch has fewer utterances than there are processes "
                f"({str(error).rpartition(': ')[2]}); start fewer (--ngpu, "
                "--num_nodes, --train_nj), or take batch_type: numel, and larger "
                "batch_bins"
            ) from error

    return build_or_advise


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
