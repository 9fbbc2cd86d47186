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
from dataclasses import fields, replace
from datetime import UTC, datetime
from pathlib import Path

from tqdm import tqdm
from translators import CommandTranslator, ModelTranslator, Translator

from espnet_smoe.command import run_command
from espnet_smoe.data.data_dir import (
    NO_TRANSLATION,
    Problem,
    read_table,
    write_table,
)
from espnet_smoe.data.text.unicode_text import normalize_unicode

FROM_CORPUS = "corpus"
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
        self.translations: dict[str, str] = {}  # by source sentence
        line = b""
        if path.is_file():
            with open(path, "rb") as notes:
                for line in notes:
                    self._recall(line)
        if line and not line.endswith(b"\n"):  # a killed run's: begin a new one
            with open(path, "ab") as notes:
                notes.write(b"\n")

    def _recall(self, line: bytes) -> None:
        try:
            note = json.loads(line)
            source, translation = note["source"], note["translation"]
            known = {key: note["provenance"][key] for key in self.identity}
        except (ValueError, KeyError, TypeError):  # what a killed run was writing
            return
        if known == self.identity:
            self.translations[source] = translation

    def add(self, translations: dict[str, str], users: dict[str, list[str]]) -> None:
        """Note translations by source; ``users`` are the utterances of each source."""
        self.translations |= translations
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
    text, before, origins = read_data(directory)
    users: dict[str, list[str]] = {}
    for utterance, source in text.items():
        if source and utterance not in before:
            users.setdefault(source, []).append(utterance)
    made = translate_all(users, translator, cache_path) if users else {}

    after = {
        utt: before.get(utt) or made.get(source) or NO_TRANSLATION
        for utt, source in text.items()
    }
    origins = {
        utt: origins.get(utt, FROM_CORPUS)
        if utt in before
        else (NO_TRANSLATION if target == NO_TRANSLATION else translator.name)
        for utt, target in after.items()
    }
    write_table(directory / "utt2translation", origins)
    write_table(directory / "text_st", after)
    report(directory, text, before, after, translator.name)


def read_data(directory: Path) -> tuple[dict[str, str], dict[str, str], dict[str, str]]:
    """Read a data directory's text, its translations and where these are from."""
    if not (directory / "text").is_file():
        raise ValueError(f"{directory}/text does not exist. Run stage 1 first.")
    problems: list[Problem] = []
    names = ("text", "text_st", "utt2translation")
    text, text_st, origins = (
        read_table(directory / name, problems) if (directory / name).is_file() else {}
        for name in names
    )
    alien = Problem(f"{directory}/text_st", "", "not in text", "Take the line out")
    problems += [replace(alien, utterance=u) for u in text_st if u not in text]
    if problems:
        shown = "\n".join(map(str, problems[:MOST_NAMED]))
        raise ValueError(f"{len(problems)} problems, nothing is changed:\n{shown}")
    before = {utt: t for utt, t in text_st.items() if t not in ("", NO_TRANSLATION)}
    return text, before, origins


def translate_all(
    users: dict[str, list[str]], translator: Translator, cache_path: Path
) -> dict[str, str]:
    """Translate each source that the cache lacks, and return all by source."""
    cache = Cache(cache_path, translator.identity())
    # Longest first: little padding, and a batch too large fails at once.
    new = sorted(users.keys() - cache.translations.keys(), key=lambda s: (-len(s), s))
    print(f"{len(users)} sentences to translate, {len(users) - len(new)} in the cache")
    with tqdm(total=len(new), unit="sentence", disable=None) as progress:
        for start in range(0, len(new), translator.batch_size):
            batch = new[start : start + translator.batch_size]
            lines = map(normalize_unicode, translator.translate(batch))
            good = {s: t for s, t in zip(batch, lines) if t not in ("", NO_TRANSLATION)}
            cache.add(good, users)
            progress.update(len(batch))
    return cache.translations


def report(directory: Path, text: dict, before: dict, after: dict, name: str) -> None:
    """Count the translations and name what has none."""
    left = [utt for utt, target in after.items() if target == NO_TRANSLATION]
    for utt in left[:MOST_NAMED]:
        cause = f"{name} gives nothing for it" if text[utt] else "no text"
        cure = "It stays <na>: trained on for recognition alone"
        print(Problem(f"{directory}/text", utt, cause, cure), file=sys.stderr)
    if len(left) > MOST_NAMED:
        print(f"... and {len(left) - MOST_NAMED} more", file=sys.stderr)
    print(f"{directory / 'text_st'}: {len(after)} utterances")
    print(f"  had a translation: {len(before)}")
    print(f"  translated by {name}: {len(after) - len(before) - len(left)}")
    print(f"  without a translation: {len(left)}")


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
