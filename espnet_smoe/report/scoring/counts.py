"""Counts, groups and clusters of a decoded test set: what its scores are made of."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from espnet_smoe.data.speech.codec import CONDITIONS
from espnet_smoe.data.text.mandarin import normalize
from espnet_smoe.report.scoring.bootstrap import Score, score_interval
from espnet_smoe.report.scoring.clusters import (
    UTTERANCES,
    Clusters,
    find_clusters,
    sources_of,
    speakers_of,
)
from espnet_smoe.report.scoring.decodings import Decoded, read_decoded
from espnet_smoe.report.scoring.metrics import METRICS, REFERENCE_SIZE
from espnet_smoe.report.scoring.pairing import (
    in_one_form,
    look_up,
    name_some,
    pair,
    read_text,
)

MEAN = "mean_"  # begins the name of a group that is a mean over conditions


@dataclass(frozen=True)
class TaskCounts:
    """The counts from which every score of one task is computed.

    Attributes:
        counts: Metric -> counts (N, K), one row an utterance; (seeds, N, K) of a
            system that was trained more than once.
        groups: ``all``, each condition and ``mean_<bandwidth>`` -> strata, each
            the rows of its utterances. A ``mean_`` group has a stratum for each
            condition of that bandwidth, the others have one.
        clusters: What the bootstrap resamples.
        utts: Ids of the N utterances.
        texts: References and hypotheses as they were scored, N of each.
        speakers: Who speaks each, (N,); empty where unknown.
        notes: Remarks for the reader of the scores.
    """

    counts: dict[str, np.ndarray]
    groups: dict[str, list[np.ndarray]]
    clusters: Clusters = Clusters(None, UTTERANCES)
    utts: Sequence[str] = ()
    texts: tuple[Sequence[str], Sequence[str]] = ((), ())
    speakers: Sequence[str] = ()
    notes: Sequence[str] = ()

    def strata(self, metric: str, group: str) -> list[np.ndarray]:
        """Counts of one metric in each stratum of a group."""
        return [self.counts[metric][..., rows, :] for rows in self.groups[group]]

    def clusters_of(self, group: str) -> list[np.ndarray] | None:
        """Numbers of the clusters in each stratum of a group, for the bootstrap."""
        if self.clusters.of is None:
            return None
        rows = np.unique(np.concatenate(self.groups[group]))
        _, number = np.unique(self.clusters.of[rows], return_inverse=True)
        of_row = dict(zip(rows.tolist(), number.tolist()))
        return [np.array([of_row[r] for r in rows]) for rows in self.groups[group]]

    @classmethod
    def of_seeds(cls, runs: Sequence["TaskCounts"]) -> "TaskCounts":
        """Counts of several trainings of one system on the same utterances."""
        if len(runs) == 1:
            return runs[0]
        first = runs[0]
        counts = {m: np.stack([r.counts[m] for r in runs]) for m in first.counts}
        notes = list(dict.fromkeys(note for run in runs for note in run.notes))
        return replace(first, counts=counts, notes=notes)

    def scores(self) -> dict[str, dict[str, Score]]:
        """Group -> metric -> score with interval."""
        return {
            group: {
                name: score_interval(
                    METRICS[name],
                    self.strata(name, group),
                    clusters=self.clusters_of(group),
                )
                for name in self.counts
            }
            for group in self.groups
        }


def check_alike(
    task: str, first: TaskCounts, other: TaskCounts, names: Sequence[object]
) -> None:
    """Refuse to compare scores that are not of the same references.

    Args:
        task: Its name.
        first: Counts of one decoding.
        other: Of another.
        names: What to call the two.

    Raises:
        ValueError: Other utterances, another text of one, or a metric that takes the
            texts for another language.
    """
    where = f"{task} of {names[0]} and {names[1]}"
    odd = sorted(set(first.utts) ^ set(other.utts))
    if odd:
        raise ValueError(
            f"{where} are of other test sets: only one has {name_some(odd)}; decode "
            "the same one"
        )
    pairs = zip(first.utts, other.utts, first.texts[0], other.texts[0])
    for mine, theirs, reference, another in pairs:
        if (mine, reference) != (theirs, another):
            raise ValueError(
                f"{where} have different references, of {name_some([mine])} "
                f"'{reference}' and '{another}': score both with the same --data and "
                "the same target"
            )
    for metric in first.counts.keys() & other.counts.keys():
        mine, theirs = (of.counts[metric][..., REFERENCE_SIZE] for of in (first, other))
        if not np.array_equal(np.atleast_2d(mine)[0], np.atleast_2d(theirs)[0]):
            raise ValueError(
                f"{where}: {METRICS[metric].label} does not count the same, as their "
                f"language differs: give model_conf.tasks.{task} the same one"
            )


def count_tasks(
    data: Path | None, decode_dir: Path, letters: bool = False
) -> dict[str, TaskCounts]:
    """Read references and hypotheses of every decoded task.

    Args:
        data: Data directory with ``text``, ``text_st`` and, for groups and clusters,
            ``utt2condition``, ``utt2bandwidth`` and ``utt2spk``; None where the
            decoding of ESPnet's asr.sh has its references beside it.
        decode_dir: Directory with ``hyp.<task>`` files, or one of ESPnet's asr.sh.
        letters: Count errors of letters alone too, in transcripts.

    Returns:
        Task -> counts and groups; a task without any reference is left out.

    Raises:
        ValueError: Nothing was decoded, a decoded task has lost its hypotheses, no
            task has references, or the two do not belong together.
    """
    left_out, tasks = [], {}
    for task, of_task in read_decoded(decode_dir, data).items():
        if letters and of_task.row.is_transcript:
            metrics = dict.fromkeys((*of_task.row.metrics, "cer_letters"))
            of_task = replace(of_task, row=replace(of_task.row, metrics=tuple(metrics)))
        counts = _count_task(task, of_task, data)
        if isinstance(counts, str):
            left_out.append(counts)
        else:
            tasks[task] = counts
    if not tasks:
        raise ValueError(f"{decode_dir}: nothing to score: {'; '.join(left_out)}")
    first = next(iter(tasks))
    notes = [*tasks[first].notes, *left_out]
    tasks[first] = replace(tasks[first], notes=notes)
    return tasks


def _count_task(task: str, decoded: Decoded, data: Path | None) -> TaskCounts | str:
    """Counts of a task, or why it is not scored."""
    target, metrics = decoded.row.target, decoded.row.metrics
    references, source = decoded.references, decoded.path.parent / "ref.trn"
    if references is None:
        if data is None:
            raise ValueError(
                f"{decoded.path}: nothing to compare it with: give the data directory "
                "with --data"
            )
        source = data / target
        if target != "text" and not source.exists():
            return f"{source} does not exist: {task} is not scored"
        references = read_text(source, "give the data directory with --data")
    references, hypotheses, notes = in_one_form(references, decoded.hypotheses)
    if task == "words":  # numbers, letters and marks as the lexicon writes them
        references, hypotheses = map(_normalized, (references, hypotheses))
    utts, refs, hyps = pair(references, hypotheses, source, decoded.path)
    if not utts:
        return f"{source} has no reference: {task} is not scored"
    counts = {m: METRICS[m].counts(refs, hyps, decoded.row.language) for m in metrics}
    beside = None if decoded.references is not None else data  # more about the set
    speakers, sources = None, None
    if beside is not None:
        speakers, sources = speakers_of(beside, utts), sources_of(beside, utts)
    elif decoded.speakers is not None:
        speakers = [decoded.speakers[utt] for utt in utts]
    return TaskCounts(
        counts=counts,
        groups=group_utterances(beside, utts),
        clusters=find_clusters(utts, speakers, sources),
        utts=utts,
        texts=(refs, hyps),
        speakers=speakers or (),
        notes=[*notes, *_notes_on_empty(utts, refs, counts)],
    )


def _notes_on_empty(
    utts: Sequence[str], references: Sequence[str], counts: dict[str, np.ndarray]
) -> list[str]:
    """Notes on empty references."""
    empty = [utt for utt, text in zip(utts, references) if not text]
    if not empty:
        return []
    metric, metric_counts = next(iter(counts.items()))
    errors = METRICS[metric].split is not None
    if len(empty) == len(utts):
        note = "every reference is empty: there is no score"
        if errors:
            note += (
                f", and {metric_counts[:, 0].sum():.0f} words or characters too many"
            )
        return [note]
    note = f"empty reference of {name_some(empty)}"
    if errors:
        inserted = metric_counts[metric_counts[:, REFERENCE_SIZE] == 0, 0].sum()
        note += f": what was recognized there counts as inserted ({inserted:.0f})"
    return [note]


def _normalized(texts: dict[str, str]) -> dict[str, str]:
    return {utt: normalize(text) for utt, text in texts.items()}


def clusters_in(data: Path, utts: Sequence[str]) -> Clusters:
    """Clusters of utterances of a data directory."""
    return find_clusters(utts, speakers_of(data, utts), sources_of(data, utts))


def group_utterances(
    data: Path | None, utts: Sequence[str]
) -> dict[str, list[np.ndarray]]:
    """Rows of ``utts`` in each group that scores are reported for."""
    groups = {"all": [np.arange(len(utts))]}
    if data is None:
        return groups
    conditions = _values(data / "utt2condition", utts)
    bandwidths = _values(data / "utt2bandwidth", utts)
    if conditions is not None:
        reserved = [c for c in set(conditions) if c == "all" or c.startswith(MEAN)]
        if reserved:
            raise ValueError(
                f"{data / 'utt2condition'}: '{min(reserved)}' is what the scores of "
                "several conditions are called; call the condition otherwise"
            )
        # In the order of the S-MoE paper's table; others follow by name.
        known = [c for c in CONDITIONS if c in conditions]
        for condition in known + sorted(set(conditions) - set(known)):
            groups[condition] = [np.flatnonzero(conditions == condition)]
    if bandwidths is not None:
        inside = bandwidths if conditions is None else conditions
        for bandwidth in sorted(set(bandwidths)):
            strata = [(bandwidths == bandwidth) & (inside == c) for c in set(inside)]
            rows = sorted((np.flatnonzero(s) for s in strata if s.any()), key=min)
            groups[f"{MEAN}{bandwidth}"] = rows
    return groups


def _values(path: Path, utts: Sequence[str]) -> np.ndarray | None:
    """The file's value of each utterance, (N,); None without the file."""
    if not path.exists():
        return None
    return np.array(look_up(read_text(path, ""), utts, path))
