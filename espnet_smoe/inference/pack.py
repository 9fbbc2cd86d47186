"""Pack a trained model into one zip file that works on any machine (stage 14).

    python3 -m espnet_smoe.inference.pack --exp exp/train_bbpe500 --out model.zip

The zip is ESPnet's own format: ``espnet2.main_funcs.pack_funcs.unpack`` gives back
``asr_train_config`` and ``asr_model_file`` with paths that fit the new place.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import sys
import tempfile
from pathlib import Path

import yaml
from espnet2.main_funcs import pack_funcs

from espnet_smoe.command import run_command

# Where a training configuration names a file that inference needs.
FILE_KEYS = (("bpemodel",), ("normalize_conf", "stats_file"))


def pack(experiment: Path, model: str, out: Path) -> None:
    """Pack the configuration, weights, tokenizer and statistics of an experiment.

    Args:
        experiment: Folder with ``config.yaml``.
        model: Name of the checkpoint in it.
        out: The zip file to write.

    Raises:
        ValueError: A file is missing.
    """
    for path in (experiment / "config.yaml", experiment / model):
        if not path.is_file():
            raise ValueError(f"{path} does not exist; stage 11 (train) makes it.")
    config = yaml.safe_load((experiment / "config.yaml").read_text(encoding="utf-8"))
    out.parent.mkdir(parents=True, exist_ok=True)
    # Packed from a folder of its own: ESPnet keeps paths relative to the working
    # directory, and absolute ones (links to another disk) could not be unpacked.
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copy(experiment / model, folder / "model.pth")
        extra = _copy_files(config, folder)
        text = yaml.safe_dump(config, allow_unicode=True, sort_keys=False)
        (folder / "config.yaml").write_text(text, encoding="utf-8")
        zip_file = out.resolve()
        with contextlib.chdir(folder):
            pack_funcs.pack(
                files={"asr_model_file": "model.pth"},
                yaml_files={"asr_train_config": "config.yaml"},
                option=extra,
                outpath=zip_file,
            )


def _copy_files(config: dict, folder: Path) -> list[str]:
    """Copy the files that a configuration names, and name the copies instead."""
    copied = []
    for *parents, key in FILE_KEYS:
        section = config
        for parent in parents:
            section = section.get(parent) or {}
        if not section.get(key):
            continue
        source = Path(section[key])
        if not source.is_file():
            raise ValueError(
                f"{source} ({'.'.join([*parents, key])} of config.yaml) does not "
                "exist. Run from the folder where it was trained."
            )
        shutil.copy(source, folder / source.name)
        section[key] = source.name
        copied.append(source.name)
    return copied


def get_parser() -> argparse.ArgumentParser:
    """Options of the command."""
    parser = argparse.ArgumentParser(
        prog="python3 -m espnet_smoe.inference.pack",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--exp", type=Path, required=True, help="experiment folder")
    parser.add_argument("--model", default="valid.acc.ave.pth", help="checkpoint in it")
    parser.add_argument("--out", type=Path, required=True, help="zip file to write")
    return parser


def main(argv: list[str] | None = None) -> None:
    """Run the command."""
    args = get_parser().parse_args(argv)
    try:
        pack(args.exp, args.model, args.out)
    except ValueError as error:
        raise SystemExit(f"error: {error}") from error
    print(f"{args.out}: {args.out.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    sys.exit(run_command(main))
