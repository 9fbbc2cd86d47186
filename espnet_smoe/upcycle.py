"""`espnet-smoe upcycle EXP`: a trained model as the beginning of a mixture.

    espnet-smoe upcycle exp/decsmoe --config conf/tuning/train_encdecsmoe.yaml \\
        --out exp/encdecsmoe_init.pth

Train from the result with ``--init_param exp/encdecsmoe_init.pth`` (the recipe's
``--pretrained_model``). The mixture writes at first what the trained model writes; a
configuration with more ``linear_units`` is made wider and does, too. Only where a new
router, or another ``top_k``, chooses among experts that were trained apart, or where
other options of the two differ, the outputs are others; it says so then.
"""

import argparse
import inspect
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from espnet_smoe.check_config import build_model, parameter_table, read_training
from espnet_smoe.command import check_not_read, check_out, new_parser
from espnet_smoe.config.options import default_of, option_names
from espnet_smoe.config.yaml_file import read_yaml
from espnet_smoe.data.data_dir import write_lines

if TYPE_CHECKING:  # torch takes its time, and --help has none
    import torch
    from torch import nn

    from espnet_smoe.moe.upcycle import Upcycled

COUNTER = "minibatches"  # of `model: smoe`; a training begins with none
FREEZE = "freeze_param"
PARTS = ("frontend", "preencoder", "encoder", "postencoder", "decoder")
# options of these that the weights tell, or that change nothing but the training
TOLD = ("moe", "linear_units", "gradient_checkpoint_layers", "dither", "embedding")


def get_parser() -> argparse.ArgumentParser:
    """Options of the command."""
    parser = new_parser("espnet-smoe upcycle", __doc__)
    add = parser.add_argument
    add("exp", help="experiment or packed model, or its name on the hub")
    add("--config", required=True, help="training configuration of the mixture")
    add("--model", help="checkpoint (default: the averaged one)")
    add("--out", type=Path, required=True, help="checkpoint to write")
    add(
        "--noise",
        type=_share,
        default=0.0,
        metavar="SHARE",
        help="add noise to the copies' matrices, its standard deviation this share of "
        "theirs; the outputs then differ (default: 0)",
    )
    add("--seed", type=int, default=0, help="of noise and routers (default: 0)")
    add(
        "--freeze",
        action="store_true",
        help="write beside OUT, as .yaml, the configuration with ESPnet's "
        "freeze_param: training changes experts, routers and widened blocks alone",
    )
    return parser


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not (math.isfinite(value) and value >= 0):
        raise argparse.ArgumentTypeError(f"'{text}' is no number of 0 or more")
    return value


def main(argv: list[str] | None = None) -> None:
    """Write the mixture's first weights and say where they come from.

    Raises:
        ValueError: A file is missing, or the two models do not fit.
    """
    args = get_parser().parse_args(argv)
    check_out(args.out)
    if args.freeze:
        check_out(args.out.with_suffix(".yaml"))
    from espnet_smoe.inference.checkpoint import model_files

    with model_files(args.exp, args.model) as (config_file, checkpoint):
        _begin(args, config_file, checkpoint)


def _begin(args: argparse.Namespace, config_file: Path, checkpoint: Path) -> None:
    """`main`, once the files of the trained model are found."""
    import torch

    from espnet_smoe.data.text.tokens import read_token_list
    from espnet_smoe.inference.checkpoint import cure_of, read_config, save_weights
    from espnet_smoe.input_files import check_finite, check_tensors, read_checkpoint

    check_not_read(args.out, checkpoint, config_file, args.config)
    if args.freeze:
        place = args.out.with_suffix(".yaml")
        check_not_read(place, checkpoint, config_file, args.config)
    trained = read_config(config_file)
    tokens = trained["token_list"]
    if isinstance(tokens, str):
        tokens = read_token_list(tokens)
    model = build_model(args.config, tokens, like=trained)
    state = read_checkpoint(checkpoint, cure_of(checkpoint))
    check_tensors(state, checkpoint, cure_of(checkpoint))
    check_finite(state, checkpoint, cure_of(checkpoint))
    # The statistics of the features are no part of the configuration.
    aside = {name: state.pop(name) for name in list(state) if _is_statistics(name)}
    state.pop(COUNTER, None)
    try:
        result = _upcycle(state, trained, model, args)
    except ValueError as error:
        raise ValueError(f"{checkpoint} and {args.config}: {error}") from error
    if hasattr(model, COUNTER):
        aside[COUNTER] = torch.zeros((), dtype=torch.long)
    config = _frozen(args, model, result) if args.freeze else None
    differing = list(_differing(args.config, tokens, trained))
    save_weights(result.state | aside, args.out)
    print(f"{checkpoint} -> {args.out}")
    print(result.describe())
    if differing:
        print(f"options differ, so that the outputs may: {', '.join(differing)}")
    statistics = [name for name in aside if _is_statistics(name)]
    if statistics:
        print(f"feature statistics of the trained model: {', '.join(statistics)}")
    if config is not None:
        place = args.out.with_suffix(".yaml")
        text = yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
        write_lines(place, text.splitlines())
        print(f"{place}: frozen are {' '.join(config[FREEZE])}")
    print(parameter_table(model))


def _upcycle(
    state: "dict[str, torch.Tensor]",
    trained: dict,
    model: "nn.Module",
    args: argparse.Namespace,
) -> "Upcycled":
    """`upcycle` with the gates of both models."""
    from espnet_smoe.inference.checkpoint import skeleton
    from espnet_smoe.moe.upcycle import gates_of, upcycle

    parts = [trained.get(f"{part}_conf") or {} for part in ("encoder", "decoder")]
    is_mixture = any(part.get("moe") is not None for part in parts)
    gates = gates_of(model)
    new = ("encoder.embedding.", "embedding_ctc.")
    fresh = new if any(g.reads_embedding for g in gates.values()) else ()
    return upcycle(
        state,
        {name: t for name, t in model.state_dict().items() if name != COUNTER},
        gates,
        gates_of(skeleton(trained)) if is_mixture else {},
        args.noise,
        args.seed,
        fresh,
    )


def _differing(
    config: str, tokens: list[str], trained: Mapping[str, Any]
) -> Iterator[str]:
    """Options of the mixture that are others than those of the trained model."""
    task, args = read_training(config, tokens, like=trained)
    both = vars(args), trained
    for choices in task.class_choices_list:
        kind = choices.name
        names = [options.get(kind, choices.default) for options in both]
        if kind not in PARTS or not all(name in choices.classes for name in names):
            continue
        new, old = (
            _effective(choices.classes[name], options.get(f"{kind}_conf") or {})
            for name, options in zip(names, both)
        )
        for name in new:
            if new[name] != old.get(name, new[name]):
                yield f"{kind}_conf.{name} {new[name]} (trained: {old[name]})"


def _effective(cls: type, given: Mapping[str, Any]) -> dict[str, Any]:
    """Name -> value of the options of a class that change what it computes."""
    options = {}
    for name in option_names(cls, ""):
        value = given.get(name, default_of(cls, name))
        if name in TOLD or "dropout" in name or isinstance(value, type):
            continue
        if value is not inspect.Parameter.empty:
            options[name] = list(value) if isinstance(value, tuple) else value
    return options


def _frozen(args: argparse.Namespace, model: "nn.Module", result: "Upcycled") -> dict:
    """The configuration with what is shared frozen."""
    from espnet_smoe.moe.upcycle import shared_parameters

    config = read_yaml(args.config)
    given = config.get(FREEZE) or []
    given = given.split() if isinstance(given, str) else list(given)
    shared = shared_parameters(model, result)
    config[FREEZE] = list(dict.fromkeys([*given, *shared]))
    trained = [
        name
        for name, _ in model.named_parameters()
        if not any(name == f or name.startswith(f"{f}.") for f in config[FREEZE])
    ]
    if not trained:
        raise ValueError(
            f"{args.config}: --freeze would leave nothing to train; add experts "
            "('moe') or linear_units, or leave --freeze out"
        )
    return config


def _is_statistics(name: str) -> bool:
    return name.startswith("normalize.")
