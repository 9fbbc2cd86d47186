"""`espnet-smoe slice`: the sub-model of one task or bandwidth, alone.

    espnet-smoe slice --model exp/decsmoe --label "<translate>" --out exp/translate
    espnet-smoe slice --model exp/whisper_smoe --label "<|translate|>" \\
        --format transformers --out whisper_translate

A label gate sends everything of a label to one expert. Without the others and without
the gate the model is dense, and writes the same. Where encoder and decoder have labels,
name one of each. FORMAT is what DIR becomes:

    espnet        config.yaml and model.pth, which ESPnet loads without this package
    transformers  a folder of Hugging Face, of a model that began as Whisper
    smoe          an experiment as training leaves it, for the commands of this package

The README.md of the first two tells how to decode.
"""

import argparse
from pathlib import Path

from espnet_smoe.command import MODEL_HELP, check_new_folder, new_parser
from espnet_smoe.config.yaml_file import read_yaml

FORMATS = ("espnet", "transformers", "smoe")


def get_parser() -> argparse.ArgumentParser:
    """Options of the command."""
    parser = new_parser("espnet-smoe slice", __doc__)
    add = parser.add_argument
    add("--model", required=True, help=MODEL_HELP)
    add("--checkpoint", help="in the experiment (default: the averaged one)")
    add(
        "--label",
        nargs="+",
        required=True,
        metavar="TOKEN",
        help="that chooses experts: a task such as '<translate>', a bandwidth such as "
        "'<nb>', or one of each",
    )
    add("--format", choices=FORMATS, default="espnet", help="default: %(default)s")
    add("--out", type=Path, required=True, metavar="DIR", help="a new folder")
    return parser


def main(argv: list[str] | None = None) -> None:
    """Write the folder and say what it holds.

    Raises:
        ValueError: A file is missing or damaged, a label is of no gate, or the format
            has no place for what the model has.
    """
    args = get_parser().parse_args(argv)
    check_new_folder(args.out)
    # torch is slow to load, and --help needs none
    from espnet_smoe.data.data_dir import new_folder
    from espnet_smoe.inference.checkpoint import cure_of, model_files
    from espnet_smoe.inference.config_files import (
        own_decoding,
        read_config,
        trained_lengths,
    )
    from espnet_smoe.input_files import read_checkpoint
    from espnet_smoe.slice import espnet, smoe, transformers
    from espnet_smoe.slice.sub_model import sub_model

    writers = {"espnet": espnet, "transformers": transformers, "smoe": smoe}
    with model_files(args.model, args.checkpoint) as (config_file, checkpoint):
        config = read_config(config_file)
        state = read_checkpoint(checkpoint, cure_of(checkpoint))
        own = own_decoding(config_file)
        decoding = read_yaml(own, empty=True) if own else None
        made = sub_model(config, state, args.label, str(checkpoint), decoding)
        lengths = trained_lengths(config_file, config)
        with new_folder(args.out) as folder:
            writers[args.format].write(made, folder, args.out.absolute(), lengths)
    print(f"{args.model} {' '.join(args.label)} -> {args.out}")
    count = sum(t.numel() for t in made.state.values() if t.is_floating_point())
    print(f"{len(made.state)} tensors, {count:,} numbers")
    for task, prompt in made.prompts.items():
        print(f"{task}: {' '.join(prompt)}")
    print(*made.notes, sep="\n", end="\n" if made.notes else "")
