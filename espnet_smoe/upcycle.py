"""`espnet-smoe upcycle EXP`: a trained model as the beginning of a mixture.

    espnet-smoe upcycle exp/decsmoe --config conf/tuning/train_encdecsmoe.yaml \\
        --out exp/encdecsmoe_init.pth

Train from the result with ``--init_param exp/encdecsmoe_init.pth`` (the recipe's
``--pretrained_model``).
"""

import argparse
import errno
import os
import sys
from pathlib import Path

from espnet_smoe.check_config import build_model, parameter_table
from espnet_smoe.command import check_out, run_command


def get_parser() -> argparse.ArgumentParser:
    """Options of the command."""
    parser = argparse.ArgumentParser(
        prog="espnet-smoe upcycle",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("exp", type=Path, help="experiment of the trained model")
    add("--config", required=True, help="training configuration of the mixture")
    add("--model", help="checkpoint (default: the averaged one)")
    add("--out", type=Path, required=True, help="checkpoint to write")
    return parser


def main(argv: list[str] | None = None) -> None:
    """Write the mixture's first weights and say where they come from.

    Raises:
        ValueError: A file is missing, or the two models do not fit.
    """
    args = get_parser().parse_args(argv)
    check_out(args.out)
    import torch  # it takes its time, and --help has none

    from espnet_smoe.data.text.tokens import read_token_list
    from espnet_smoe.inference.checkpoint import CURE, find_checkpoint, read_config
    from espnet_smoe.input_files import read_checkpoint
    from espnet_smoe.moe.upcycle import upcycle

    checkpoint = (
        args.exp / args.model if args.model else find_checkpoint(args.exp, "--model")
    )
    tokens = read_config(args.exp / "config.yaml")["token_list"]
    if isinstance(tokens, str):
        tokens = read_token_list(tokens)
    model = build_model(args.config, tokens=tokens)
    state = read_checkpoint(checkpoint, CURE)
    # The statistics of the features are no part of the configuration.
    aside = {name: state.pop(name) for name in list(state) if _is_statistics(name)}
    try:
        result = upcycle(state, model.state_dict())
    except ValueError as error:
        raise ValueError(f"{checkpoint} and {args.config}: {error}") from error
    args.out.parent.mkdir(parents=True, exist_ok=True)
    partial = args.out.with_name(args.out.name + ".part")
    try:
        torch.save(result.state | aside, partial)
        os.replace(partial, args.out)
    except RuntimeError as error:  # PyTorch's for a disk that takes no more
        full = errno.ENOSPC
        raise OSError(full, os.strerror(full), str(args.out)) from error
    finally:
        partial.unlink(missing_ok=True)
    print(f"{checkpoint} -> {args.out}")
    print(result.describe())
    if aside:
        print(f"feature statistics of the trained model: {', '.join(aside)}")
    print(parameter_table(model))


def _is_statistics(name: str) -> bool:
    return name.startswith("normalize.")


if __name__ == "__main__":
    sys.exit(run_command(main))
