"""Decoding modes against chunk sizes: a table of each system.

    python3 -m espnet_smoe.report.tables.decoding_table exp/dense exp/moe8k2 \\
        --test-set test --out exp/modes_test.md

Scores, real-time factors and latencies come from ``scores.json`` and ``decode.json`` in
``decode_<mode>_<full|chunkN>/<test set>``, as stages 12 and 13 of u2pp.sh leave them.
Experiments whose names differ only in ``_seed<N>`` are trainings of one system; its
numbers are their means.
"""

import argparse
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from espnet_smoe.command import new_parser, run_command
from espnet_smoe.report.scoring.metrics import EDITS, METRICS
from espnet_smoe.report.tables.experiment import (
    decode_info,
    mean,
    parameters,
    read_scores,
    scored,
    training_seconds,
)
from espnet_smoe.report.tables.number_format import (
    count,
    duration,
    factor,
    markdown_row,
)
from espnet_smoe.report.tables.system import by_system

DECODING = re.compile(r"decode_(.+)_(?:full|chunk(\d+))")
ORDER = ("greedy", "prefix_beam", "attention", "rescoring")  # others follow by name
SHOWN = ("wer", "ser", "cer", "cer_no_space")  # at most two of them, in this order


@dataclass(frozen=True)
class Decoding:
    """One mode at one chunk size, the mean over a system's trainings.

    Attributes:
        scores: Metric -> percent, of the whole test set; None where it has no words.
        edits: Substitutions, deletions and insertions of the first of them, in percent;
            None where unknown.
        rtf: Computing seconds a second of audio; None where unknown.
        latency: Seconds from the end of an utterance to its text, median and 95th
            percentile; None where unknown.
        chunk_seconds: Speech in a chunk; 0 without chunks, None where unknown.
    """

    scores: dict[str, float | None]
    edits: tuple[float, ...] | None
    rtf: float | None
    latency: tuple[float, float] | None
    chunk_seconds: float | None


Decodings = dict[tuple[str, int], Decoding]  # (mode, chunk size) -> what came out


def load_decodings(trainings: Sequence[Path], test_set: str) -> Decodings:
    """Read every decoding of a system.

    Args:
        trainings: Experiments, one a seed.
        test_set: Its name.

    Raises:
        ValueError: Nothing is decoded and scored, or not the same of every training.
    """
    found = [_folders(experiment, test_set) for experiment in trainings]
    for experiment, folders in zip(trainings, found):
        if folders.keys() != found[0].keys():
            odd = sorted(_name(*k) for k in folders.keys() ^ found[0].keys())
            raise ValueError(
                f"{experiment} and {trainings[0]} were not decoded alike on "
                f"{test_set}: only one has {', '.join(odd)}; run stages 12 and 13 of "
                "both with the same options"
            )
    return {
        key: _mean_decoding([folders[key] for folders in found]) for key in found[0]
    }


def _name(mode: str, size: int) -> str:
    return f"decode_{mode}_{f'chunk{size}' if size else 'full'}"


def _folders(experiment: Path, test_set: str) -> dict[tuple[str, int], Path]:
    folders = {}
    for folder in scored(experiment, test_set):
        match = DECODING.fullmatch(folder.parent.name)
        if match:
            folders[match[1], int(match[2] or 0)] = folder
    if not folders:
        raise ValueError(
            f"{experiment}/decode_*/{test_set}/scores.json does not exist: run stages "
            "12 and 13 (decode, score)"
        )
    return folders


def _mean_decoding(folders: Sequence[Path]) -> Decoding:
    """The mean of one decoding over trainings."""
    scores, edits, sizes = [], [], []
    for folder in folders:
        known = next(iter(read_scores(folder).values()))["all"]
        scores.append({m: known[m]["value"] for m in SHOWN if m in known})
        sizes.append({known[m]["n"] for m in scores[-1]})
        if not sizes[-1] or (sizes[-1], *scores[-1]) != (sizes[0], *scores[0]):
            raise ValueError(
                f"{folder}/scores.json has not the error rates of as many utterances "
                f"as {folders[0]}/scores.json: run stages 12 and 13 of both again"
            )
        edits.append([known[next(iter(scores[-1]))].get(kind) for kind in EDITS])
    infos = [decode_info(folder) for folder in folders]
    rtfs = [info.get("rtf") for info in infos]
    waits = [info.get("latency_seconds") for info in infos]
    return Decoding(
        {m: mean([s[m] for s in scores]) for m in list(scores[0])[:2]},
        None
        if any(None in of_one for of_one in edits)
        else tuple(map(mean, zip(*edits))),
        mean(rtfs),
        None if None in waits else (_average(waits, "p50"), _average(waits, "p95")),
        infos[0].get("chunk_seconds"),
    )


def _average(waits: Sequence[dict[str, float]], key: str) -> float:
    return sum(of_one[key] for of_one in waits) / len(waits)


def to_markdown(
    systems: dict[str, Decodings], facts: dict[str, str], title: str
) -> str:
    """The tables as a Markdown document.

    Args:
        systems: Name -> its decodings.
        facts: Name -> a line about it.
        title: Heading.
    """
    metrics = next(iter(next(iter(systems.values())).values())).scores
    what = ", ".join(METRICS[m].label for m in metrics)
    every = [d for decodings in systems.values() for d in decodings.values()]
    legend = f"In a cell: {what}; "
    if any(d.edits for d in every):
        legend += "substitutions (S), deletions (D), insertions (I) of the first rate; "
    legend += "the real-time factor (RTF)"
    if any(d.latency for d in every):
        legend += (
            "; milliseconds from the end of an utterance to its text, median / 95th "
            "percentile of up to 50 utterances, each alone. In chunks the utterance is "
            "encoded while it is spoken, and CTC can show words at the end of a chunk"
        )
    parts = [f"# {title}", f"{legend}."]
    for name, decodings in systems.items():
        parts += [f"### {name}", facts[name], _table(decodings)]
    return "\n\n".join(parts) + "\n"


def _table(decodings: Decodings) -> str:
    known = [mode for mode in ORDER if any(mode == m for m, _ in decodings)]
    modes = known + sorted({m for m, _ in decodings} - set(known))
    sizes = sorted({s for _, s in decodings}, key=lambda s: (s > 0, -s))
    heads = [_head(size, decodings) for size in sizes]
    lines = [f"| {markdown_row(heads)}", "|---|" + "---:|" * len(sizes)]
    for mode in modes:
        cells = [_cell(decodings.get((mode, size))) for size in sizes]
        lines.append(markdown_row([mode.replace("_", " "), *cells]))
    return "\n".join(lines)


def _head(size: int, decodings: Decodings) -> str:
    if not size:
        return "full"
    seconds = next(d.chunk_seconds for (_, s), d in decodings.items() if s == size)
    return f"chunk {size}" + (f" ({seconds:.2f} s)" if seconds else "")


def _cell(decoding: Decoding | None) -> str:
    if decoding is None:
        return "-"
    values = decoding.scores.values()
    scores = " / ".join("-" if v is None else f"{v:.2f}" for v in values)
    lines = [scores]
    if decoding.edits:
        parts = zip(("S", "D", "I"), decoding.edits)
        lines.append(" ".join(f"{kind} {value:.1f}" for kind, value in parts))
    lines += [f"RTF {factor(decoding.rtf)}"]
    if decoding.latency:
        lines.append(" / ".join(f"{1000 * s:.0f}" for s in decoding.latency) + " ms")
    return "<br>".join(lines)


def fact(trainings: Sequence[Path]) -> str:
    """One line about a system: its size, the time of its training."""
    total, active = parameters(trainings[0])
    seconds = [training_seconds(experiment) for experiment in trainings]
    seeds = f"Means of {len(trainings)} trainings. " if len(trainings) > 1 else ""
    return (
        f"{seeds}Parameters: {count(total)} in all, {count(active)} active. "
        f"Training time: {duration(mean(seconds))}."
    )


def get_parser() -> argparse.ArgumentParser:
    """Options of the command."""
    parser = new_parser("python3 -m espnet_smoe.report.tables.decoding_table", __doc__)
    parser.add_argument(
        "exp",
        type=Path,
        nargs="+",
        help="experiment directories; NAME_seed1, NAME_seed2 ... are one system",
    )
    parser.add_argument("--test-set", default="test", help="name of the test set")
    parser.add_argument("--title", help="heading (default: names the test set)")
    parser.add_argument("--out", type=Path, required=True, help="file to write")
    return parser


def main(argv: list[str] | None = None) -> None:
    """Write the tables."""
    args = get_parser().parse_args(argv)
    trainings = by_system(args.exp)
    systems = {n: load_decodings(t, args.test_set) for n, t in trainings.items()}
    facts = {name: fact(some) for name, some in trainings.items()}
    title = args.title or f"Decoding modes and chunk sizes on {args.test_set}"
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(to_markdown(systems, facts, title), encoding="utf-8")
    print(f"Written to {args.out}")


if __name__ == "__main__":
    sys.exit(run_command(main))
