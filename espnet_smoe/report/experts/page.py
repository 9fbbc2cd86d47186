"""The report on experts in words and tables, for Markdown and the terminal."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from espnet_smoe.report.experts.probe import load_divergence
from espnet_smoe.report.experts.similarity import mean_of_pairs
from espnet_smoe.report.scoring.metrics import METRICS
from espnet_smoe.report.tables import number_format
from espnet_smoe.report.tables.compare import (
    ONE_SEED,
    adjusted_p_values,
    compare,
    explanation,
    print_rows,
    to_markdown,
)
from espnet_smoe.report.tables.system import System

SAME = 1e-4  # output distance below which experts are copies of each other
UNITS = {"encoder": "frames", "decoder": "tokens"}
SWAP_TITLE = "Swapped experts"


@dataclass(frozen=True)
class ExpertReport:
    """The result of `analyze_experts`.

    Attributes:
        experiment: Its name.
        source: Checkpoint and data, in words, for the heading.
        loads: Part -> layer -> group (a bandwidth or a task) -> ``(E,)`` frames.
        own: Part -> group -> its own expert, where a label decides.
        similarity: Part -> layer -> measure -> ``(E, E)``.
        systems: Scores with the right experts, and with each part's swapped.
    """

    experiment: str
    source: str
    loads: dict[str, dict[str, dict[str, np.ndarray]]]
    own: dict[str, dict[str, int]]
    similarity: dict[str, dict[str, dict[str, np.ndarray]]]
    systems: Sequence[System]


@dataclass(frozen=True)
class Section:
    """A table with a heading and what it means."""

    title: str
    meaning: str
    head: list[str]
    rows: list[list[str]]


def summary(report: ExpertReport) -> list[str]:
    """The findings, a sentence each."""
    lines = []
    for part, layers in report.loads.items():
        lines.append(f"{part.capitalize()}: {_loads_sentence(report, part, layers)}")
        difference = output_difference_sentence(report.similarity[part])
        lines.append(f"{part.capitalize()}: {difference}.")
    right, *others = report.systems
    p_values = adjusted_p_values(report.systems)
    for system in others:
        for task, counts in system.tasks.items():
            metric = next(iter(counts.counts))
            old, new = (s.scores[task]["all"][metric].value for s in (right, system))
            if old is None:
                continue
            p = p_values[system.name, task, metric, "all"]
            label = METRICS[metric].label.removesuffix(" %")
            name = f"{system.name.capitalize()}: {task} {label}"
            if np.array_equal(right.tasks[task].counts[metric], counts.counts[metric]):
                lines.append(f"{name} stays {old:.2f} in every utterance.")
            else:
                sure = f"{number_format.p_value(p)}, {ONE_SEED}"
                lines.append(f"{name} goes from {old:.2f} to {new:.2f} ({sure}).")
    return lines


def output_difference_sentence(layers: Mapping[str, Mapping[str, np.ndarray]]) -> str:
    """How much the outputs of the experts of a part's layers differ, in words."""
    distances = [mean_of_pairs(m["output diff"]) for m in layers.values()]
    low, high = min(distances), max(distances)
    if high <= SAME:
        return "the experts compute the same: they are copies of each other"
    return (
        "on the same input the outputs of two experts differ by "
        f"{100 * low:.0f} to {100 * high:.0f} % of their size"
    )


def _loads_sentence(
    report: ExpertReport, part: str, layers: Mapping[str, Mapping[str, np.ndarray]]
) -> str:
    own = report.own.get(part)
    if own is None:
        differ = [100 * load_divergence(groups.values()) for groups in layers.values()]
        if np.isnan(differ).any():
            return "a learned gate, and only one label to compare."
        return (
            f"a learned gate; the use of experts differs between labels by "
            f"{min(differ):.0f} to {max(differ):.0f} % (100 %: none in common)."
        )
    astray = sum(
        int(load.sum() - load[own[group]])
        for groups in layers.values()
        for group, load in groups.items()
    )
    if astray:
        return f"{astray} {UNITS[part]} did not go to the expert of their label."
    groups = next(iter(layers.values()))
    routes = ", ".join(f"{g} to E{own[g]}" for g in groups)
    return f"every label goes to its own expert in all {len(layers)} layers ({routes})."


def sections(report: ExpertReport) -> list[Section]:
    """The tables of loads and of similarity."""
    found = [_loads(part, layers) for part, layers in report.loads.items()]
    return found + similarity_sections(report.similarity)


def similarity_sections(
    similarity: Mapping[str, Mapping[str, Mapping[str, np.ndarray]]],
) -> list[Section]:
    """The tables of similarity.

    Args:
        similarity: Part -> layer -> measure -> ``(E, E)``.
    """
    found = [_similarities(similarity)]
    for part, layers in similarity.items():
        matrices = [m["output cosine"] for m in layers.values()]
        if len(matrices[0]) > 2:
            found.append(_matrix(part, np.mean(matrices, axis=0)))
    return found


def _loads(part: str, layers: Mapping[str, Mapping[str, np.ndarray]]) -> Section:
    """Layers of equal loads, as a label gate gives them, share their lines."""
    num_experts = len(next(iter(next(iter(layers.values())).values())))
    runs: list[tuple[list[str], Mapping[str, np.ndarray]]] = []
    for name, groups in layers.items():
        if runs and all(np.array_equal(groups[g], runs[-1][1][g]) for g in groups):
            runs[-1][0].append(name)
        else:
            runs.append(([name], groups))
    rows = []
    for names, groups in runs:
        for number, (group, load) in enumerate(groups.items()):
            percents = [f"{100 * n / load.sum():.1f} % ({n:,})" for n in load]
            row = ["", group, f"{load.sum():,}", *percents, ""]
            if number == 0:
                row[0] = names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"
                row[-1] = two_digits(load_divergence(groups.values()))
            rows.append(row)
    what = "bandwidth" if part == "encoder" else "task"
    return Section(
        f"Load of the experts in the {part}",
        f"The share of {UNITS[part]} that each expert took, by {what}; padding does "
        "not count, what goes to k experts counts k times. `divergence`: 0 where all "
        "labels use the experts alike, 1 where they have none in common.",
        [
            *("layer", "label", UNITS[part]),
            *(f"E{e}" for e in range(num_experts)),
            "divergence",
        ],
        rows,
    )


def _similarities(
    similarity: Mapping[str, Mapping[str, Mapping[str, np.ndarray]]],
) -> Section:
    first = next(iter(next(iter(similarity.values())).values()))
    rows = [
        [f"{part} {name}", *(two_digits(mean_of_pairs(m[key])) for key in first)]
        for part, layers in similarity.items()
        for name, m in layers.items()
    ]
    return Section(
        "Similarity of the experts",
        "Mean over all pairs of experts. `cosine` and `CKA`: 1 where they are alike. "
        "`diff`: norm of the difference over the mean norm, 0 where they are "
        "equal, 1.41 where they have nothing in common. Outputs are those of all "
        "experts on the same real input of the layer. Hidden units may stand in "
        "another order: weights of experts that began apart have a cosine near 0 even "
        "where they compute the same, copies (upcycled) keep one near 1 until training "
        "parts them; outputs do not depend on the order.",
        ["layer", *first],
        rows,
    )


def _matrix(part: str, matrix: np.ndarray) -> Section:
    names = [f"E{e}" for e in range(len(matrix))]
    return Section(
        f"Output cosine of each two experts in the {part}",
        "Mean over the layers.",
        ["", *names],
        [[name, *map(two_digits, row)] for name, row in zip(names, matrix)],
    )


def two_digits(value: float) -> str:
    """Two digits; ``-`` where it is not a number."""
    if np.isnan(value):
        return "-"
    # no "-0.00" for what rounding left below zero
    return f"{round(value, 2) + 0:.2f}".replace("-", number_format.MINUS)


def swap_meaning(report: ExpertReport) -> str:
    """How the scores with swapped experts were made."""
    parts = [p for p in report.loads]
    learned = [p for p in parts if p not in report.own]
    text = (
        "The same recordings decoded with the experts swapped: an utterance is sent to "
        "the expert of the next label, while prompt, embeddings and everything else "
        "stay as they are."
    )
    if learned:
        text += (
            f" In the {' and '.join(learned)}, whose gate is learned: where the gate "
            "reads a label it is told the next one, else each frame goes to the "
            "expert after the one that was chosen."
        )
    return text


def to_page(report: ExpertReport, picture: str) -> str:
    """The report as a Markdown document.

    Args:
        report: The analysis.
        picture: Path of the PNG file, as seen from the document.
    """
    tables = sections(report)
    lines = page_lines(
        report.experiment, report.source, summary(report), picture, tables
    )
    rows = _score_rows(report)
    explained = explanation(report.systems, rows)
    scores = to_markdown(rows, report.systems, SWAP_TITLE, explained)
    heading, table = scores.split("\n", 1)
    return "\n".join([*lines, "", f"#{heading}", "", swap_meaning(report), table])


def page_lines(
    experiment: str,
    source: str,
    sentences: Sequence[str],
    picture: str,
    tables: Sequence[Section],
) -> list[str]:
    """A Markdown page: source, findings, the figure at ``picture``, tables."""
    lines = [f"# Experts of {experiment}", "", source, ""]
    lines += [f"- {sentence}" for sentence in sentences]
    lines += ["", f"![experts of {experiment}]({picture})"]
    return lines + [line for table in tables for line in _table_lines(table)]


def _table_lines(section: Section) -> list[str]:
    return [
        *("", f"## {section.title}", "", section.meaning, ""),
        number_format.markdown_row(section.head),
        "|---|" + "---:|" * (len(section.head) - 1),
        *map(number_format.markdown_row, section.rows),
    ]


def _score_rows(report: ExpertReport) -> list:
    return [row for row in compare(report.systems) if row.section != "cost"]


def print_page(report: ExpertReport) -> None:
    """Print the tables and the findings."""
    console = number_format.terminal()
    for section in sections(report):
        print_section(console, section)
    names = [s.name for s in report.systems]
    rows = _score_rows(report)
    print_rows(rows, names, SWAP_TITLE)
    console.print(explanation(report.systems, rows), style="dim")
    for line in summary(report):
        console.print(f"- {line}", highlight=False)


def print_section(console: Console, section: Section) -> None:
    """Print heading and table."""
    table = Table(
        title=section.title,
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    for number, name in enumerate(section.head):
        table.add_column(
            name, justify="right" if number else "left", no_wrap=not number
        )
    for row in section.rows:
        table.add_row(*row)
    console.print(table)
