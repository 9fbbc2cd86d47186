#!/usr/bin/env python3
"""Fill the missing translations of a data directory by machine translation.

    local/translate.py --data data/train --model facebook/nllb-200-distilled-600M
    local/translate.py --data data/train --command "my_translator --from ko --to en"

Lines <na> of DIR/text_st are translated from DIR/text; translations that are there
stay. Every finished batch goes to a cache, so a run that was stopped goes on where it
was. DIR/utt2translation says for each utterance where its translation is from.
"""

import argparse
import json
import sys
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import fields
from datetime import UTC, datetime
from heapq import merge
from itertools import batched, groupby, repeat
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm
from translators import CommandTranslator, ModelTranslator, Translator

from espnet_smoe.command import run_command
from espnet_smoe.data.data_dir import NO_TRANSLATION, new_tables
from espnet_smoe.data.problems import Problem, split_message
from espnet_smoe.data.scratch import scratch_folder
from espnet_smoe.data.sorted_file import Lookup, Record, read_sorted, sort_records
from espnet_smoe.data.sorted_rows import sorted_records
from espnet_smoe.data.text.unicode_text import normalize_unicode

SOURCES, TARGETS, ORIGINS = "text", "text_st", "utt2translation"
FROM_CORPUS = "corpus"
LONGEST = 10**9  # characters of a sentence
MOST_NAMED = 50


class Cache:
    """Translations made so far, as JSON lines.

    Args:
        path: The file; made when the first translation comes.
        identity: Of the translator; lines of another one are passed over.
    """

    def __init__(self, path: Path, identity: dict) -> None:
        self.path = path
        self.identity = identity

    def read(self) -> Iterator[tuple[str, str]]:
        """Each source with its translation; of two the last one counts."""
        if self.path.is_file():
            with open(self.path, "rb") as notes:
                yield from filter(None, map(self._recall, notes))

    def _recall(self, line: bytes) -> tuple[str, str] | None:
        try:
            note = json.loads(line)
            source, translation = note["source"], note["translation"]
            known = {key: note["provenance"][key] for key in self.identity}
        except (ValueError, KeyError, TypeError):  # what a killed run was writing
            return None
        return (source, translation) if known == self.identity else None

    def end_line(self) -> None:
        """Begin a new line where a killed run was writing one."""
        if self.path.is_file() and self.path.stat().st_size:
            with open(self.path, "r+b") as notes:
                notes.seek(-1, 2)
                if notes.read() != b"\n":
                    notes.write(b"\n")

    def add(self, translations: dict[str, str], users: dict[str, list[str]]) -> None:
        """Note translations by source; ``users`` are the utterances of each source."""
        date = datetime.now(UTC).isoformat(timespec="seconds")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path, "a", encoding="utf-8") as file:
            for source, translation in translations.items():
                for utterance in users[source]:
                    note = {
                        "utterance": utterance,
                        "source": source,
                        "translation": translation,
                        "provenance": self.identity | {"date": date},
                    }
                    file.write(json.dumps(note, ensure_ascii=False) + "\n")


def fill(directory: Path, translator: Translator, cache_path: Path) -> None:
    """Fill the lines ``<na>`` of ``directory/text_st``.

    Raises:
        ValueError: A table is bad, or the translator failed.
    """
    with scratch_folder(directory, ".translate") as scratch:
        check(directory, scratch)
        cache = Cache(cache_path, translator.identity())
        made = translate_all(directory, translator, cache, scratch)
        counts: Counter[str] = Counter()
        with new_tables(directory, (ORIGINS, TARGETS)) as write:
            for row in read_data(directory, scratch):
                target, origin = row.target, row.origin or FROM_CORPUS
                if not target:
                    target = deque(made.find(row.source), 1) if row.source else ()
                    target = target[0] if target else NO_TRANSLATION
                    missing = target == NO_TRANSLATION
                    origin = NO_TRANSLATION if missing else translator.name
                    counts["missing" if missing else "made"] += 1
                    if missing and counts["missing"] <= MOST_NAMED:
                        name_missing(directory, row, translator.name)
                counts["all"] += 1
                write(row.utterance, {ORIGINS: origin, TARGETS: target})
    report(directory, counts, translator.name)


class Row(NamedTuple):
    """An utterance.

    Attributes:
        utterance: Its id.
        source: Its text.
        target: Its translation; empty where there is none.
        origin: Where that is from; empty where nobody says so.
    """

    utterance: str
    source: str
    target: str
    origin: str


def read_data(directory: Path, scratch: Path) -> Iterator[Row]:
    """Read a data directory's text, its translations and where these are from."""
    for utterance, found in _joined(directory, scratch):
        if SOURCES in found:
            target = found.get(TARGETS, "")
            target = "" if target == NO_TRANSLATION else target
            yield Row(utterance, found[SOURCES], target, found.get(ORIGINS, ""))


def _joined(directory: Path, scratch: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Each utterance and what the tables say of it; lines at fault are left out."""
    tables = [
        zip(sorted_records(directory / name, scratch), repeat(name))
        for name in (SOURCES, TARGETS, ORIGINS)
        if (directory / name).is_file()
    ]
    both = merge(*tables, key=lambda line: line[0].key)
    for utterance, lines in groupby(both, key=lambda line: line[0].key):
        yield utterance, {name: r.value for r, name in lines if not r.fault}


def check(directory: Path, scratch: Path) -> None:
    """Check the tables.

    Raises:
        ValueError: One is bad.
    """
    if not (directory / SOURCES).is_file():
        raise ValueError(f"{directory}/text does not exist. Run stage 1 first.")
    count, shown = 0, []
    for problem in _problems(directory, scratch):
        count += 1
        shown += [str(problem)] if count <= MOST_NAMED else []
    if count:
        shown = "\n".join(shown)
        raise ValueError(f"{count} problems, nothing is changed:\n{shown}")


def _problems(directory: Path, scratch: Path) -> Iterator[Problem]:
    for name in (SOURCES, TARGETS, ORIGINS):
        if (directory / name).is_file():
            for line in sorted_records(directory / name, scratch):
                if line.fault:
                    cause, fix = split_message(ValueError(line.fault))
                    yield Problem(line.place, line.key, cause, fix)
    for utterance, found in _joined(directory, scratch):
        if TARGETS in found and SOURCES not in found:
            place = f"{directory}/{TARGETS}"
            yield Problem(place, utterance, "not in text", "Take the line out")


def translate_all(
    directory: Path, translator: Translator, cache: Cache, scratch: Path
) -> Lookup:
    """Translate each source that the cache lacks; all translations by source."""
    made = Lookup(cache.read(), scratch)
    rows = read_data(directory, scratch)
    lacking = ((r.source, r.utterance) for r in rows if r.source and not r.target)
    count: Counter[str] = Counter()

    def new() -> Iterator[Record]:
        """Longest first: little padding, and a batch too large fails at once."""
        for source, users in Lookup(lacking, scratch).groups():
            count["all"] += 1
            if next(made.find(source), None) is None:
                count["new"] += 1
                order = f"{LONGEST - len(source):010} {source}"
                yield Record(order, "", json.dumps([source, [*users]]))

    sources = read_sorted(sort_records(new(), scratch))
    if not count["all"]:
        return made
    in_cache = count["all"] - count["new"]
    print(f"{count['all']} sentences to translate, {in_cache} in the cache")
    cache.end_line()
    with tqdm(total=count["new"], unit="sentence", disable=None) as progress:
        for some in batched(sources, translator.batch_size):
            users = dict(json.loads(record.value) for record in some)
            batch = [*users]
            lines = map(normalize_unicode, translator.translate(batch))
            good = {s: t for s, t in zip(batch, lines) if t not in ("", NO_TRANSLATION)}
            cache.add(good, users)
            progress.update(len(batch))
    return Lookup(cache.read(), scratch)


def name_missing(directory: Path, row: Row, name: str) -> None:
    """Say why an utterance has no translation."""
    cause = f"{name} gives nothing for it" if row.source else "no text"
    cure = "It stays <na>: trained on for recognition alone"
    problem = Problem(f"{directory}/text", row.utterance, cause, cure)
    print(problem, file=sys.stderr)


def report(directory: Path, counts: Counter[str], name: str) -> None:
    """Print how many translations there are, and of whom."""
    if counts["missing"] > MOST_NAMED:
        print(f"... and {counts['missing'] - MOST_NAMED} more", file=sys.stderr)
    had = counts["all"] - counts["made"] - counts["missing"]
    print(f"{directory / TARGETS}: {counts['all']} utterances")
    print(f"  had a translation: {had}")
    print(f"  translated by {name}: {counts['made']}")
    print(f"  without a translation: {counts['missing']}")


def get_parser() -> argparse.ArgumentParser:
    """Options of the command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", type=Path, required=True, metavar="DIR", help="data directory")
    backend = parser.add_mutually_exclusive_group(required=True)
    backend.add_argument(
        "--model", help="Hugging Face seq2seq model: name or directory"
    )
    backend.add_argument("--command", help="reads a sentence a line, writes one a line")
    add("--source-lang", default="kor_Hang", help="code that the model uses")
    add("--target-lang", default="eng_Latn", help="code that the model uses")
    add(
        "--batch-size",
        type=positive,
        help="sentences a batch of the model (default 32) or a run of the command "
        "(default 10000)",
    )
    add("--num-beams", type=positive, default=4)
    add("--max-length", type=positive, default=256, help="tokens; no longer source")
    add("--device", choices=("auto", "cpu", "cuda"), default="auto")
    add("--dtype", choices=("float32", "bfloat16", "float16"), default="float32")
    add("--cache", type=Path, metavar="FILE", help="default: DIR/translations.jsonl")
    return parser


def positive(text: str) -> int:
    """An integer of 1 or more."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number}: 1 or more is needed")
    return number


def main(argv: list[str] | None = None) -> None:
    """Run the command."""
    args = get_parser().parse_args(argv)
    if args.command:
        translator = CommandTranslator(args.command, args.batch_size or 10000)
    else:
        names = [field.name for field in fields(ModelTranslator)][2:]
        options = {name: getattr(args, name) for name in names}
        translator = ModelTranslator(args.model, args.batch_size or 32, **options)
    cache = args.cache or args.data / "translations.jsonl"
    fill(args.data, translator, cache)


if __name__ == "__main__":
    sys.exit(run_command(main))
