"""Write Mandarin transcripts in plain characters, to learn tokens from (stage 5).

    python3 -m espnet_smoe.data.text.plain_text dump/raw/train dump/raw/dev

Each data directory gets ``text_plain``: its ``text`` as `mandarin.normalize` writes it,
without spaces between Hanzi and without punctuation, numbers as they are read. What
may be read otherwise, and signs without a reading, are in ``text_plain_doubts.tsv``.
"""

import argparse
import sys
from pathlib import Path

from espnet_smoe.command import new_parser, run_command
from espnet_smoe.data.data_dir import read_table, write_lines, write_table
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
    plain: dict[str, str] = {}
    rows: list[str] = []
    for utt, written in read_table(source, []).items():
        doubts: list[str] = []
        plain[utt] = normalize(written, doubts)
        doubts += filter(is_unread, plain[utt])
        rows += [f"{utt}\t{doubt}" for doubt in doubts]
        if not plain[utt]:
            raise ValueError(
                f"{source}: utterance {utt}: nothing that is said is left of its text; "
                "write what is said or take the utterance out of data/"
            )
    write_table(directory / PLAIN, plain)
    write_lines(directory / DOUBTS, rows)
    return len(plain)


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
        doubts = (directory / DOUBTS).read_text(encoding="utf-8").splitlines()
        if doubts:
            print(f"{directory / DOUBTS}: {len(doubts)} readings to check, such as")
            print(*(f"  {row}" for row in doubts[:MOST_SHOWN]), sep="\n")


if __name__ == "__main__":
    sys.exit(run_command(main))
