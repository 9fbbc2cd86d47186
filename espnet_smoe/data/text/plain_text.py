"""Write Mandarin transcripts in plain characters, to learn tokens from (stage 5).

    python3 -m espnet_smoe.data.text.plain_text dump/raw/train dump/raw/dev

Each data directory gets ``text_plain``: its ``text`` as `mandarin.normalize` writes it,
without spaces between Hanzi and without punctuation, numbers as they are read. What
may be read otherwise, and signs without a reading, are in ``text_plain_doubts.tsv``.
"""

import argparse
import sys
from itertools import islice
from pathlib import Path

from espnet_smoe.command import new_parser, run_command
from espnet_smoe.data.data_dir import new_lines
from espnet_smoe.data.sorted_rows import read_records
from espnet_smoe.data.text.mandarin import normalize
from espnet_smoe.data.text.number_forms import is_unread

PLAIN = "text_plain"
MOST_SHOWN = 5
DOUBTS = "text_plain_doubts.tsv"


def write_plain(directory: Path) -> int:
    """Write ``text_plain`` of a data directory, and what is doubtful in it.

    Returns:
        How many utterances it has.

    Raises:
        ValueError: There is no ``text``, or nothing is left of an utterance's.
    """
    source = directory / "text"
    if not source.is_file():
        raise ValueError(f"{source} does not exist; stage 4 makes it")
    count = 0
    with (
        new_lines(directory / PLAIN) as write,
        new_lines(directory / DOUBTS) as doubt,
    ):
        for record in read_records(source):
            if record.fault:
                raise ValueError(f"{record.place}: {record.fault}")
            doubts: list[str] = []
            plain = normalize(record.value, doubts)
            doubts += filter(is_unread, plain)
            if not plain:
                raise ValueError(
                    f"{source}: utterance {record.key}: nothing that is said is left "
                    "of its text; write what is said or take the utterance out of data/"
                )
            write(f"{record.key} {plain}")
            for one in doubts:
                doubt(f"{record.key}\t{one}")
            count += 1
    return count


def get_parser() -> argparse.ArgumentParser:
    """Options of the command."""
    parser = new_parser("python3 -m espnet_smoe.data.text.plain_text", __doc__)
    parser.add_argument("directories", type=Path, nargs="+", help="data directories")
    return parser


def main(argv: list[str] | None = None) -> None:
    """Run the command."""
    args = get_parser().parse_args(argv)
    for directory in args.directories:
        count = write_plain(directory)
        print(f"{directory / PLAIN}: {count} utterances")
        with open(directory / DOUBTS, encoding="utf-8") as lines:
            first = list(islice(lines, MOST_SHOWN))
            number = len(first) + sum(1 for _ in lines)
        if first:
            print(f"{directory / DOUBTS}: {number} readings to check, such as")
            print(*(f"  {row}" for row in first), sep="", end="")


if __name__ == "__main__":
    sys.exit(run_command(main))
