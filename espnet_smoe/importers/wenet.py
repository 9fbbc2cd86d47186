"""A U2++ or unified Conformer of WeNet as an experiment.

    espnet-smoe import wenet aishell_u2pp_conformer_exp --out exp/aishell_u2pp

PATH is a folder with ``train.yaml``, ``final.pt`` (or one ``avg_N.pt``), ``units.txt``,
``global_cmvn``, and the sentencepiece model where the tokens are pieces.
"""

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from espnet_smoe.importers.experiment import Experiment


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that only WeNet has."""
    parser.add_argument(
        "--checkpoint",
        metavar="NAME",
        help="file of the weights within PATH (default: final.pt, or else avg_N.pt)",
    )


def read(args: argparse.Namespace) -> "Experiment":
    """Read the model.

    Raises:
        ValueError: A file is missing or damaged, or has what cannot be carried.
    """
    from espnet_smoe.importers.experiment import Experiment
    from espnet_smoe.importers.wenet_config import configuration
    from espnet_smoe.importers.wenet_files import read_folder
    from espnet_smoe.importers.wenet_vocabulary import read_vocabulary
    from espnet_smoe.importers.wenet_weights import carry

    folder = read_folder(args.path, args.checkpoint)
    vocabulary = read_vocabulary(folder)
    config = configuration(folder) | vocabulary.config
    state = carry(folder)
    files = dict(vocabulary.files)
    if folder.statistics is not None:
        files[config["normalize_conf"]["stats_file"]] = folder.statistics.as_npz()
        state |= folder.statistics.as_state()
    encoder, decoder = config["encoder_conf"], config["decoder_conf"]
    mixture = encoder.get("moe")
    kind = f"{mixture['num_experts']} experts" if mixture else "dense"
    return Experiment(
        config,
        state,
        vocabulary.tokens,
        files,
        summary=(
            f"{kind}, D {encoder['output_size']}, layers {encoder['num_blocks']} + "
            f"{decoder['num_blocks']} + {decoder['r_num_blocks']}, "
            f"{len(vocabulary.tokens)} tokens ({config['token_type']})",
            *vocabulary.notes,
        ),
    )
