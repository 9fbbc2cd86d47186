"""What the stage made of the corpora: hours, speakers, utterances, and what is lost."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator

from espnet_smoe.data.corpora.base import Entry
from espnet_smoe.data.problems import ProblemLog


def report(sets: dict[str, list[Entry]], log: ProblemLog) -> str:
    """The report in Markdown.

    Args:
        sets: Utterances by set.
        log: What was left out, and what was taken but is odd.
    """
    lines = ["# Corpora", "", *_table("set", sets)]
    by_corpus: defaultdict[str, list[Entry]] = defaultdict(list)
    for entries in sets.values():
        for entry in entries:
            by_corpus[entry.corpus].append(entry)
    lines += ["", *_table("corpus", dict(sorted(by_corpus.items())))]
    lines += ["", "## Left out", "", *_counts(log.dropped)]
    lines += ["", "## Taken, but odd", "", *_counts(log.kept)]
    lines += ["", f"One line each in {log.path}."]
    if log.changed:
        lines += ["", "## Texts brought to the one Unicode form", ""]
        lines += _counts(log.changed)
    return "\n".join(lines)


def _table(what: str, groups: dict[str, list[Entry]]) -> Iterator[str]:
    columns = ("hours", "utterances", "speakers", "male", "female", "nb", "no English")
    yield f"| {what} | {' | '.join(columns)} |"
    yield "|---" + "|--:" * len(columns) + "|"
    for name, entries in groups.items():
        yield f"| {name} | {' | '.join(_figures(entries))} |"


def _figures(entries: list[Entry]) -> Iterable[str]:
    genders = Counter(entry.gender for entry in entries)
    speakers = {entry.speaker for entry in entries}
    unknown = " + unknown" if "" in speakers else ""
    return (
        f"{sum(entry.seconds for entry in entries) / 3600:.2f}",
        f"{len(entries):,}",
        f"{len(speakers - {''}):,}{unknown}",
        f"{genders['m']:,}",
        f"{genders['f']:,}",
        f"{sum(entry.bandwidth == 'nb' for entry in entries):,}",
        f"{sum(not entry.translation for entry in entries):,}",
    )


def _counts(counts: Counter[tuple[str, str]]) -> Iterator[str]:
    if not counts:
        yield "Nothing."
        return
    yield "| corpus | cause | count |"
    yield "|---|---|--:|"
    for (corpus, reason), count in sorted(counts.items()):
        yield f"| {corpus} | {reason} | {count:,} |"
