"""`espnet-smoe pack`: a trained model for others, in one file or for the hub.

    espnet-smoe pack exp/train_bbpe500 --out koen.zip
    espnet-smoe pack exp/train_bbpe500 --out koen --name lab/koen --license cc-by-4.0
    hf upload lab/koen koen

A name that ends with .zip becomes ESPnet's zip file, as stage 14 of a recipe writes it,
which works on any machine. Any other
becomes a new folder, which the Hugging Face hub takes as it is: weights in the format
of safetensors, configuration, tokenizer, statistics, and as README.md a model card
with scores, training data and limits. Both are loaded by the commands here (--model)
and by ESPnet.
"""

import argparse
import contextlib
import re
import shutil
from pathlib import Path

from espnet_smoe.command import MODEL_HELP, check_new_folder, check_out, new_parser

LICENSE = re.compile(r"[a-z0-9.-]+")
NAME = re.compile(r"[\w.-]+(/[\w.-]+)?", re.ASCII)
LANGUAGE = re.compile(r"[a-z]{2,3}")


def get_parser() -> argparse.ArgumentParser:
    """Options of the command."""
    parser = new_parser("espnet-smoe pack", __doc__)
    add = parser.add_argument
    add("model", help=MODEL_HELP)
    add("--checkpoint", help="in the folder (default: the averaged or best one)")
    add("--out", type=Path, required=True, help="NAME.zip, or a new folder")
    add(
        "--decoding",
        type=Path,
        metavar="YAML",
        help="that it is to decode by, where a user gives none (default: the one that "
        "the model has); kept in the folder of MODEL, too",
    )
    card = parser.add_argument_group("Model card of a folder")
    add = card.add_argument
    add(
        "--name",
        help="on the hub, such as lab/koen (default: that of OUT)",
    )
    add(
        "--license",
        default="unknown",
        help="of the weights, as the hub calls it, such as cc-by-4.0 "
        "(default: %(default)s)",
    )
    add(
        "--language",
        nargs="+",
        metavar="CODE",
        help="that the model hears and writes, such as ko en (default: those of its "
        "tasks)",
    )
    return parser


def main(argv: list[str] | None = None) -> None:
    """Write the file or folder and say what it holds.

    Raises:
        ValueError: A file of the model is missing or damaged, or an option is wrong.
    """
    args = get_parser().parse_args(argv)
    _check(args)
    # torch is slow to load, and --help needs none
    from espnet_smoe.inference.checkpoint import model_files
    from espnet_smoe.inference.config_files import DECODING
    from espnet_smoe.pack.folder import write_folder
    from espnet_smoe.pack.zip_file import write_zip

    with model_files(args.model, args.checkpoint) as (config_file, model_file):
        name = args.name or args.out.resolve().name
        is_zip = args.out.suffix == ".zip"
        if is_zip:
            write_zip(config_file, model_file, args.out, args.decoding)
        else:
            about = name, args.license, args.language, args.decoding
            write_folder(config_file, model_file, args.out, *about)
        own = Path(args.model) / DECODING
        if args.decoding and own.parent.is_dir():
            with contextlib.suppress(shutil.SameFileError):
                shutil.copy(args.decoding, own)
    if is_zip:
        print(f"{args.out}: {args.out.stat().st_size / 1e6:.1f} MB")
        return
    for path in sorted(args.out.iterdir()):
        print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")
    if args.license == "unknown":
        print("The license is unknown: name it with --license, or in README.md.")
    print(f"hf upload {name if '/' in name else f'YOUR_NAME/{name}'} {args.out}")


def _check(args: argparse.Namespace) -> None:
    if args.out.suffix == ".zip":
        check_out(args.out)
    else:
        check_new_folder(args.out)
    if args.name and not NAME.fullmatch(args.name):
        raise ValueError(f"--name: '{args.name}' is no name of a model; write lab/koen")
    if not LICENSE.fullmatch(args.license):
        raise ValueError(
            f"--license: '{args.license}' is no name of the hub's, which are in lower "
            "case, such as apache-2.0"
        )
    for code in args.language or ():
        if not LANGUAGE.fullmatch(code):
            raise ValueError(
                f"--language: '{code}' is no code of a language (ISO 639), such as ko"
            )
