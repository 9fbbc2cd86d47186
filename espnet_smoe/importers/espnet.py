"""`espnet-smoe import espnet PATH --out EXP`: a trained model of ESPnet's own recipes.

    espnet-smoe import espnet exp/asr_train_conformer_raw --out exp/conformer
    espnet-smoe import espnet owsm.zip --out exp/owsm --language kor --to eng

PATH is the folder of an experiment of asr.sh, st.sh or s2t.sh (OWSM), or what its
packing stage or the model zoo gives: a zip, or a folder with ``meta.yaml``. The encoder
is a Transformer, Conformer, Branchformer or E-Branchformer, the decoder a Transformer.
A model of asr.sh or st.sh has one task, ``asr`` or ``st``; OWSM transcribes the
language that is named and translates it into others.
"""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from espnet_smoe.importers.experiment import Experiment

META = "meta.yaml"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    add = parser.add_argument
    add("--model", help="checkpoint in the folder (default: the averaged one)")
    add(
        "--language",
        help="that is spoken; of OWSM its code in the vocabulary, such as kor",
    )
    add(
        "--to",
        metavar="LANGUAGES",
        help="that OWSM or a model of st.sh writes, with commas between them "
        "(default: eng for OWSM)",
    )
    add(
        "--pad",
        type=float,
        metavar="SECONDS",
        help="OWSM: append silence up to this length (default: that of its training)",
    )
    add(
        "--without",
        metavar="PARTS",
        help="parts to leave out, such as ctc,extra_asr_decoder: what cannot be "
        "carried is left out only if it is named here",
    )


def read(args: argparse.Namespace) -> "Experiment":
    """Read a trained model.

    Raises:
        ValueError: A file is missing or damaged, or has what cannot be carried.
    """
    from espnet_smoe.importers.espnet_model import convert_model

    with _files(args.path, args.model) as (config, weights):
        return convert_model(
            config,
            weights,
            language=args.language,
            targets=args.to.split(",") if args.to else None,
            pad_seconds=args.pad,
            without=args.without.split(",") if args.without else (),
        )


@contextmanager
def _files(path: Path, name: str | None) -> Iterator[tuple[Path, Path]]:
    """Training configuration and checkpoint."""
    from espnet_smoe.config.yaml_file import read_yaml
    from espnet_smoe.inference.checkpoint import model_files

    if path.is_dir() and name is not None:
        if not (path / name).is_file():
            raise ValueError(f"--model: {path / name} does not exist")
        yield path / "config.yaml", path / name
    elif (
        path.is_dir()
        and (path / META).is_file()
        and not ((path / "config.yaml").is_file())
    ):
        meta = read_yaml(path / META)
        named = {**(meta.get("yaml_files") or {}), **(meta.get("files") or {})}
        found = [
            path / str(place)
            for end in ("_train_config", "_model_file")
            for key, place in named.items()
            if key.endswith(end) and not key.startswith("lm")
        ]
        if len(found) != 2 or not all(place.is_file() for place in found):
            raise ValueError(
                f"{path / META} names no training configuration and checkpoint that "
                "are there; fetch the model again"
            )
        yield found[0], found[1]
    else:
        with model_files(path) as found:
            yield found
