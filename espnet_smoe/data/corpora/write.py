"""From the utterances of a corpus to data directories and a report."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path

from espnet_smoe.data.corpora.base import Entry, Ledger
from espnet_smoe.data.corpora.measure import check, measure_all
from espnet_smoe.data.corpora.report import report
from espnet_smoe.data.corpora.sets import Sizes, by_split, make_sets, write_sets
from espnet_smoe.data.corpora.tree import is_unicode
from espnet_smoe.data.data_dir import write_lines
from espnet_smoe.data.text.unicode_text import LOST, normalize_unicode


def write_corpus(
    entries: Iterable[Entry],
    output_dir: Path,
    *,
    draw: Sizes | None = None,
    nj: int | None = None,
    ledger: Ledger | None = None,
) -> str:
    """Write the utterances of a corpus as data directories.

    Their audio is read and measured, their texts are brought to the one Unicode form;
    what cannot be used is left out, listed in ``problems.tsv`` and counted in the
    report.

    Args:
        entries: The utterances; at least their id, split, audio and text.
        output_dir: Receives a data directory for each split.
        draw: How many of those whose split is ``validation`` become ``dev`` and
            ``test``; None where the corpus has sets of its own.
        nj: Processes that read audio; all cores by default.
        ledger: Receives what is wrong, where something has been reported already.

    Returns:
        The report.

    Raises:
        ValueError: A set would be empty.
    """
    own = Ledger(output_dir / "problems.tsv")
    with own if ledger is None else nullcontext(ledger) as ledger:
        ids: set[str] = set()
        usable = []
        for entry in entries:
            source = entry.text = normalized(entry.text, entry.corpus, ledger)
            entry.texts = {
                target: normalized(text, entry.corpus, ledger)
                for target, text in entry.texts.items()
            }
            entry.translation = normalize_unicode(entry.translation)
            if is_usable(entry, source, ids, ledger):
                usable.append(entry)
        return write_entries(usable, output_dir, ledger, draw, nj)


def write_entries(
    entries: list[Entry],
    output_dir: Path,
    ledger: Ledger,
    draw: Sizes | None,
    nj: int | None,
) -> str:
    """`write_corpus` of utterances whose texts are known to be usable."""
    nj = nj or os.cpu_count() or 1
    measures = measure_all(entries, output_dir / ".measured.jsonl", nj)
    entries = check(entries, measures, ledger)
    if draw is None:
        sets = by_split(entries, ledger)
    else:
        sets = make_sets(entries, draw, ledger)
    write_sets(output_dir, sets)
    text = report(sets, ledger)
    write_lines(output_dir / "report.md", [text])
    return text


def normalized(text: str, corpus: str, ledger: Ledger) -> str:
    """A text in the one Unicode form; the ledger counts those that were not."""
    changes: Counter[str] = Counter()
    plain = normalize_unicode(text, changes)
    ledger.changed.update((corpus, kind) for kind in changes)
    return plain


def is_usable(entry: Entry, source: str, ids: set[str], ledger: Ledger) -> bool:
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
