"""What the stage made of the corpora: hours, speakers, utterances, and what is lost."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from espnet_smoe.data.corpora.base import TRAIN, Entry
from espnet_smoe.data.problems import ProblemLog

COLUMNS = ("hours", "utterances", "speakers", "male", "female", "nb", "no English")


@dataclass
class Figures:
    """What some utterances amount to."""

    seconds: float = 0.0
    counts: Counter[str] = field(default_factory=Counter)
    speakers: set[str] = field(default_factory=set)

    def add(self, entry: Entry) -> None:
        """Count an utterance."""
        self.seconds += entry.seconds
        self.speakers.add(entry.speaker)
        self.counts["utterances"] += 1
        self.counts[entry.gender or "unknown"] += 1
        self.counts["nb"] += entry.bandwidth == "nb"
        self.counts["no English"] += not entry.translation

    def cells(self) -> Iterator[str]:
        """Those of `COLUMNS`."""
        unknown = " + unknown" if "" in self.speakers else ""
        yield f"{self.seconds / 3600:.2f}"
        yield f"{self.counts['utterances']:,}"
        yield f"{len(self.speakers - {''}):,}{unknown}"
        for name in ("m", "f", "nb", "no English"):
            yield f"{self.counts[name]:,}"


class Tally:
    """The figures of sets and of corpora."""

    def __init__(self) -> None:
        self.sets: defaultdict[str, Figures] = defaultdict(Figures)
        self.corpora: defaultdict[str, Figures] = defaultdict(Figures)

    def count(self, entries: Iterable[Entry]) -> Iterator[Entry]:
        """Count utterances that pass."""
        for entry in entries:
            self.sets[entry.split].add(entry)
            self.corpora[entry.corpus].add(entry)
            yield entry


def report(tally: Tally, log: ProblemLog) -> str:
    """The report in Markdown.

    Args:
        tally: What was written.
        log: What was left out, and what was taken but is odd.
    """
    lines = ["# Corpora", "", *_table("set", tally.sets)]
    lines += ["", *_table("corpus", tally.corpora)]
    lines += ["", "## Left out", "", *_counts(log.dropped)]
    lines += ["", "## Taken, but odd", "", *_counts(log.kept)]
    lines += ["", f"One line each in {log.path}."]
    if log.changed:
        lines += ["", "## Texts brought to the one Unicode form", ""]
        lines += _counts(log.changed)
    return "\n".join(lines)


def _table(what: str, groups: Mapping[str, Figures]) -> Iterator[str]:
    yield f"| {what} | {' | '.join(COLUMNS)} |"
    yield "|---" + "|--:" * len(COLUMNS) + "|"
    for name in sorted(groups, key=lambda name: (name != TRAIN, name)):
        yield f"| {name} | {' | '.join(groups[name].cells())} |"


def _counts(counts: Counter[tuple[str, str]]) -> Iterator[str]:
    if not counts:
        yield "Nothing."
        return
    yield "| corpus | cause | count |"
    yield "|---|---|--:|"
    for (corpus, reason), count in sorted(counts.items()):
        yield f"| {corpus} | {reason} | {count:,} |"
