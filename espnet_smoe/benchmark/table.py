"""One table of all comparisons, on the terminal, as Markdown and as JSON."""

import json
import os
import platform
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path

import torch
from rich import box
from rich.console import Console
from rich.table import Table

from espnet_smoe.benchmark.comparison import Row

FILE_WIDTH = 110  # columns, where the output is no terminal
HEADINGS = ("", "time", "ratio", "quartiles", "goal", "peak memory")
EXPLANATION = (
    "Time: median of the rounds. Ratio: of times, or with '×' of speeds, to the side "
    "without one; median over the rounds, in each of which every side ran. Peak "
    "memory: above weights and inputs, in a process of its own."
)


@dataclass
class Report:
    """The results of one run of the command, complete up to what was measured.

    Attributes:
        command: As it can be typed again.
        title: Of the page.
        about: What the columns mean.
        versions: What the figures depend on, beside what all runs have.
        rows: All sides of all comparisons.
        notes: What the checks say, what failed, what was left out.
        sections: Lines by the title of a section of their own.
    """

    command: str
    title: str = "Benchmark"
    about: str = EXPLANATION
    versions: dict[str, str] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    sections: dict[str, list[str]] = field(default_factory=dict)

    def print(self) -> None:
        """Print the table."""
        table = Table(*HEADINGS, box=box.SIMPLE_HEAD, pad_edge=False)
        for column in table.columns[1:]:
            column.justify = "right"
        for comparison, rows in _by_comparison(self.rows):
            table.add_row(f"[bold]{comparison}")
            for row in rows:
                style = {True: "green", False: "red", None: None}[row.reached]
                table.add_row(*_cells(row), style=style)
            table.add_section()
        console = Console(highlight=False)
        if not console.is_terminal:
            console.width = FILE_WIDTH
        console.print(table)
        for line in (*self.notes, self.about):
            console.print(line)

    def write(self, markdown: Path | None, json_file: Path | None) -> None:
        """Write the files that are asked for."""
        for path, make in ((markdown, self._page), (json_file, self._figures)):
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(make(), encoding="utf-8")

    def _page(self) -> str:
        """The table and what it depends on, in Markdown."""
        versions = ", ".join(f"{k} {v}" for k, v in self._versions().items())
        lines = [f"# {self.title}", "", f"    {self.command}", "", f"{versions}.", ""]
        lines += [*markdown_table(self.rows), ""]
        for note in self.notes:
            first, *rest = note.split("\n")
            lines += [f"- {first}", *(f"      {line}" for line in rest)]
        lines += ["", self.about, ""]
        for title, section in self.sections.items():
            lines += [f"## {title.capitalize()}", "", *section, ""]
        return "\n".join(lines)

    def _figures(self) -> str:
        """Seconds, ratios, bytes, as JSON."""
        content = {
            "circumstances": {"command": self.command, **self._versions()},
            "rows": [asdict(row) for row in self.rows],
            "notes": self.notes,
        }
        return json.dumps(content, indent=1) + "\n"

    def _versions(self) -> dict[str, str]:
        return self.versions | {
            "espnet": version("espnet"),
            "torch": torch.__version__,
            "python": platform.python_version(),
            "processor": _processor(),
            "cores": str(len(os.sched_getaffinity(0))),
            "threads": str(torch.get_num_threads()),
        }


def markdown_table(rows: Sequence[Row]) -> list[str]:
    """Lines of a table in Markdown, a row a side."""
    lines = ["| " + " | ".join(HEADINGS) + " |", "|---|" + "---:|" * 5]
    for comparison, of_comparison in _by_comparison(rows):
        lines.append(f"| **{comparison}** |" + " |" * 5)
        lines += ["| " + " | ".join(_cells(row)) + " |" for row in of_comparison]
    return lines


def command_line(argv: Sequence[str]) -> str:
    """The command as it can be typed again."""
    return shlex.join(["espnet-smoe", "benchmark", *argv])


def _by_comparison(rows: Sequence[Row]) -> list[tuple[str, list[Row]]]:
    comparisons = dict.fromkeys(row.comparison for row in rows)
    return [
        (comparison, [row for row in rows if row.comparison == comparison])
        for comparison in comparisons
    ]


def _cells(row: Row) -> list[str]:
    rate = f" ({row.rate:.2f} {row.unit}/s)" if row.rate else ""
    unit = "×" if row.faster else ""
    ratio = row.ratio
    return [
        row.side + rate,
        _time(row.seconds.median),
        "" if ratio is None else f"{ratio.median:.3f}{unit}",
        "" if ratio is None else f"{ratio.low:.3f} to {ratio.high:.3f}",
        _goal(row),
        "?" if row.memory is None else f"{row.memory / 2**20:,.0f} MiB",
    ]


def _goal(row: Row) -> str:
    if row.goal is None:
        return ""
    sign = "≥" if row.faster else "≤"
    return f"{sign} {row.goal:g}: {'reached' if row.reached else 'missed'}"


def _time(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{1000 * seconds:.1f} ms"


def _processor() -> str:
    """The processor's name, where Linux tells it."""
    path = Path("/proc/cpuinfo")
    names = [
        line.split(":", 1)[1].strip()
        for line in (path.read_text() if path.exists() else "").splitlines()
        if line.startswith("model name")
    ]
    return names[0] if names else platform.machine()
