"""``espnet-smoe compare``: experiments side by side, against the first of them.

Experiments whose names differ only in ``_seed<N>`` are trainings of one system: it has
one column, with the mean of its scores.
"""

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich import box
from rich.table import Table
from rich.text import Text

from espnet_smoe.report.scoring.bootstrap import RESAMPLES, holm, paired_p_value
from espnet_smoe.report.scoring.counts import TaskCounts
from espnet_smoe.report.scoring.metrics import METRICS
from espnet_smoe.report.tables import number_format
from espnet_smoe.report.tables.system import (
    Cell,
    Row,
    System,
    by_system,
    check_systems,
    explain_units,
    find_data,
    find_decode,
    groups_with_line,
    load_system,
    tasks_of,
)

ONE_SEED = "1 seed"
Test = tuple[str, str, str, str]  # system, task, metric, group


def compare(systems: Sequence[System], every_condition: bool = False) -> list[Row]:
    """Every line of the comparison, scores first, then costs.

    Args:
        systems: The first is what the others are compared with.
        every_condition: A line for each condition, not only for their means.
    """
    p_values = adjusted_p_values(systems, every_condition)
    rows = []
    for task in tasks_of(systems):
        having = [s for s in systems if task in s.tasks]
        for metric in dict.fromkeys(m for s in having for m in s.tasks[task].counts):
            counts = next(c for s in having if metric in (c := s.tasks[task]).counts)
            for group in groups_with_line(counts, every_condition):
                rows.append(_score_row(systems, task, metric, group, p_values))
            if any(s.seeds > 1 for s in having):
                rows.append(_seeds_row(systems, task, metric))
            if len(set(counts.speakers)) > 1:
                rows.append(_speakers_row(systems, task, metric))
    costs = {
        "seeds": [str(s.seeds) for s in systems],
        "parameters": [number_format.count(s.parameters[0]) for s in systems],
        "active parameters": [number_format.count(s.parameters[1]) for s in systems],
        "encoder MACs a second": [
            number_format.count(s.multiply_accumulates) for s in systems
        ],
        "RTF": [number_format.factor(s.rtf) for s in systems],
        "training time": [number_format.duration(s.training) for s in systems],
    }
    return rows + [Row("cost", k, [Cell(t) for t in v]) for k, v in costs.items()]


def adjusted_p_values(
    systems: Sequence[System], every_condition: bool = False
) -> dict[Test, float | None]:
    """p-values of every comparison with the first system, adjusted by Holm's method.

    Of many tests some would look significant by chance. A family is all tests of one
    score of one task, over systems and conditions; WER and CER see the same errors, so
    that to put them together would only ask twice.

    Returns:
        System, task, metric and group -> p-value.
    """
    first = systems[0]
    tests = [
        (system.name, task, metric, group)
        for system in systems[1:]
        for task, counts in system.tasks.items()
        if task in first.tasks
        for metric in counts.counts
        if metric in first.tasks[task].counts
        for group in groups_with_line(counts, every_condition)
        if group in first.tasks[task].groups
    ]
    tasks = {system.name: system.tasks for system in systems}
    alone = [
        paired_p_value(
            METRICS[metric],
            first.tasks[task].strata(metric, group),
            tasks[name][task].strata(metric, group),
            clusters=first.tasks[task].clusters_of(group),
        )
        for name, task, metric, group in tests
    ]
    adjusted = {}
    for family in dict.fromkeys(test[1:3] for test in tests):
        members = [i for i, test in enumerate(tests) if test[1:3] == family]
        together = holm([alone[i] for i in members])
        adjusted |= {tests[i]: p for i, p in zip(members, together)}
    return adjusted


def _score_row(
    systems: Sequence[System],
    task: str,
    metric: str,
    group: str,
    p_values: dict[Test, float | None],
) -> Row:
    found = [s.scores.get(task, {}).get(group, {}).get(metric) for s in systems]
    values = [round(s.value, 2) for s in found if s and s.value is not None]
    pick = max if METRICS[metric].higher_is_better else min
    best = pick(values, default=None)
    tied = len(set(values)) == 1
    cells = []
    for system, score in zip(systems, found):
        if score is None or score.value is None:
            cells.append(Cell("-"))
            continue
        test = (system.name, task, metric, group)
        note = ""
        if test in p_values:
            old = systems[0].scores[task][group][metric].value
            note = _note(old, score.value, p_values[test], (systems[0], system))
        cells.append(
            Cell(
                number_format.with_interval(score.to_dict()),
                note,
                best=not tied and round(score.value, 2) == best,
            )
        )
    return Row(
        task, f"{METRICS[metric].label}, {number_format.group_label(group)}", cells
    )


def _note(
    old: float | None, new: float, p: float | None, systems: Sequence[System]
) -> str:
    """Relative change and p-value against the first system."""
    if old is None:
        return ""
    mark = f" ({ONE_SEED})" if min(s.seeds for s in systems) == 1 else ""
    return (
        f"{number_format.relative_change(old, new)}, {number_format.p_value(p)}{mark}"
    )


def _seeds_row(systems: Sequence[System], task: str, metric: str) -> Row:
    """The score of each training on its own."""
    cells = []
    for system in systems:
        if task not in system.tasks or metric not in system.tasks[task].counts:
            cells.append(Cell("-"))
            continue
        (counts,) = system.tasks[task].strata(metric, "all")
        totals = np.atleast_2d(counts.sum(axis=-2))  # (seeds, K)
        values = METRICS[metric].formula(totals)
        cells.append(Cell(", ".join(f"{value:.2f}" for value in values)))
    return Row(task, f"{METRICS[metric].label}, each seed", cells)


def _speakers_row(systems: Sequence[System], task: str, metric: str) -> Row:
    """The median over the speakers and the worst, whose errors may be most of all."""
    cells = []
    for system in systems:
        counts = system.tasks.get(task)
        has = counts is not None and metric in counts.counts
        speakers = np.array(counts.speakers) if has else np.array([])
        names = np.unique(speakers)
        values = np.array([_mean_score(counts, metric, speakers == n) for n in names])
        if not len(values) or np.isnan(values).any():
            cells.append(Cell("-"))
            continue
        pick = np.argmin if METRICS[metric].higher_is_better else np.argmax
        worst = pick(values)
        median = np.median(values)
        cells.append(Cell(f"{median:.2f}; {names[worst]} {values[worst]:.2f}"))
    return Row(task, f"{METRICS[metric].label}, median speaker; worst", cells)


def _mean_score(counts: TaskCounts, metric: str, rows: np.ndarray) -> float:
    """Of some utterances, the mean over the seeds; NaN where they have no score."""
    totals = np.atleast_2d(counts.counts[metric][..., rows, :].sum(axis=-2))
    return float(np.mean(METRICS[metric].formula(totals)))


def explanation(systems: Sequence[System], rows: Sequence[Row]) -> str:
    """What the numbers of the table mean, in one paragraph.

    Args:
        systems: The systems compared.
        rows: Lines of the table.
    """
    tests = _most_tests(rows)
    seeds = [s.seeds for s in systems]
    units = explain_units(systems)
    several = max(seeds) > 1
    sentences = ["Scores are means over the seeds."] if several else []
    sentences.append(
        "In brackets the 95 % bootstrap interval. Resampled: "
        + (f"seeds and {units}." if several else f"{units}.")
    )
    if tests:
        sentences.append(
            f"Second line: relative change against {systems[0].name}, and the "
            f"two-sided p-value of a paired bootstrap ({RESAMPLES:,} resamples), "
            "adjusted by Holm's method for all tests of the same score in this table "
            f"({tests} of each)."
        )
    if len({s.decoding for s in systems}) > 1:
        ways = ", ".join(f"{s.name} {s.decoding or '-'}" for s in systems)
        sentences.append(f"Not decoded alike: {ways}.")
    if tests and min(seeds) == 1:
        sentences.append(
            f"'{ONE_SEED}': of this training; another may turn the result."
        )
    return " ".join([*sentences, "Bold: the best of the line."])


def _most_tests(rows: Sequence[Row]) -> int:
    """p-values of one score in the table; of that with the most."""
    scores = Counter()
    for row in rows:
        score = row.section, row.label.partition(",")[0]
        scores[score] += sum(bool(cell.note) for cell in row.cells)
    return max(scores.values(), default=0)


def to_markdown(
    rows: Sequence[Row], systems: Sequence[System], title: str, explained: str
) -> str:
    """The comparison as a Markdown document.

    ``explained`` goes below the table, then which hypotheses were scored.
    """
    names = [s.name for s in systems]
    lines = [f"# {title}", "", f"| {number_format.markdown_row(names)}"]
    lines.append("|---|" + "---:|" * len(names))
    for row in rows:
        label = row.label if row.section == "cost" else f"{row.section} {row.label}"
        lines.append(number_format.markdown_row([label, *map(_markdown, row.cells)]))
    return "\n".join([*lines, "", explained, "", *_sums(systems)])


def _sums(systems: Sequence[System]) -> list[str]:
    """Sums of the hypotheses, so that a table can be held against decodings."""
    of_each = [f"{s.name} `{'`, `'.join(s.sums)}`" for s in systems if s.sums]
    if not of_each:
        return []
    what = "The decodings, by the first 16 digits of `cat hyp.* | sha256sum`"
    return [f"{what}, seed by seed: {'; '.join(of_each)}.", ""]


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
    number_format.terminal().print(table)


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
        help="experiment directories, of our recipes or of ESPnet's asr.sh; "
        "NAME_seed1, NAME_seed2 ... are one system",
    )
    parser.add_argument(
        "--decode", help="NAME of decode_NAME (default: the only one there is)"
    )
    parser.add_argument(
        "--test-set", default="test", help="its name (default: %(default)s)"
    )
    parser.add_argument(
        "--data",
        type=Path,
        help="its data directory (default: data/<test set>, else dump/raw/<test set>)",
    )
    parser.add_argument(
        "--every-condition", action="store_true", help="a line for each condition"
    )
    parser.add_argument(
        "--letters",
        action="store_true",
        help="also the CER of letters and digits alone, in one case: for models that "
        "write punctuation where the references have none, or the other way round",
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
    data = find_data(args.data, args.test_set)
    systems = [
        load_system(
            name,
            data,
            trainings,
            [find_decode(e, args.decode, args.test_set) for e in trainings],
            args.letters,
        )
        for name, trainings in by_system(args.exp).items()
    ]
    check_systems(systems)
    # matplotlib is slow to load, and --help needs none
    from espnet_smoe.report.tables.compare_figure import draw_comparison

    title = args.title or f"Comparison on {args.test_set}"
    names = [s.name for s in systems]
    rows = compare(systems, args.every_condition)
    explained = explanation(systems, rows)
    for path in (args.out, args.png):
        path.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(to_markdown(rows, systems, title, explained), encoding="utf-8")
    draw_comparison(rows, systems, title, explained, args.png)
    print_rows(rows, names, title)
    print(explained)
    notes = [note for s in systems for t in s.tasks.values() for note in t.notes]
    for note in dict.fromkeys(notes):
        print(f"Note: {note}")
    print(f"Written to {args.out} and {args.png}")
