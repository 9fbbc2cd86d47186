"""The Markdown file and the JSON file, complete at any time up to what was measured."""

import json
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path

import torch

from espnet_smoe.benchmark.comparison import Row
from espnet_smoe.benchmark.gpu.guard import Outcome
from espnet_smoe.benchmark.table import markdown_table

EXPLANATION = (
    "Time: of one run, median of the rounds; in each every side runs several times, "
    "from an idle device to an idle one. Ratio: of times, or with '×' of speeds, to "
    "the side without one. Peak memory: above weights and inputs, where the table does "
    "not say otherwise."
)


@dataclass
class Page:
    """What is known so far.

    Attributes:
        command: As it can be typed again.
        device: What was checked.
        markdown: The file, or None.
        json: The file of the figures, or None.
        outcomes: Of the checks.
        rows: Of the tables.
        notes: What the tables' checks say, what failed, what was left out.
        profiles: Lines by what was profiled.
        finished: Seconds that all took; None before the end.
    """

    command: str
    device: torch.device
    markdown: Path | None
    json: Path | None
    outcomes: list[Outcome] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    profiles: dict[str, list[str]] = field(default_factory=dict)
    finished: float | None = None

    @property
    def failures(self) -> list[str]:
        """Names of the checks and sides that failed."""
        checks = [o.name for o in self.outcomes if not o.passed]
        return checks + [n.split("\n")[0] for n in self.notes if n.startswith("FAIL")]

    def missed(self) -> list[str]:
        """Goals that were not reached."""
        return [
            f"{row.comparison}: {row.side}: {row.ratio.median:.3f}, goal {row.goal:g}"
            for row in self.rows
            if row.reached is False
        ]

    def write(self) -> None:
        """Write the files that were asked for."""
        for path, text in ((self.markdown, self._page), (self.json, self._figures)):
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text(), encoding="utf-8")

    def _page(self) -> str:
        told = ", ".join(f"{k} {v}" for k, v in self._circumstances().items())
        passed = sum(o.passed for o in self.outcomes)
        ended = "not finished" if self.finished is None else f"{self.finished:.0f} s"
        lines = [f"# GPU check: {device_name(self.device)}", "", f"    {self.command}"]
        lines += ["", f"{told}. {ended}.", "", "## Checks", ""]
        lines += [f"{passed} of {len(self.outcomes)} passed.", ""]
        lines += ["| | | relative | absolute | s |", "|---|---|---:|---:|---:|"]
        lines += [
            f"| {o.name} | {'pass' if o.passed else '**FAIL**'} | {o.relative:.1e} | "
            f"{o.absolute:.1e} | {o.seconds:.1f} |"
            for o in self.outcomes
        ]
        for outcome in self.outcomes:
            if not outcome.passed:
                lines += ["", f"{outcome.name}:", "", *_indented(outcome.fault)]
        lines += ["", "## Times", "", *markdown_table(self.rows), ""]
        for note in self.notes:
            first, *rest = note.split("\n")
            lines += [f"- {first}", *(f"      {line}" for line in rest)]
        lines += ["", EXPLANATION, ""]
        for name, of_one in self.profiles.items():
            lines += [f"## {name.capitalize()}", "", *of_one, ""]
        return "\n".join(lines)

    def _figures(self) -> str:
        content = {
            "circumstances": {"command": self.command, **self._circumstances()},
            "checks": [asdict(outcome) for outcome in self.outcomes],
            "rows": [asdict(row) for row in self.rows],
            "notes": self.notes,
        }
        return json.dumps(content, indent=1) + "\n"

    def _circumstances(self) -> dict[str, str]:
        return {
            "device": device_name(self.device),
            "driver": _driver(),
            "torch": torch.__version__,
            "CUDA": str(torch.version.cuda),
            "cuDNN": str(torch.backends.cudnn.version()),
            "espnet": version("espnet"),
            "python": platform.python_version(),
        }


def device_name(device: torch.device) -> str:
    """The card's name, or the kind of device."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return device.type


def _driver() -> str:
    """Of the first card, where there is one."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return "none"
    return (said.stdout.strip().splitlines() or ["none"])[0]


def _indented(text: str) -> Sequence[str]:
    return [f"    {line}" for line in text.splitlines()]
