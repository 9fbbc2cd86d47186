"""``espnet-smoe score``: scores of one decoded test set, per task and condition."""

import argparse
import json
from pathlib import Path

import numpy as np
from rich import box
from rich.table import Table

from espnet_smoe.report.scoring.alignment import (
    HEADS,
    edits_table,
    worst_lines,
    write_alignments,
)
from espnet_smoe.report.scoring.bootstrap import Score
from espnet_smoe.report.scoring.clusters import resampled
from espnet_smoe.report.scoring.counts import TaskCounts, count_tasks
from espnet_smoe.report.scoring.metrics import EDITS, METRICS, REFERENCE_SIZE
from espnet_smoe.report.tables.experiment import decode_info
from espnet_smoe.report.tables.number_format import (
    group_label,
    terminal,
    with_interval,
)


def score_decode(data: Path | None, decode_dir: Path) -> dict:
    """Scores as in ``scores.json``.

    Returns:
        Task -> group -> metric -> ``{value, low, high, n, units, resampled}``: rates in
        percent, null without a reference; the interval is 95 %, null where nothing can
        be said; n counts utterances, units what was resampled. Error rates have their
        parts too: ``substitute``, ``delete``, ``insert``, in percent.
    """
    return entries(count_tasks(data, decode_dir))


def entries(tasks: dict[str, TaskCounts]) -> dict:
    """`score_decode` of counts."""
    return {
        task: {
            group: {
                name: _entry(counts, name, group, score)
                for name, score in metrics.items()
            }
            for group, metrics in counts.scores().items()
        }
        for task, counts in tasks.items()
    }


def _entry(counts: TaskCounts, name: str, group: str, score: Score) -> dict:
    entry = score.to_dict()
    clusters = counts.clusters
    entry["resampled"] = resampled(clusters.by, score.units, clusters.why)
    if METRICS[name].split is not None and score.value is not None:
        totals = [rows.sum(axis=0) for rows in counts.strata(name, group)]  # (K,) each
        first = REFERENCE_SIZE + 1
        parts = [t[first : first + len(EDITS)] / t[REFERENCE_SIZE] for t in totals]
        rates = 100 * np.mean(parts, axis=0)
        entry |= {kind: round(float(r), 4) for kind, r in zip(EDITS, rates)}
    return entry


def print_scores(scores: dict, title: str, tasks: dict[str, TaskCounts]) -> None:
    """Print the tables of each task, then what is to be known about them."""
    console = terminal(soft_wrap=True)
    for task, groups in scores.items():
        metrics = list(groups["all"])
        table = Table(
            title=f"{title} · {task}",
            title_justify="left",
            box=box.SIMPLE_HEAD,
            show_edge=False,
            padding=(0, 1, 0, 0),  # three columns fit into 80 characters
        )
        table.add_column("condition")
        table.add_column("n", justify="right")
        for name in metrics:
            # broken where three columns would not fit into a terminal
            label = METRICS[name].label.replace(" without", "\nwithout")
            table.add_column(label, justify="right")
        for group, row in groups.items():
            if group != "all" and row == groups["all"]:
                continue
            table.add_row(
                group_label(group),
                str(row[metrics[0]]["n"]),
                *(with_interval(row[name]) for name in metrics),
                style="bold" if group == "all" else None,
            )
        terminal().print(table)
        counts = tasks[task]
        rates = [name for name in metrics if METRICS[name].split is not None]
        if rates:
            edits = Table("%, all", box=box.SIMPLE_HEAD, pad_edge=False)
            for head in HEADS:
                edits.add_column(head, justify="right")
            for name in rates:
                edits.add_row(METRICS[name].label, *edits_table(counts.counts[name]))
            terminal().print(edits)
        about = groups["all"][metrics[0]]["resampled"]
        console.print(f"In brackets the 95 % interval. Resampled: {about}.")
        for note in counts.notes:
            console.print(f"Note: {note}")
        console.print()


def get_parser() -> argparse.ArgumentParser:
    """Options of ``espnet-smoe score``."""
    parser = argparse.ArgumentParser(
        prog="espnet-smoe score",
        description="Score a decoded test set: each hyp.<task> with the metrics that "
        "model_conf.tasks gives the task (WER and CER of a transcript, "
        "BLEU and chrF of a translation, unless it names others), each "
        "with a 95 % bootstrap interval over speakers (utt2spk; over "
        "utterances where they are not known). Substitutions, deletions "
        "and insertions, aligned, go to score_wer/result.txt beside the "
        "hypotheses, as sclite writes them. Decodings of ESPnet's own "
        "asr.sh are read too.",
    )
    parser.add_argument(
        "--data",
        type=Path,
        help="data directory of the test set (may be left out where ESPnet's asr.sh "
        "wrote score_wer/ref.trn)",
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
    parser.add_argument(
        "--worst",
        type=int,
        default=5,
        metavar="N",
        help="utterances with the most errors to show (default: %(default)s)",
    )
    return parser


def main(argv: list[str] | None = None) -> None:
    """Score, write ``scores.json`` and alignments, print the tables."""
    args = get_parser().parse_args(argv)
    if args.out and len(args.hyp) > 1:
        raise ValueError("--out is of one --hyp; leave it out")
    for decode_dir in args.hyp:
        out = args.out or decode_dir / "scores.json"
        _score(args.data, decode_dir, out, args.worst)


def _score(data: Path | None, decode_dir: Path, out: Path, most: int) -> None:
    tasks = count_tasks(data, decode_dir)
    scores = entries(tasks)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(scores, indent=1) + "\n", encoding="utf-8")
    written = [out]
    for counts in tasks.values():
        written += write_alignments(out.parent, counts)
    print_scores(scores, str(decode_dir), tasks)
    for task, counts in tasks.items():
        lines = worst_lines(counts, most)
        if lines:
            print(f"{task}: the worst utterances", *lines, sep="\n", end="\n\n")
    rtf = decode_info(decode_dir).get("rtf")
    if rtf is not None:
        print(f"RTF {rtf:.3f}")
    print(f"Written to {', '.join(map(str, written))}")
