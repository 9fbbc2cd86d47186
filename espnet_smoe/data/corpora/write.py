"""From the utterances of a corpus to data directories and a report."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from itertools import groupby
from operator import attrgetter
from pathlib import Path

from espnet_smoe.data.corpora.base import Entry
from espnet_smoe.data.corpora.measure import check, measure_all
from espnet_smoe.data.corpora.report import Tally, report
from espnet_smoe.data.corpora.sets import Sizes, make_sets, write_sets
from espnet_smoe.data.corpora.stored import StoredEntries
from espnet_smoe.data.corpora.tree import is_unicode
from espnet_smoe.data.data_dir import write_lines
from espnet_smoe.data.problems import ProblemLog
from espnet_smoe.data.scratch import scratch_folder
from espnet_smoe.data.text.unicode_text import LOST, normalize_unicode

SCRATCH = ".entries"


def write_corpus(
    entries: Iterable[Entry],
    output_dir: Path,
    *,
    draw: Sizes | None = None,
    nj: int | None = None,
    log: ProblemLog | None = None,
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
        log: Receives what is wrong, where something has been reported already.

    Returns:
        The report.

    Raises:
        ValueError: A set would be empty.
    """
    own = ProblemLog(output_dir / "problems.tsv")
    with own if log is None else nullcontext(log) as log:
        usable = _usable(entries, log)
        return write_entries(usable, output_dir, log, draw, nj)


def _usable(entries: Iterable[Entry], log: ProblemLog) -> Iterator[Entry]:
    for entry in entries:
        source = entry.text = normalized(entry.text, entry.corpus, log)
        entry.translation = normalize_unicode(entry.translation)
        if is_usable(entry, source, log):
            yield entry


def write_entries(
    entries: Iterable[Entry],
    output_dir: Path,
    log: ProblemLog,
    draw: Sizes | None,
    nj: int | None,
) -> str:
    """`write_corpus` of utterances whose texts are known to be usable."""
    nj = nj or os.cpu_count() or 1
    tally = Tally()
    with scratch_folder(output_dir, SCRATCH) as scratch:
        once = _each_once(StoredEntries(entries, scratch), log)
        measured = measure_all(once, output_dir / ".measured.jsonl", nj, scratch)
        good = StoredEntries(check(measured, log), scratch)
        sets = tally.count(make_sets(good, draw, log))
        write_sets(output_dir, sets, good.targets)
    text = report(tally, log)
    write_lines(output_dir / "report.md", [text])
    return text


def _each_once(entries: Iterable[Entry], log: ProblemLog) -> Iterator[Entry]:
    for _, same in groupby(entries, key=attrgetter("id")):
        first, *others = same
        first.texts = {t: normalize_unicode(text) for t, text in first.texts.items()}
        yield first
        for entry in others:
            cause = "an utterance of that id was read before"
            fix = "Remove one of the two labels"
            log.drop(entry.corpus, "doubled id", entry.label, entry.id, cause, fix)


def normalized(text: str, corpus: str, log: ProblemLog) -> str:
    """A text in the one Unicode form; the log counts those that were not."""
    changes: Counter[str] = Counter()
    plain = normalize_unicode(text, changes)
    log.changed.update((corpus, kind) for kind in changes)
    return plain


def is_usable(entry: Entry, source: str, log: ProblemLog) -> bool:
    """Whether an utterance can be used; if not, the log says why."""
    where = (entry.label, entry.id)
    if LOST in source:
        reason, cause = "lost characters", f"U+FFFD stands for some in '{source}'"
        fix = "Take the label from its source again"
    elif not source:
        fix = "Transcribe it or leave it out"
        reason = cause = "empty transcription"
    elif not entry.text:
        reason = "nothing left of the transcription"
        cause = f"only marks in '{source}'"
        fix = "Nothing to do, or choose other options of normalization"
    elif any(c in entry.audio for c in "\r\n") or entry.audio.endswith("|"):
        # a line of wav.scp ends there, or becomes a command if the file goes
        reason, cause = "unusable path", "the path of the audio holds a newline or |"
        fix = "Rename the folder or file"
    elif not all(map(is_unicode, (entry.id, entry.text, entry.speaker))):
        reason, cause = (
            "not Unicode",
            "half a character (a surrogate) in the label",
        )
        fix = "Correct the label"
    elif entry.id.split() != [entry.id]:
        reason, cause = "unusable id", "an id is one word: a space ends it in a table"
        fix = "Rename the recording"
    else:
        return True
    log.drop(entry.corpus, reason, *where, cause, fix)
    return False
