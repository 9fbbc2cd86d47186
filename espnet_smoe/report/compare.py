"""``espnet-smoe compare``: experiments side by side, against the first of them.

Experiments whose names differ only in ``_seed<N>`` are trainings of one system: it has
one column, with the mean of its scores.
"""

import argparse
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from espnet_smoe.command import run_command
from espnet_smoe.report import layout
from espnet_smoe.report.bootstrap import Score, paired_p_value
from espnet_smoe.report.experiment import (
    decode_info,
    multiply_accumulates,
    parameters,
    training_seconds,
)
from espnet_smoe.report.score import TASKS, TaskCounts, count_tasks
from espnet_smoe.report.scores import METRICS

_SEED = re.compile(r"_seed\d+$")


@dataclass(frozen=True)
class System:
    """One system, decoded on the test set of the comparison.

    Attributes:
        name: Heading of its column.
        seeds: How many times it was trained.
        tasks: Task -> counts of every utterance.
        scores: Task -> group -> metric -> score.
        parameters: In all and active; None where unknown.
        multiply_accumulates: Of the encoder for one second of speech.
        rtf: Real-time factor of decoding: seconds a second of audio.
        training: Seconds spent in training.
    """

    name: str
    seeds: int
    tasks: dict[str, TaskCounts]
    scores: dict[str, dict[str, dict[str, Score]]]
    parameters: tuple[int | None, int | None] = (None, None)
    multiply_accumulates: int | None = None
    rtf: float | None = None
    training: float | None = None


@dataclass(frozen=True)
class Cell:
    """One entry: the value, and under it how it differs from the first system."""

    text: str
    note: str = ""
    best: bool = False


@dataclass(frozen=True)
class Row:
    """One line of the comparison; ``section`` groups lines under a heading."""

    section: str
    label: str
    cells: list[Cell]


def load_system(
    name: str, data: Path, experiments: Sequence[Path], decode_dirs: Sequence[Path]
) -> System:
    """Read and score a system's decodings of the test set, one a seed.

    Raises:
        ValueError: Its trainings were not decoded for the same tasks.
    """
    runs = [count_tasks(data, decode_dir) for decode_dir in decode_dirs]
    for run, decode_dir in zip(runs, decode_dirs):
        if list(run) != list(runs[0]):
            raise ValueError(
                f"{decode_dir} holds {', '.join(run)}, {decode_dirs[0]} "
                f"{', '.join(runs[0])}: decode the same tasks of every seed"
            )
    tasks = {task: TaskCounts.of_seeds([run[task] for run in runs]) for task in runs[0]}
    return System(
        name=name,
        seeds=len(runs),
        tasks=tasks,
        scores={task: counts.scores() for task, counts in tasks.items()},
        parameters=parameters(experiments[0]),
        multiply_accumulates=multiply_accumulates(experiments[0]),
        rtf=_mean([decode_info(d).get("rtf") for d in decode_dirs]),
        training=_mean([training_seconds(e) for e in experiments]),
    )


def _mean(values: Sequence[float | None]) -> float | None:
    return None if None in values else sum(values) / len(values)


def by_system(experiments: Sequence[Path]) -> dict[str, list[Path]]:
    """Trainings of each system, in the order given.

    Example:
        >>> list(by_system([Path("exp/base_seed1"), Path("exp/base_seed2")]))
        ['base']
    """
    systems: dict[str, list[Path]] = {}
    tags = [experiment.resolve().name for experiment in experiments]
    for experiment, tag in zip(experiments, tags):
        unclear = tags.count(tag) > 1  # the same name in two folders
        name = str(experiment) if unclear else _SEED.sub("", tag)
        systems.setdefault(name, []).append(experiment)
    return systems


def find_decode(experiment: Path, decode: str | None, test_set: str) -> Path:
    """Directory of the decoding to compare.

    Raises:
        ValueError: No such experiment or decoding, or more than one fits.
    """
    if not experiment.is_dir():
        raise ValueError(f"{experiment} does not exist: run stage 11 (train)")
    if decode is not None:
        return experiment / f"decode_{decode.removeprefix('decode_')}" / test_set
    found = sorted(p for p in experiment.glob(f"decode_*/{test_set}") if p.is_dir())
    if not found:
        raise ValueError(
            f"{experiment}/decode_*/{test_set} does not exist: run stage 12 (decode)"
        )
    if len(found) > 1:
        names = ", ".join(p.parent.name for p in found)
        raise ValueError(f"{experiment} has {names}: choose one with --decode")
    return found[0]


def compare(systems: Sequence[System], every_condition: bool = False) -> list[Row]:
    """Every line of the comparison, scores first, then costs.

    Args:
        systems: The first is what the others are compared with.
        every_condition: A line for each condition, not only for their means.
    """
    rows = []
    for task in TASKS:
        having = [s for s in systems if task in s.tasks]
        if not having:
            continue
        counts = having[0].tasks[task]
        for metric in counts.counts:
            for group in groups_with_line(counts, every_condition):
                rows.append(_score_row(systems, task, metric, group))
            if any(s.seeds > 1 for s in having):
                rows.append(_seeds_row(systems, task, metric))
    costs = {
        "seeds": [str(s.seeds) for s in systems],
        "parameters": [layout.count(s.parameters[0]) for s in systems],
        "active parameters": [layout.count(s.parameters[1]) for s in systems],
        "encoder MACs a second": [
            layout.count(s.multiply_accumulates) for s in systems
        ],
        "RTF": [layout.factor(s.rtf) for s in systems],
        "training time": [layout.duration(s.training) for s in systems],
    }
    return rows + [Row("cost", k, [Cell(t) for t in v]) for k, v in costs.items()]


def groups_with_line(counts: TaskCounts, every_condition: bool) -> list[str]:
    """Groups with a line; one that is the whole test set would repeat ``all``."""
    whole = len(counts.groups["all"][0])
    return [
        group
        for group, strata in counts.groups.items()
        if group == "all"
        or len(strata[0]) < whole
        and (every_condition or group.startswith("mean_"))
    ]


def _score_row(systems: Sequence[System], task: str, metric: str, group: str) -> Row:
    found = [s.scores.get(task, {}).get(group, {}).get(metric) for s in systems]
    values = [round(s.value, 2) for s in found if s]
    best = max(values) if METRICS[metric].higher_is_better else min(values)
    tied = len(set(values)) == 1
    cells = []
    for system, score in zip(systems, found):
        if score is None:
            cells.append(Cell("-"))
            continue
        cells.append(
            Cell(
                layout.with_interval(score.to_dict()),
                _difference(systems[0], system, task, metric, group),
                best=not tied and round(score.value, 2) == best,
            )
        )
    return Row(task, f"{METRICS[metric].label}, {layout.group_label(group)}", cells)


def _seeds_row(systems: Sequence[System], task: str, metric: str) -> Row:
    """The score of each training on its own."""
    cells = []
    for system in systems:
        if task not in system.tasks:
            cells.append(Cell("-"))
            continue
        (counts,) = system.tasks[task].strata(metric, "all")
        totals = counts.sum(axis=-2).reshape(system.seeds, -1)  # (seeds, K)
        values = METRICS[metric].formula(totals)
        cells.append(Cell(", ".join(f"{value:.2f}" for value in values)))
    return Row(task, f"{METRICS[metric].label}, each seed", cells)


def _difference(
    first: System, system: System, task: str, metric: str, group: str
) -> str:
    """Relative change and p-value against the first; empty for the first itself."""
    if system is first or task not in first.tasks:
        return ""
    p = paired_p_value(
        METRICS[metric],
        first.tasks[task].strata(metric, group),
        system.tasks[task].strata(metric, group),
        sources=system.tasks[task].sources(group),
    )
    old, new = (s.scores[task][group][metric].value for s in (first, system))
    return f"{layout.relative_change(old, new)}, {layout.p_value(p)}"


def explanation(systems: Sequence[System]) -> str:
    """What the numbers of the table mean, in one paragraph."""
    seeds = any(s.seeds > 1 for s in systems)
    over = "utterances and seeds" if seeds else "utterances"
    return (
        ("Scores are means over the seeds. " if seeds else "")
        + f"In brackets the 95 % bootstrap interval over {over}. Second line: "
        f"relative change against {systems[0].name}, and the two-sided p-value of a "
        "paired bootstrap (1,000 resamples). Bold: the best of the line."
    )


def to_markdown(rows: Sequence[Row], systems: Sequence[System], title: str) -> str:
    """The comparison as a Markdown document."""
    names = [s.name for s in systems]
    lines = [f"# {title}", "", "| | " + " | ".join(names) + " |"]
    lines.append("|---|" + "---:|" * len(names))
    for row in rows:
        label = row.label if row.section == "cost" else f"{row.section} {row.label}"
        lines.append(f"| {label} | " + " | ".join(map(_markdown, row.cells)) + " |")
    return "\n".join([*lines, "", explanation(systems), ""])


def _markdown(cell: Cell) -> str:
    text = f"**{cell.text}**" if cell.best else cell.text
    return f"{text}<br>{cell.note}" if cell.note else text


def print_rows(rows: Sequence[Row], names: Sequence[str], title: str) -> None:
    """Print the comparison in the terminal."""
    table = Table(
        "", title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False
    )
    for name in names:
        table.add_column(name, justify="right", overflow="fold")
    for above, row in zip([None, *rows], rows):
        if above is not None and above.section != row.section:
            table.add_section()
        label = row.label if row.section == "cost" else f"{row.section} {row.label}"
        cells = [Text(c.text, "bold" if c.best else "") for c in row.cells]
        for text, cell in zip(cells, row.cells):
            if cell.note:
                text.append(f"\n{cell.note}", "dim")
        table.add_row(label, *cells)
    Console().print(table)


def get_parser() -> argparse.ArgumentParser:
    """Options of ``espnet-smoe compare``."""
    parser = argparse.ArgumentParser(
        prog="espnet-smoe compare",
        description="Compare decoded experiments with the first of them: scores "
        "with intervals, paired p-values, parameters, speed.",
    )
    parser.add_argument(
        "exp",
        type=Path,
        nargs="+",
        help="experiment directories; NAME_seed1, NAME_seed2 ... are one system",
    )
    parser.add_argument(
        "--decode", help="NAME of decode_NAME (default: the only one there is)"
    )
    parser.add_argument(
        "--test-set", default="test", help="its name (default: %(default)s)"
    )
    parser.add_argument(
        "--data", type=Path, help="its data directory (default: data/<test set>)"
    )
    parser.add_argument(
        "--every-condition", action="store_true", help="a line for each condition"
    )
    parser.add_argument("--title", help="heading (default: names the test set)")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("compare.md"),
        help="table (default: %(default)s)",
    )
    parser.add_argument(
        "--png",
        type=Path,
        default=Path("compare.png"),
        help="picture (default: %(default)s)",
    )
    return parser


def main(argv: list[str] | None = None) -> None:
    """Compare, write Markdown and PNG, print the table."""
    args = get_parser().parse_args(argv)
    data = args.data or Path("data") / args.test_set
    try:
        systems = [
            load_system(
                name,
                data,
                trainings,
                [find_decode(e, args.decode, args.test_set) for e in trainings],
            )
            for name, trainings in by_system(args.exp).items()
        ]
    except ValueError as error:
        raise SystemExit(f"espnet-smoe compare: {error}") from None
    # The picture imports the classes above, and matplotlib is slow to load.
    from espnet_smoe.report.picture import draw_comparison

    title = args.title or f"Comparison on {args.test_set}"
    names = [s.name for s in systems]
    rows = compare(systems, args.every_condition)
    for path in (args.out, args.png):
        path.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(to_markdown(rows, systems, title), encoding="utf-8")
    draw_comparison(rows, systems, title, explanation(systems), args.png)
    print_rows(rows, names, title)
    print(f"Written to {args.out} and {args.png}")


if __name__ == "__main__":
    sys.exit(run_command(main))
