"""A Whisper model as an experiment.

    espnet-smoe import whisper whisper-base --out exp/whisper_base --language ko

PATH is a folder of Hugging Face or CTranslate2 (faster-whisper), or OpenAI's ``.pt``
with ``multilingual.tiktoken`` beside it or named by ``--tokenizer``.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from espnet_smoe.importers.experiment import Experiment

LONGEST = 30.0  # seconds that Whisper was trained on


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that only Whisper has."""
    add = parser.add_argument
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
    add(
        "--tokenizer",
        type=Path,
        help="tokenizer.json or multilingual.tiktoken, or a folder with one of them",
    )


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= LONGEST:
        raise argparse.ArgumentTypeError(f"'{text}' is not in 0..{LONGEST:.0f}")
    return value


def read(args: argparse.Namespace) -> "Experiment":
    """Read the model.

    Raises:
        ValueError: A file is missing or damaged, or has what cannot be carried.
    """
    from espnet_smoe.importers.experiment import Experiment
    from espnet_smoe.importers.whisper_files import read_whisper
    from espnet_smoe.importers.whisper_model import configuration
    from espnet_smoe.importers.whisper_tasks import tasks_of
    from espnet_smoe.importers.whisper_vocabulary import Vocabulary

    model = read_whisper(args.path)
    folder = args.path if args.path.is_dir() else args.path.parent
    vocabulary = Vocabulary(args.tokenizer or folder, model.sizes()["vocab_size"])
    vocabulary.check_names(folder)
    vocabulary.check_ids(model.token_ids)
    config = configuration(model, args.pad)
    never, first = vocabulary.not_speech()
    given = model.suppress_tokens, model.begin_suppress_tokens
    config["decoder_conf"] |= {
        "suppress_tokens": list(never if given[0] is None else given[0]),
        "begin_suppress_tokens": list(first if given[1] is None else given[1]),
    }
    config |= tasks_of(vocabulary, args.language)
    config["bpemodel"] = "bpe.json"
    sizes = ", ".join(f"{name} {size}" for name, size in model.sizes().items())
    return Experiment(
        config,
        model.state(),
        vocabulary.tokens,
        {"bpe.json": vocabulary.tokenizer_json()},
        {"longest_seconds": LONGEST},
        (sizes, f"tasks: {', '.join(config['model_conf']['tasks'])}"),
    )
