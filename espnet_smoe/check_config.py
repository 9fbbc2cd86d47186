"""`espnet-smoe check-config FILE`: what a YAML file would build, without training.

Every ``*_conf`` section is held against the constructor of the class that the file
chooses, ours or ESPnet's; then the model is built without memory for its weights.
Its parameters are counted, in all and active for one utterance and one task, and so
are the multiply-accumulates of one second of speech, up to the CTC output.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from espnet_smoe.command import new_parser
from espnet_smoe.config.yaml_file import read_yaml

if TYPE_CHECKING:  # torch takes its time, and --help has none
    from torch import nn

S2T_TOKENS = ("<na>", "<sop>", "<sos>", "<eos>")  # that ESPnet's S2T model looks for


def get_parser() -> argparse.ArgumentParser:
    """Options of the command."""
    parser = new_parser(
        "espnet-smoe check-config",
        "Check a training configuration; count its parameters and costs.",
    )
    add_training(parser)
    return parser


def add_training(parser: argparse.ArgumentParser) -> None:
    """Options that name a training configuration and its tokens."""
    parser.add_argument("config", help="YAML file, as given to asr_train --config")
    parser.add_argument(
        "--token-list", help="the recipe's tokens.txt; gives the vocabulary's true size"
    )
    parser.add_argument(
        "--vocab-size",
        type=int,
        default=40000,
        help="tokens, where there is no token list yet (default: %(default)s)",
    )


def tokens_of(path: str | None) -> list[str] | None:
    """A token list that is checked; None where there is none."""
    if path is None:
        return None
    from espnet_smoe.data.text.tokens import read_token_list
    from espnet_smoe.input_files import check_tokens

    check_tokens(path)
    return read_token_list(path)


def main(argv: list[str] | None = None) -> None:
    """Print parameters and costs, or raise what is wrong with the file."""
    args = get_parser().parse_args(argv)
    model = build_model(args.config, tokens_of(args.token_list), args.vocab_size)
    print(parameter_table(model))
    if model.frontend is not None:
        from espnet_smoe.cost import cost_lines

        print(*cost_lines(model), sep="\n")


def build_model(
    config: str | Path,
    tokens: Sequence[str] | None = None,
    vocab_size: int = 40000,
    like: Mapping[str, Any] | None = None,
) -> nn.Module:
    """Check a YAML file and build its model on the meta device.

    Args:
        config: YAML file.
        tokens: The token list; placeholders where it is None.
        vocab_size: How many of these.
        like: Configuration of a trained model of the same ESPnet task.

    Raises:
        ValueError: Unknown key, class or value; the message names the nearest known.
    """
    import torch

    from espnet_smoe.training.options import build

    task, args = read_training(config, tokens, vocab_size, like)
    with torch.device("meta"):
        return build(task, args)


def read_training(
    config: str | Path,
    tokens: Sequence[str] | None = None,
    vocab_size: int = 40000,
    like: Mapping[str, Any] | None = None,
) -> tuple[type, argparse.Namespace]:
    """The task of a YAML file, and its options without files; as `build_model`."""
    from espnet_smoe.registry import register, task_of

    register()
    from espnet_smoe.training.options import check_training

    given = read_yaml(config)
    if isinstance(given.get("token_list"), list):
        raise ValueError(
            f"{config} is what a training has written, with its tokens; give the file "
            "that it was started with, such as conf/train.yaml"
        )
    task = task_of(given if like is None else like)
    options = check_training(task, given)
    parser = task.get_parser()
    parser.set_defaults(**options)
    args = parser.parse_args(["--output_dir", "unused"])
    args.token_list = list(tokens or _placeholder_tokens(options, vocab_size))
    if like is not None and like.get("src_token_list"):
        args.src_token_list = like["src_token_list"]
    # features are counted with the statistics of any data: leave their file out
    args.normalize = "utterance_mvn" if args.normalize else None
    args.normalize_conf = {}
    args.init = None
    return task, args


def count_parameters(model: nn.Module) -> dict[str, int]:
    """Parameters in all, and active: the experts that one frame passes.

    Returns:
        ``{"total": ..., "active": ...}``.
    """
    from espnet_smoe.moe import MoEFeedForward

    total = sum(p.numel() for p in model.parameters())
    idle = sum(
        p.numel()
        for module in model.modules()
        if isinstance(module, MoEFeedForward)
        for expert in module.experts[module.gate.top_k :]
        for p in expert.parameters()
    )
    return {"total": total, "active": total - idle}


def parameter_table(model: nn.Module) -> str:
    """A row per module, and their sum."""
    rows = [(name, count_parameters(child)) for name, child in model.named_children()]
    rows = [row for row in rows if row[1]["total"]] + [("sum", count_parameters(model))]
    lines = [f"{'module':<20}{'parameters':>15}{'active':>15}"]
    lines += [f"{n:<20}{c['total']:>15,}{c['active']:>15,}" for n, c in rows]
    return "\n".join(lines)


def _placeholder_tokens(options: Mapping[str, Any], size: int) -> list[str]:
    """A token list of the right size that holds every label and prompt."""
    from espnet_smoe.data.task_table import task_table, tokens_of
    from espnet_smoe.data.text.tokens import BEGIN, BLANK, LABELS, SOS_EOS, UNKNOWN
    from espnet_smoe.moe.labels import entries_of

    specials = tokens_of(task_table((options.get("model_conf") or {}).get("tasks")))
    model = options.get("model_conf") or {}
    if options.get("preprocessor") == "s2t":
        specials += S2T_TOKENS
    specials += [v for k, v in model.items() if k.startswith("sym_") and v]
    for part in ("encoder_conf", "decoder_conf"):
        moe = (options.get(part) or {}).get("moe") or {}
        specials += [e for label in moe.get("labels") or () for e in entries_of(label)]
    tokens = list(dict.fromkeys([BLANK, UNKNOWN, *LABELS, BEGIN, *specials]))
    if size <= len(tokens):
        raise ValueError(
            f"--vocab-size {size}: the special tokens alone are {len(tokens) + 1}"
        )
    return tokens + [f"piece{i}" for i in range(size - len(tokens) - 1)] + [SOS_EOS]
