"""`espnet-smoe import KIND PATH --out EXP`: a model of others as an experiment.

    espnet-smoe import whisper whisper-base --out exp/whisper_base --language ko
    espnet-smoe transcribe --model exp/whisper_base a.wav

EXP holds what a training here would have left: ``config.yaml``, ``model.pth``,
``tokens.txt`` and what they need. Weights are kept as they are; what cannot be carried
is refused by its name.
"""

import argparse
import importlib
from pathlib import Path

from espnet_smoe.command import check_new_folder, new_parser

# Each module has `add_options(parser)` and `read(args) -> Experiment`, its docstring is
# the description of the command; it loads torch in `read` alone.
KINDS = {
    "wenet": ("espnet_smoe.importers.wenet", "U2++ and unified Conformers"),
    "whisper": (
        "espnet_smoe.importers.whisper",
        "Hugging Face, OpenAI, CTranslate2",
    ),
    "espnet": (
        "espnet_smoe.importers.espnet",
        "a trained model of ESPnet's asr.sh, st.sh or s2t.sh (OWSM)",
    ),
}


def get_parser() -> argparse.ArgumentParser:
    """Options of the command."""
    parser = new_parser("espnet-smoe import", __doc__)
    kinds = parser.add_subparsers(dest="kind", required=True)
    for name, (module, what) in KINDS.items():
        kind = importlib.import_module(module)
        command = kinds.add_parser(
            name,
            help=what,
            description=kind.__doc__,
            formatter_class=parser.formatter_class,
        )
        add = command.add_argument
        add("path", type=Path, help="folder or file of the model")
        add("--out", type=Path, required=True, help="experiment to make; a new folder")
        kind.add_options(command)
    return parser


def main(argv: list[str] | None = None) -> None:
    """Write the experiment and say what it holds.

    Raises:
        ValueError: A file is missing or damaged, or has what cannot be carried.
    """
    args = get_parser().parse_args(argv)
    check_new_folder(args.out)
    # torch is slow to load, and --help needs none
    from espnet_smoe.importers.experiment import write_experiment

    experiment = importlib.import_module(KINDS[args.kind][0]).read(args)
    write_experiment(args.out, experiment, args.path)
    print("\n".join([f"{args.path} -> {args.out}", *experiment.summary]))
