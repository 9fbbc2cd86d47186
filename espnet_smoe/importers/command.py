"""`espnet-smoe import whisper PATH --out EXP`: a model of others as an experiment.

    espnet-smoe import whisper whisper-base --out exp/whisper_base --language ko
    espnet-smoe transcribe --model exp/whisper_base a.wav

PATH is a folder of Hugging Face or CTranslate2 (faster-whisper), or OpenAI's ``.pt``
with ``--tokenizer``. EXP gets ``config.yaml``, ``model.pth``, ``tokens.txt``,
``bpe.json`` and ``lengths.json``. Weights are kept as they are; what cannot be carried
is refused by its name.
"""

import argparse
import sys
from pathlib import Path

from espnet_smoe.command import run_command

LONGEST = 30.0  # seconds that Whisper was trained on


def get_parser() -> argparse.ArgumentParser:
    """Options of the command."""
    parser = argparse.ArgumentParser(
        prog="espnet-smoe import",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("kind", choices=("whisper",), help="whose model it is")
    add("path", type=Path, help="folder or file of the model")
    add("--out", type=Path, required=True, help="experiment to make; a new folder")
    add(
        "--language",
        default="ko",
        help="that is spoken: its code in Whisper's vocabulary (default: %(default)s)",
    )
    add(
        "--pad",
        type=_seconds,
        default=LONGEST,
        metavar="SECONDS",
        help="append silence up to this length; with less than the 30 of its training "
        "Whisper repeats itself until it is trained further (default: 30)",
    )
    add("--tokenizer", type=Path, help="tokenizer.json, or a folder with one")
    return parser


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= LONGEST:
        raise argparse.ArgumentTypeError(f"'{text}' is not in 0..{LONGEST:.0f}")
    return value


def main(argv: list[str] | None = None) -> None:
    """Write the experiment and say what it holds.

    Raises:
        ValueError: A file is missing or damaged, or has what cannot be carried.
    """
    args = get_parser().parse_args(argv)
    if args.out.exists() and (not args.out.is_dir() or any(args.out.iterdir())):
        raise ValueError(f"{args.out} is there already; name a new folder with --out")
    # torch is slow to load, and --help needs none
    from espnet_smoe.importers.experiment import write_experiment
    from espnet_smoe.importers.whisper_files import read_whisper
    from espnet_smoe.importers.whisper_model import configuration
    from espnet_smoe.importers.whisper_tasks import tasks_of
    from espnet_smoe.importers.whisper_vocabulary import Vocabulary

    model = read_whisper(args.path)
    folder = args.path if args.path.is_dir() else args.path.parent
    vocabulary = Vocabulary(args.tokenizer or folder, model.sizes()["vocab_size"])
    vocabulary.check_names(folder)
    config = configuration(model, args.pad)
    never, first = vocabulary.not_speech()
    given = model.suppress_tokens, model.begin_suppress_tokens
    config["decoder_conf"] |= {
        "suppress_tokens": list(never if given[0] is None else given[0]),
        "begin_suppress_tokens": list(first if given[1] is None else given[1]),
    }
    config |= tasks_of(vocabulary, args.language)
    write_experiment(
        args.out,
        config,
        model.state(),
        vocabulary.tokens,
        vocabulary.tokenizer_json(),
        {"longest_seconds": LONGEST},
    )
    sizes = ", ".join(f"{name} {size}" for name, size in model.sizes().items())
    print(f"{args.path} -> {args.out}\n{sizes}")
    print(f"tasks: {', '.join(config['model_conf']['tasks'])}")


if __name__ == "__main__":
    sys.exit(run_command(main))
