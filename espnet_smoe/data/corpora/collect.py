"""All utterances of all corpora, with plain texts and their English."""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from espnet_smoe.data.corpora import fleurs, labels
from espnet_smoe.data.corpora.base import Entry
from espnet_smoe.data.corpora.config import Config, CorpusRules
from espnet_smoe.data.corpora.corpus import Corpus, one_word
from espnet_smoe.data.corpora.tree import find_corpora, list_tree, nfc
from espnet_smoe.data.corpora.write import is_usable, normalized
from espnet_smoe.data.problems import ProblemLog
from espnet_smoe.data.text.korean import KoreanOptions, normalize
from espnet_smoe.data.text.parallel_text import Translations
from espnet_smoe.data.text.unicode_text import normalize_unicode


def collect(
    aihub: Path,
    fleurs_root: Path | None,
    config: Config,
    options: KoreanOptions,
    translations: Translations,
    log: ProblemLog,
    scratch: Path,
) -> Iterator[Entry]:
    """Read every corpus.

    Args:
        aihub: Folder of corpora, or one corpus.
        fleurs_root: Folder of FLEURS, if it is there.
        config: What the user says of unknown corpora.
        options: How transcripts are normalized.
        translations: English by id or sentence, for what has none of its own.
        log: Receives what is wrong.
        scratch: Folder for what is listed.

    Yields:
        Utterances whose text is normalized and not empty; the translation is empty
        where there is none.

    Raises:
        ValueError: A folder does not exist or holds no corpus.
    """
    roots = find_corpora(aihub, scratch, config.corpora)
    known = {nfc(root) for root in roots}
    unknown = sorted(set(config.corpora) - known)
    if unknown:
        raise ValueError(
            f"--config: no corpus is named '{unknown[0]}'. Use a folder name below "
            f"{aihub}: {', '.join(sorted(known))}."
        )
    for entry in _all_entries(roots, fleurs_root, config, log, scratch):
        source = normalized(entry.text, entry.corpus, log)
        doubts: list[str] = []
        entry.text = normalize(source, options, entry.spoken_first, doubts)
        if is_usable(entry, source, log):
            _note_doubts(entry, doubts, log)
            _translate(entry, source, translations)
            yield entry


def _all_entries(
    roots: list[Path],
    fleurs_root: Path | None,
    config: Config,
    log: ProblemLog,
    scratch: Path,
) -> Iterator[Entry]:
    names = [nfc(root) for root in roots]
    for root, name, prefix in zip(roots, names, _prefixes(names)):
        rules = config.corpora.get(name, CorpusRules())
        # The tree of one corpus goes before that of the next is listed.
        with TemporaryDirectory(dir=scratch) as listed:
            tree = list_tree(root, log, Path(listed))
            yield from labels.entries(Corpus(name, prefix, tree, log, rules))
    if fleurs_root is not None:
        try:
            yield from fleurs.entries(fleurs_root, log, scratch)
        except ValueError as error:
            raise ValueError(f"--fleurs: {error}") from error


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


def _note_doubts(entry: Entry, doubts: list[str], log: ProblemLog) -> None:
    if doubts:
        cause = f"may be read otherwise or not at all: {'; '.join(doubts)}"
        fix = "Listen, and write what is said"
        reason = "doubtful reading"
        log.keep(entry.corpus, reason, entry.label, entry.id, cause, fix)


def _translate(entry: Entry, source: str, translations: Translations) -> None:
    """Give an utterance its English: its corpus's own, by id, or by sentence."""
    own = normalize_unicode(entry.translation)
    # A bare number is the name of many things.
    ids = [entry.id] if entry.key.isdecimal() else [entry.id, entry.key]
    found = (translations.find(source, identifier) for identifier in ids)
    entry.translation = (
        own or next(filter(None, found), "") or translations.find(entry.text) or ""
    )
