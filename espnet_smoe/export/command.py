"""`espnet-smoe export`: a trained model as graphs for other runtimes.

    espnet-smoe export --model exp/u2pp --out export
    espnet-smoe export --model u2pp.zip --out export --format torchscript
    espnet-smoe export --model exp/smoe --out export --format sherpa-onnx --int8

Formats `onnx` and `torchscript` are of a U2++ model. The encoder goes chunk by chunk
with a limited past, so that all sizes are fixed but those of the batch. `config.json`
in the folder tells what goes in and out; `espnet_smoe.export.runner` shows how the
graphs are fed.

`sherpa-onnx` writes what sherpa-onnx runs as it is: of a U2++ model its type
`wenet_ctc`, streaming and not; of an S-MoE model its type `whisper`. `wenet` writes the
three graphs of WeNet's runtime.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from espnet_smoe.command import MODEL_HELP, new_parser

if TYPE_CHECKING:  # torch takes its time, and --help has none
    from torch import nn

# those of `export.write.WRITERS`, without torch
FORMATS = ("onnx", "torchscript", "sherpa-onnx", "wenet")
CHUNK_SIZE, LEFT_CHUNKS, BANDWIDTH = 16, 4, "wb"  # where nobody says another


def get_parser() -> argparse.ArgumentParser:
    """Options of the command."""
    parser = new_parser("espnet-smoe export", __doc__)
    parser.add_argument("--model", required=True, help=MODEL_HELP)
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument(
        "--format", choices=FORMATS, default="onnx", help="(default: %(default)s)"
    )
    parser.add_argument(
        "--chunk-size",
        type=int,
        help=f"encoder frames a chunk of a U2++ model (default: {CHUNK_SIZE})",
    )
    parser.add_argument(
        "--left-chunks",
        type=int,
        help=f"chunks that its attention sees before its own (default: {LEFT_CHUNKS})",
    )
    parser.add_argument(
        "--bandwidth",
        choices=("wb", "nb"),
        help="of the speech, for an S-MoE model whose encoder has an expert for each "
        f"(default: {BANDWIDTH})",
    )
    parser.add_argument(
        "--int8",
        action="store_true",
        help="write each ONNX file a second time, its matrices in int8 (*.int8.onnx)",
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command.

    Returns:
        0; an error that a user can cure is raised.
    """
    args = get_parser().parse_args(argv)
    given = vars(args)
    # torch takes its time, and --help has none
    from espnet_smoe.export.write import export_model
    from espnet_smoe.inference.checkpoint import load_model, model_files, read_config

    with model_files(args.model) as (train_config, model_file):
        config = read_config(train_config)
        model = load_model(config, model_file)
        check_options(model, args)
        sizes = {"chunk_size": CHUNK_SIZE, "left_chunks": LEFT_CHUNKS}
        sizes |= {name: value for name in sizes if (value := given[name]) is not None}
        written = export_model(
            model,
            args.out,
            args.format,
            **sizes,
            frontend=frontend_of(config),
            symbols=symbols_of(config),
            bandwidth=args.bandwidth or BANDWIDTH,
            int8=args.int8,
        )
    for path in written:
        print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")
    return 0


def check_options(model: "nn.Module", args: argparse.Namespace) -> None:
    """Refuse options that the model has no use for.

    Raises:
        ValueError: Names one.
    """
    from espnet_smoe.model.smoe import ESPnetSMoEModel

    if args.bandwidth and getattr(model, "encoder_labels", None) is None:
        raise ValueError(
            f"--bandwidth {args.bandwidth}: no expert of this model's encoder is "
            "chosen by it; leave it out"
        )
    for name in ("chunk_size", "left_chunks"):
        if getattr(args, name) is not None and isinstance(model, ESPnetSMoEModel):
            raise ValueError(
                f"--{name.replace('_', '-')} is for U2++ models, which stream; leave "
                "it out"
            )


def frontend_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """How features are made, as the training configuration says it.

    Options that are not set are left out; those that are false or 0 are not.
    """
    options = config.get("frontend_conf") or {}
    given = {k: v for k, v in options.items() if v is not None}
    return {"name": config.get("frontend"), **given}


def symbols_of(config: Mapping[str, Any]) -> str:
    """How a model's tokens make up a text, as `export.symbols` names it.

    Example:
        >>> symbols_of({"token_type": "bpe", "bpemodel": "data/bpe.json"})
        'bytes'
    """
    pieces = str(config.get("bpemodel") or "")
    if config.get("token_type") == "bpe" or pieces:
        return "bytes" if pieces.endswith(".json") else "bpe"
    return config.get("token_type") or "char"
