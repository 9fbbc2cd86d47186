"""``espnet-smoe score``: scores of one decoded test set, per task and condition."""

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from espnet_smoe.command import run_command
from espnet_smoe.data.codec import CONDITIONS
from espnet_smoe.data.mandarin import normalise
from espnet_smoe.provenance import check_decoding
from espnet_smoe.report.bootstrap import Score, score_interval
from espnet_smoe.report.experiment import decode_info
from espnet_smoe.report.layout import group_label, with_interval
from espnet_smoe.report.pairing import look_up, pair, read_text
from espnet_smoe.report.scores import METRICS

# Task -> (file of references in the data directory, metrics).
TASKS = {
    "asr": ("text", ("wer", "cer", "cer_no_space")),
    "st": ("text_st", ("bleu", "chrf")),
    "words": ("text", ("cer_no_space",)),
    "units": ("text_syllable", ("ser",)),
}


@dataclass(frozen=True)
class TaskCounts:
    """What every score of one task is made of.

    Attributes:
        counts: Metric -> counts (N, K), one row an utterance; (seeds, N, K) of a
            system that was trained more than once.
        groups: ``all``, each condition and ``mean_<bandwidth>`` -> strata, each
            the rows of its utterances. A ``mean_`` group has a stratum for each
            condition of that bandwidth, the others have one.
        source: (N,) number of the utterance that each row is a version of, where one
            was heard through several conditions; else None.
    """

    counts: dict[str, np.ndarray]
    groups: dict[str, list[np.ndarray]]
    source: np.ndarray | None = None

    def strata(self, metric: str, group: str) -> list[np.ndarray]:
        """Counts of one metric in each stratum of a group."""
        return [self.counts[metric][..., rows, :] for rows in self.groups[group]]

    def sources(self, group: str) -> list[np.ndarray] | None:
        """Numbers of the sources in each stratum of a group, for the bootstrap."""
        if self.source is None:
            return None
        numbers = np.unique(np.concatenate(self.groups[group]))  # rows of the group
        _, source = np.unique(self.source[numbers], return_inverse=True)
        of_row = dict(zip(numbers.tolist(), source.tolist()))
        return [np.array([of_row[r] for r in rows]) for rows in self.groups[group]]

    @classmethod
    def of_seeds(cls, runs: Sequence["TaskCounts"]) -> "TaskCounts":
        """Put the trainings of one system together, all on the same utterances."""
        if len(runs) == 1:
            return runs[0]
        counts = {m: np.stack([r.counts[m] for r in runs]) for m in runs[0].counts}
        return cls(counts, runs[0].groups, runs[0].source)

    def scores(self) -> dict[str, dict[str, Score]]:
        """Group -> metric -> score with interval."""
        return {
            group: {
                name: score_interval(
                    METRICS[name],
                    self.strata(name, group),
                    sources=self.sources(group),
                )
                for name in self.counts
            }
            for group in self.groups
        }


def count_tasks(data: Path, decode_dir: Path) -> dict[str, TaskCounts]:
    """Read references and hypotheses of every decoded task.

    Args:
        data: Data directory with ``text``, ``text_st`` and, for groups,
            ``utt2condition`` and ``utt2bandwidth``.
        decode_dir: Directory with ``hyp.<task>`` files.

    Returns:
        Task -> counts and groups; a task without any reference is left out.

    Raises:
        ValueError: Nothing was decoded, or other recordings or by another model; a
            decoded task has lost its hypotheses, or references and hypotheses do not
            belong together.
    """
    cure = f"run stage 12 (decode) of the recipe to write {decode_dir}"
    if not decode_dir.is_dir():
        raise ValueError(f"{decode_dir} does not exist: {cure}")
    check_decoding(decode_dir)
    decoded = [t for t in TASKS if (decode_dir / f"hyp.{t}").exists()]
    promised = decode_info(decode_dir).get("tasks", decoded)
    tasks = {}
    for task in dict.fromkeys([*decoded, *promised]):
        if task not in TASKS:
            logging.warning(f"{decode_dir}: no metric is known for task {task!r}")
            continue
        target, metrics = TASKS[task]
        hypotheses = read_text(decode_dir / f"hyp.{task}", cure)
        if target != "text" and not (data / target).exists():
            logging.warning(f"{data / target} does not exist: {task} is not scored")
            continue
        references = read_text(data / target, "give the data directory with --data")
        if task == "words":  # numbers, letters and marks as the lexicon writes them
            references, hypotheses = map(_normalised, (references, hypotheses))
        utts, refs, hyps = pair(
            references, hypotheses, data / target, decode_dir / f"hyp.{task}"
        )
        if not utts:
            logging.warning(f"{data / target} has no reference: {task} is not scored")
            continue
        tasks[task] = TaskCounts(
            counts={m: METRICS[m].counts(refs, hyps) for m in metrics},
            groups=group_utterances(data, utts),
            source=sources_of(data, utts),
        )
    if not tasks:
        files = ", ".join(f"hyp.{task}" for task in TASKS)
        raise ValueError(f"{decode_dir} holds none of {files}: {cure}")
    return tasks


def _normalised(texts: dict[str, str]) -> dict[str, str]:
    return {utt: normalise(text) for utt, text in texts.items()}


def group_utterances(data: Path, utts: Sequence[str]) -> dict[str, list[np.ndarray]]:
    """Rows of ``utts`` in each group that scores are reported for."""
    groups = {"all": [np.arange(len(utts))]}
    conditions = _values(data / "utt2condition", utts)
    bandwidths = _values(data / "utt2bandwidth", utts)
    if conditions is not None:
        # In the order of the S-MoE paper's table; others follow by name.
        known = [c for c in CONDITIONS if c in conditions]
        for condition in known + sorted(set(conditions) - set(known)):
            groups[condition] = [np.flatnonzero(conditions == condition)]
    if bandwidths is not None:
        inside = bandwidths if conditions is None else conditions
        for bandwidth in sorted(set(bandwidths)):
            strata = [(bandwidths == bandwidth) & (inside == c) for c in set(inside)]
            rows = sorted((np.flatnonzero(s) for s in strata if s.any()), key=min)
            groups[f"mean_{bandwidth}"] = rows
    return groups


def sources_of(data: Path, utts: Sequence[str]) -> np.ndarray | None:
    """(N,) number of each utterance's source, where ids are ``<source>-<condition>``.

    None where they are not, as in a set that heard each utterance once.
    """
    conditions = _values(data / "utt2condition", utts)
    if conditions is None:
        return None
    ends = [f"-{condition}" for condition in conditions]
    if not all(utt.endswith(end) for utt, end in zip(utts, ends)):
        return None
    names = [utt.removesuffix(end) for utt, end in zip(utts, ends)]
    return np.unique(names, return_inverse=True)[1]


def _values(path: Path, utts: Sequence[str]) -> np.ndarray | None:
    """The file's value of each utterance, (N,); None without the file."""
    if not path.exists():
        return None
    return np.array(look_up(read_text(path, ""), utts, path))


def score_decode(data: Path, decode_dir: Path) -> dict:
    """Scores as in ``scores.json``.

    Returns:
        Task -> group -> metric -> ``{value, low, high, n}``; rates in percent,
        the interval is 95 %, n counts utterances.
    """
    return {
        task: {
            group: {name: score.to_dict() for name, score in metrics.items()}
            for group, metrics in counts.scores().items()
        }
        for task, counts in count_tasks(data, decode_dir).items()
    }


def print_scores(scores: dict, title: str) -> None:
    """Print one table a task."""
    for task, groups in scores.items():
        metrics = list(groups["all"])
        table = Table(
            title=f"{title} · {task}",
            title_justify="left",
            box=box.SIMPLE_HEAD,
            pad_edge=False,
        )
        table.add_column("condition")
        table.add_column("n", justify="right")
        for name in metrics:
            table.add_column(METRICS[name].label, justify="right")
        for group, row in groups.items():
            table.add_row(
                group_label(group),
                str(row[metrics[0]]["n"]),
                *(with_interval(row[name]) for name in metrics),
                style="bold" if group == "all" else None,
            )
        Console().print(table)


def get_parser() -> argparse.ArgumentParser:
    """Options of ``espnet-smoe score``."""
    parser = argparse.ArgumentParser(
        prog="espnet-smoe score",
        description="Score a decoded test set: WER and CER of hyp.asr, BLEU and "
        "chrF of hyp.st, each with a 95 % bootstrap interval.",
    )
    parser.add_argument(
        "--data", type=Path, required=True, help="data directory of the test set"
    )
    parser.add_argument(
        "--hyp",
        type=Path,
        nargs="+",
        required=True,
        help="decoding directories, exp/<tag>/decode_<name>/<test set>",
    )
    parser.add_argument(
        "--out", type=Path, help="where to write (default: scores.json in each --hyp)"
    )
    return parser


def main(argv: list[str] | None = None) -> None:
    """Score, write ``scores.json``, print the tables."""
    args = get_parser().parse_args(argv)
    if args.out and len(args.hyp) > 1:
        raise SystemExit("espnet-smoe score: --out is of one --hyp; leave it out")
    for decode_dir in args.hyp:
        _score(args.data, decode_dir, args.out or decode_dir / "scores.json")


def _score(data: Path, decode_dir: Path, out: Path) -> None:
    try:
        scores = score_decode(data, decode_dir)
    except ValueError as error:
        raise SystemExit(f"espnet-smoe score: {error}") from None
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(scores, indent=1) + "\n", encoding="utf-8")
    print_scores(scores, str(decode_dir))
    rtf = decode_info(decode_dir).get("rtf")
    if rtf is not None:
        print(f"RTF {rtf:.3f}")
    print(f"Written to {out}")


if __name__ == "__main__":
    sys.exit(run_command(main))
