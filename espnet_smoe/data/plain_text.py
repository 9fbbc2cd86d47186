"""Write Mandarin transcripts in plain characters, to learn tokens from (stage 5).

    python3 -m espnet_smoe.data.plain_text dump/raw/train dump/raw/dev

Each data directory gets ``text_plain``: its ``text`` as `mandarin.normalise` writes it,
without spaces between Hanzi and without punctuation, numbers as they are read.
"""

import argparse
import sys
from pathlib import Path

from espnet_smoe.command import run_command
from espnet_smoe.data.data_dir import read_table, write_table
from espnet_smoe.data.mandarin import normalise

PLAIN = "text_plain"


def write_plain(directory: Path) -> int:
    """Write ``text_plain`` of a data directory.

    Returns:
        How many utterances it has.

    Raises:
        ValueError: There is no ``text``, or nothing is left of an utterance's.
    """
    source = directory / "text"
    if not source.is_file():
        raise ValueError(f"{source} does not exist; stage 4 makes it")
    plain = {utt: normalise(text) for utt, text in read_table(source, []).items()}
    for utt, text in plain.items():
        if not text:
            raise ValueError(
                f"{source}: utterance {utt}: nothing that is said is left of its text; "
                "write what is said or take the utterance out of data/"
            )
    write_table(directory / PLAIN, plain)
    return len(plain)


def get_parser() -> argparse.ArgumentParser:
    """Options of the command."""
    parser = argparse.ArgumentParser(
        prog="python3 -m espnet_smoe.data.plain_text",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("directories", type=Path, nargs="+", help="data directories")
    return parser


def main(argv: list[str] | None = None) -> None:
    """Run the command."""
    args = get_parser().parse_args(argv)
    for directory in args.directories:
        try:
            count = write_plain(directory)
        except ValueError as error:
            raise SystemExit(f"error: {error}") from error
        print(f"{directory / PLAIN}: {count} utterances")


if __name__ == "__main__":
    sys.exit(run_command(main))
