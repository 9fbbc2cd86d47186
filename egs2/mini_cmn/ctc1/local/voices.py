"""Add words by other speakers to the real words of audio_cmn.py.

    python local/voices.py --table cmn_more/utterances.tsv --data data

The table has a line an utterance and a heading: ``id``, ``speaker``, ``file`` (beside
the table) and ``transcript``, separated by tabs; lines without a transcript are left
out. Speakers are split over voices_train, voices_dev and voices_test. real_train and
real_dev hold words_train and voices_train, words_dev and voices_dev, without what the
other speakers say of the words in words_dev and words_test.
"""

import argparse
import csv
import hashlib
import sys
from pathlib import Path

from espnet_smoe.command import run_command
from espnet_smoe.data.data_dir import read_table, write_table

COLUMNS = ("id", "speaker", "file", "transcript")
TABLES = ("wav.scp", "text", "utt2spk")
Tables = dict[str, dict[str, str]]  # file of a data directory -> utterance -> value


def read_rows(table: Path) -> list[dict[str, str]]:
    """Lines with a transcript, by id.

    Raises:
        ValueError: No such table, a column is missing, or no line has a transcript.
    """
    try:
        with open(table, encoding="utf-8-sig", newline="") as lines:
            rows = list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))
    except FileNotFoundError as error:
        raise ValueError(f"{table} does not exist. Correct --table.") from error
    missing = [name for name in COLUMNS if rows and name not in rows[0]]
    if missing:
        raise ValueError(
            f"{table} has no column {', '.join(missing)}: its first line names "
            f"{', '.join(COLUMNS)}, separated by tabs"
        )
    rows = [row for row in rows if row["transcript"]]
    if not rows:
        raise ValueError(f"{table}: no line has a transcript")
    return sorted(rows, key=lambda row: row["id"])


def split_speakers(
    speakers: set[str], num_dev: int, num_test: int
) -> dict[str, set[str]]:
    """Deal speakers to the sets, in the order of a hash of their names.

    Raises:
        ValueError: A count is below 1, or no speaker is left for training.
    """
    if min(num_dev, num_test) < 1 or num_dev + num_test >= len(speakers):
        raise ValueError(
            f"--num-dev {num_dev}, --num-test {num_test}: at least 1 each, and fewer "
            f"than the {len(speakers)} speakers"
        )
    ordered = sorted(speakers, key=lambda name: hashlib.sha1(name.encode()).digest())
    return {
        "voices_test": set(ordered[:num_test]),
        "voices_dev": set(ordered[num_test : num_test + num_dev]),
        "voices_train": set(ordered[num_test + num_dev :]),
    }


def to_tables(rows: list[dict[str, str]], folder: Path) -> Tables:
    """The tables of a data directory; stage 3 reads and checks the audio."""
    tables: Tables = {name: {} for name in TABLES}
    for row in rows:
        utt_id = f"{row['speaker']}-{row['id']}"
        values = str(folder / row["file"]), row["transcript"], row["speaker"]
        for name, value in zip(TABLES, values):
            tables[name][utt_id] = value
    return tables


def write_data_dir(directory: Path, tables: Tables) -> None:
    """Write wav.scp, text and utt2spk."""
    for name in TABLES:
        write_table(directory / name, dict(sorted(tables[name].items())))


def read_data_dir(directory: Path) -> Tables:
    """Read them.

    Raises:
        ValueError: One is missing.
    """
    for name in TABLES:
        if not (directory / name).is_file():
            raise ValueError(
                f"{directory / name} does not exist; run local/audio_cmn.py first"
            )
    return {name: read_table(directory / name, []) for name in TABLES}


def without_words(tables: Tables, words: set[str]) -> Tables:
    """Leave out the utterances of some words."""
    kept = [utt for utt, word in tables["text"].items() if word not in words]
    return {name: {utt: table[utt] for utt in kept} for name, table in tables.items()}


def get_parser() -> argparse.ArgumentParser:
    """Return the options of the command."""
    parser = argparse.ArgumentParser(
        prog="local/voices.py",
        description="Add words by other speakers to the real words of audio_cmn.py.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--table", type=Path, required=True, help="id, speaker, file, transcript")
    add("--data", type=Path, default="data", help="data directories, read and written")
    add("--num-dev", type=int, default=4, help="speakers")
    add("--num-test", type=int, default=10, help="speakers")
    return parser


def main(argv: list[str] | None = None) -> None:
    """Split the speakers, write their sets and those that hold both."""
    args = get_parser().parse_args(argv)
    rows = read_rows(args.table)
    speakers = split_speakers(
        {row["speaker"] for row in rows}, args.num_dev, args.num_test
    )
    parts = ("train", "dev", "test")
    words = {part: read_data_dir(args.data / f"words_{part}") for part in parts}
    held_back = {*words["dev"]["text"].values(), *words["test"]["text"].values()}
    counts = []
    for name, members in speakers.items():
        own = [row for row in rows if row["speaker"] in members]
        tables = to_tables(own, args.table.parent.absolute())
        write_data_dir(args.data / name, tables)
        counts.append(f"{name} {len(own)} by {len(members)}")
        part = name.removeprefix("voices_")
        if part != "test":
            both = without_words(tables, held_back)
            joined = {t: words[part][t] | both[t] for t in TABLES}
            write_data_dir(args.data / f"real_{part}", joined)
            counts.append(f"real_{part} {len(joined['text'])}")
    print(f"{args.data}: {', '.join(counts)}")


if __name__ == "__main__":
    sys.exit(run_command(main))
