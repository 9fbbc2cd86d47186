"""Statistics of a training set of any size: stage 10 in flat memory.

    python3 -m espnet_smoe.training.statistics exp/stats/logdir/stats.* --out exp/stats

sums up what the jobs of stage 10 have collected, as ESPnet's ``aggregate_stats_dirs``
does, with the tables of shapes sorted by utterance as those of the data directory.
"""

import argparse
import sys
from contextlib import ExitStack
from functools import partial
from heapq import merge
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from espnet_smoe.command import new_parser, run_command
from espnet_smoe.data.data_dir import write_lines
from espnet_smoe.data.scratch import scratch_folder
from espnet_smoe.data.sorted_rows import in_order, read_records


class ShapeTables:
    """Tables of a folder, ``tables[name][utterance] = value``: ESPnet's writer of them.

    ESPnet's own keeps the names of all utterances, to warn of one that comes twice.
    """

    def __init__(self, folder: Path):
        self._folder = Path(folder)
        self._tables: dict[str, _Table] = {}
        self._files = ExitStack()

    def __enter__(self) -> "ShapeTables":
        return self

    def __exit__(self, *error: Any) -> None:
        self._files.__exit__(*error)

    def __getitem__(self, name: str) -> "_Table":
        if name not in self._tables:
            self._folder.mkdir(parents=True, exist_ok=True)
            file = open(self._folder / name, "w", encoding="utf-8")
            self._tables[name] = _Table(self._files.enter_context(file))
        return self._tables[name]


class _Table:
    def __init__(self, file: TextIO):
        self._file = file

    def __setitem__(self, utterance: str, value: str) -> None:
        self._file.write(f"{utterance} {value}\n")


def collect_in_flat_memory() -> None:
    """Let ESPnet collect statistics without the names of all utterances; idempotent."""
    from espnet_smoe.compat import collect_stats  # slow, and not needed to sum up

    collect_stats.DatadirWriter = ShapeTables


def sum_up(folders: list[Path], out: Path) -> None:
    """Sum up statistics that jobs have collected.

    Args:
        folders: Of the jobs.
        out: Receives ``train`` and ``valid``.

    Raises:
        ValueError: A job has not collected all of it.
    """
    for part in ("train", "valid"):
        (out / part).mkdir(parents=True, exist_ok=True)
        for name in _names(folders[0] / part / "batch_keys"):
            _merge(folders, out, f"{part}/{name}_shape")
        for name in _names(folders[0] / part / "stats_keys"):
            _add(folders, out, f"{part}/{name}_stats.npz")
            features = f"{part}/collect_feats/{name}.scp"
            if (folders[0] / features).is_file():
                _merge(folders, out, features)


def _names(path: Path) -> list[str]:
    return _existing(path).read_text(encoding="utf-8").split()


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise ValueError(f"{path} does not exist: its job has not ended; run stage 10")
    return path


def _merge(folders: list[Path], out: Path, name: str) -> None:
    """A table of all jobs, sorted by utterance."""
    with scratch_folder(out, ".sort") as scratch:
        tables = [
            in_order(partial(read_records, _existing(folder / name)), scratch)
            for folder in folders
        ]
        write_lines(out / name, (f"{line.key} {line.value}" for line in merge(*tables)))


def _add(folders: list[Path], out: Path, name: str) -> None:
    total: dict[str, Any] = {}
    for folder in folders:
        with np.load(_existing(folder / name)) as found:
            total = {key: total.get(key, 0) + found[key] for key in found}
    np.savez(out / name, **total)


def get_parser() -> argparse.ArgumentParser:
    """Options of the command."""
    parser = new_parser("python3 -m espnet_smoe.training.statistics", __doc__)
    parser.add_argument("folders", type=Path, nargs="+", help="of the jobs")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    return parser


def main(argv: list[str] | None = None) -> None:
    """Run the command."""
    args = get_parser().parse_args(argv)
    sum_up(args.folders, args.out)


if __name__ == "__main__":
    sys.exit(run_command(main))
