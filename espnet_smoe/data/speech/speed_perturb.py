"""List each utterance again at other speeds (speed perturbation, stage 2).

    python3 -m espnet_smoe.data.speech.speed_perturb --in data/train \\
        --out data/train_sp --factors 0.9 1.0 1.1

Only tables are written: ``utt2speed`` tells stage 3, which reads the audio anyway.
"""

import argparse
import sys
from pathlib import Path

from espnet_smoe.command import new_parser, run_command
from espnet_smoe.data.data_dir import read_tables, write_table


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
    tables, problems = read_tables(source)
    if problems:
        raise ValueError("\n".join(map(str, problems)))
    tables["utt2speed"] = {}
    perturbed: dict[str, dict[str, str]] = {name: {} for name in tables}
    for factor in factors:
        prefix = "" if factor == 1 else f"sp{factor:g}-"
        for name, table in tables.items():
            mark = prefix if name == "utt2spk" else ""
            for utt, value in table.items():
                perturbed[name][prefix + utt] = mark + value
        for utt in tables["wav.scp"]:
            perturbed["utt2speed"][prefix + utt] = f"{factor:g}"
    for name, table in perturbed.items():
        write_table(out / name, table)
    count = len(perturbed["wav.scp"])
    print(f"{source} -> {out}: {count} utterances at speeds {factors}")


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
