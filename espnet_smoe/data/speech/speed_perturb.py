"""List each utterance again at other speeds (speed perturbation, stage 2).

    python3 -m espnet_smoe.data.speech.speed_perturb --in data/train \\
        --out data/train_sp --factors 0.9 1.0 1.1

Only tables are written: ``utt2speed`` tells stage 3, which reads the audio anyway.
"""

import argparse
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from heapq import merge
from operator import itemgetter
from pathlib import Path

from espnet_smoe.command import new_parser, run_command
from espnet_smoe.data.data_dir import WAV_SCP, find_tables, new_tables
from espnet_smoe.data.sorted_rows import UNLISTED, Row, sorted_rows


def perturb(source: Path, out: Path, factors: list[float]) -> None:
    """Write a data directory with one copy of each utterance a factor.

    Utterances and speakers of a factor other than 1 are named ``sp<factor>-...``:
    a voice at another speed is another voice.

    Raises:
        ValueError: A factor is out of range or given twice, or ids are doubled.
    """
    if len(set(factors)) < len(factors) or not all(0.25 <= f <= 4 for f in factors):
        raise ValueError(
            f"speed factors {factors}: use different numbers from 0.25 to 4."
        )
    tables = find_tables(source)
    names = [*tables, *({"utt2speed"} - tables.keys())]
    with ExitStack() as stack:
        # sorted each, and so is what they are merged to
        copies = [
            _at_speed(stack.enter_context(sorted_rows(tables, out)), factor)
            for factor in factors
        ]
        write = stack.enter_context(new_tables(out, names))
        count = 0
        for utt, values in merge(*copies, key=itemgetter(0)):
            write(utt, values)
            count += WAV_SCP in values
    print(f"{source} -> {out}: {count} utterances at speeds {factors}")


def _at_speed(
    rows: Iterable[Row], factor: float
) -> Iterator[tuple[str, dict[str, str]]]:
    prefix = "" if factor == 1 else f"sp{factor:g}-"
    for row in rows:
        wrong = [p for p in row.problems if p.cause != UNLISTED]  # stage 3 says that
        if wrong:
            raise ValueError("\n".join(map(str, wrong)))
        values = row.values
        if "utt2spk" in values:
            values["utt2spk"] = prefix + values["utt2spk"]
        if WAV_SCP in values:
            values["utt2speed"] = f"{factor:g}"
        yield prefix + row.id, values


def get_parser() -> argparse.ArgumentParser:
    """Options of the command."""
    parser = new_parser("python3 -m espnet_smoe.data.speech.speed_perturb", __doc__)
    parser.add_argument("--in", dest="source", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--factors", type=float, nargs="+", default=[0.9, 1.0, 1.1])
    return parser


def main(argv: list[str] | None = None) -> None:
    """Run the command."""
    args = get_parser().parse_args(argv)
    perturb(args.source, args.out, args.factors)


if __name__ == "__main__":
    sys.exit(run_command(main))
