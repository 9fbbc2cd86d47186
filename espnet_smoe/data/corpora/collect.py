"""All utterances of all corpora, with plain texts and their English."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from espnet_smoe.data.corpora import fleurs, labels
from espnet_smoe.data.corpora.base import Entry, Ledger
from espnet_smoe.data.corpora.config import Config, CorpusRules
from espnet_smoe.data.corpora.corpus import Corpus, one_word
from espnet_smoe.data.corpora.tree import find_corpora, is_unicode, list_tree, nfc
from espnet_smoe.data.text.korean import KoreanOptions, normalise
from espnet_smoe.data.text.parallel_text import Translations
from espnet_smoe.data.text.unicode_text import LOST, normalize_unicode


def collect(
    aihub: Path,
    fleurs_root: Path | None,
    config: Config,
    options: KoreanOptions,
    translations: Translations,
    ledger: Ledger,
) -> list[Entry]:
    """Read every corpus.

    Args:
        aihub: Folder of corpora, or one corpus.
        fleurs_root: Folder of FLEURS, if it is there.
        config: What the user says of unknown corpora.
        options: How transcripts are normalised.
        translations: English by id or sentence, for what has none of its own.
        ledger: Receives what is wrong.

    Returns:
        Utterances whose text is normalised and not empty; the translation is empty
        where there is none.

    Raises:
        ValueError: A folder does not exist or holds no corpus.
    """
    roots = find_corpora(aihub, config.corpora)
    known = {nfc(root) for root in roots}
    unknown = sorted(set(config.corpora) - known)
    if unknown:
        raise ValueError(
            f"--config: no corpus is named '{unknown[0]}'. Use a folder name below "
            f"{aihub}: {', '.join(sorted(known))}."
        )
    entries: list[Entry] = []
    ids: set[str] = set()
    raw = _all_entries(roots, fleurs_root, config, ledger)
    for entry in raw:
        changes: Counter[str] = Counter()
        source = normalize_unicode(entry.text, changes)
        ledger.changed.update((entry.corpus, kind) for kind in changes)
        doubts: list[str] = []
        entry.text = normalise(source, options, entry.spoken_first, doubts)
        if _complete(entry, source, ids, ledger):
            _note_doubts(entry, doubts, ledger)
            _translate(entry, source, translations)
            entries.append(entry)
    return entries


def _all_entries(
    roots: list[Path], fleurs_root: Path | None, config: Config, ledger: Ledger
) -> Iterator[Entry]:
    names = [nfc(root) for root in roots]
    for root, name, prefix in zip(roots, names, _prefixes(names)):
        rules = config.corpora.get(name, CorpusRules())
        tree = list_tree(root, ledger)
        yield from labels.entries(Corpus(name, prefix, tree, ledger, rules))
    if fleurs_root is not None:
        yield from fleurs.entries(fleurs_root, ledger)


def _prefixes(names: list[str]) -> list[str]:
    """The number of each corpus, or its whole name where numbers are not unique.

    Example:
        >>> _prefixes(["123.한국어음성", "우리말 뭉치"])
        ['123', '우리말_뭉치']
    """
    numbers = [re.match(r"\d{2,}(?=[._])|", name).group() or name for name in names]
    count = Counter(numbers)
    return [
        one_word(number if count[number] == 1 else name)
        for number, name in zip(numbers, names)
    ]


def _complete(entry: Entry, source: str, ids: set[str], ledger: Ledger) -> bool:
    """Whether an utterance can be used; if not, the ledger says why."""
    where = (entry.label, entry.id)
    if LOST in source:
        reason, cause = "lost characters", f"U+FFFD stands for some in '{source}'"
        cure = "Take the label from its source again"
    elif not source:
        cure = "Transcribe it or leave it out"
        reason = cause = "empty transcription"
    elif not entry.text:
        reason = "nothing left of the transcription"
        cause = f"only marks in '{source}'"
        cure = "Nothing to do, or choose other options of normalisation"
    elif any(c in entry.audio for c in "\r\n") or entry.audio.endswith("|"):
        # a line of wav.scp ends there, or becomes a command if the file goes
        reason, cause = "unusable path", "the path of the audio holds a newline or |"
        cure = "Rename the folder or file"
    elif not all(map(is_unicode, (entry.id, entry.text, entry.speaker))):
        reason, cause = (
            "not Unicode",
            "half a character (a surrogate) in the label",
        )
        cure = "Correct the label"
    elif entry.id in ids:
        reason, cause = "doubled id", "an utterance of that id was read before"
        cure = "Remove one of the two labels"
    else:
        ids.add(entry.id)
        return True
    ledger.drop(entry.corpus, reason, *where, cause, cure)
    return False


def _note_doubts(entry: Entry, doubts: list[str], ledger: Ledger) -> None:
    if doubts:
        cause = f"may be read otherwise or not at all: {'; '.join(doubts)}"
        cure = "Listen, and write what is said"
        reason = "doubtful reading"
        ledger.keep(entry.corpus, reason, entry.label, entry.id, cause, cure)


def _translate(entry: Entry, source: str, translations: Translations) -> None:
    """Give an utterance its English: its corpus's own, by id, or by sentence."""
    own = normalize_unicode(entry.translation)
    # A bare number is the name of many things.
    ids = [entry.id] if entry.key.isdecimal() else [entry.id, entry.key]
    found = (translations.find(source, identifier) for identifier in ids)
    entry.translation = (
        own or next(filter(None, found), "") or translations.find(entry.text) or ""
    )
