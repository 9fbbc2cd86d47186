"""What is run on a GPU, one after the other, each adding to the report."""

import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import torch

from espnet_smoe.benchmark.comparison import Comparison
from espnet_smoe.benchmark.gpu.profile import CASES, profiled
from espnet_smoe.benchmark.gpu.tables import FULL, QUICK, Sizes, comparisons
from espnet_smoe.benchmark.gpu.timing import last_lines, release_memory, run_on
from espnet_smoe.benchmark.table import Report, markdown_table

EXPLANATION = (
    "Time: of one run, median of the rounds; in each every side runs several times, "
    "from an idle device to an idle one. Ratio: of times, or with '×' of speeds, to "
    "the side without one. Peak memory: above weights and inputs, where the table does "
    "not say otherwise."
)
Run = Callable[[Report], list[str]]  # adds to a report; lines to be printed


def make_report(command: str, device: torch.device) -> Report:
    """A report that has nothing yet but what its figures depend on."""
    name = device.type
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    versions = {
        "device": name,
        "driver": _driver(),
        "CUDA": str(torch.version.cuda),
        "cuDNN": str(torch.backends.cudnn.version()),
    }
    return Report(command, title=f"GPU: {name}", about=EXPLANATION, versions=versions)


def run_all(device: torch.device, quick: bool) -> Iterator[tuple[str, Run]]:
    """Name by name: profiles, then comparisons."""
    sizes = QUICK if quick else FULL
    for name, case in CASES.items():
        yield name, partial(_profile, device, sizes, name, case)
    for comparison in comparisons(device, sizes):
        if quick:  # so small that what a call costs decides
            comparison = replace(comparison, goals={})
        yield comparison.name, partial(_measure, device, sizes, comparison)


def _profile(
    device: torch.device, sizes: Sizes, name: str, case: tuple, report: Report
) -> list[str]:
    try:
        report.sections[name] = lines = profiled(device, sizes, *case)
    except Exception:  # the tables are to run
        lines = [f"FAIL {name}:\n{last_lines()}"]
        report.notes += lines
    return [name, *lines]


def _measure(
    device: torch.device, sizes: Sizes, comparison: Comparison, report: Report
) -> list[str]:
    try:
        rows, notes = run_on(device, comparison, sizes.rounds, sizes.measured_seconds)
    except Exception:  # the other comparisons are to run
        rows, notes = [], [f"FAIL {comparison.name}:\n{last_lines()}"]
    release_memory(device)
    report.rows += rows
    report.notes += notes
    return [*markdown_table(rows)[2:], *notes]


def _driver() -> str:
    """Of the first card, where there is one."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return "none"
    return (done.stdout.strip().splitlines() or ["none"])[0]
