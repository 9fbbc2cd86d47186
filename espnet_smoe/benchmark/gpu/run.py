"""Runs checks, tables and profiles, each told and written when it is done."""

import time
from collections.abc import Mapping
from dataclasses import replace

from espnet_smoe.benchmark.comparison import Comparison
from espnet_smoe.benchmark.gpu import (
    checks_compile,
    checks_model,
    checks_moe,
    checks_search,
)
from espnet_smoe.benchmark.gpu.guard import Check, Site, last_lines, run_check
from espnet_smoe.benchmark.gpu.page import Page, device_name
from espnet_smoe.benchmark.gpu.profile import CASES, profiled
from espnet_smoe.benchmark.gpu.tables import FULL, QUICK, Sizes, comparisons
from espnet_smoe.benchmark.gpu.timing import run_on
from espnet_smoe.benchmark.table import markdown_table


class Run:
    """One run of the command.

    Args:
        site: Where.
        page: Receives what is found.
        start: When it began, by `time.perf_counter`.
        budget: Seconds after which nothing further is begun.
        only: What is run has it in its name.
    """

    def __init__(self, site: Site, page: Page, start: float, budget: float, only: str):
        self.site, self.page = site, page
        self.start, self.budget, self.only = start, budget, only
        self.say(device_name(site.device))

    def all(self, checks: bool, tables: bool) -> None:
        """First what is quick, then what must be measured, then what is compiled."""
        if checks:
            for module in (checks_moe, checks_model, checks_search):
                self.checks(module.CHECKS)
        if tables:
            self.profiles()
            self.tables()
        if checks:
            self.checks(checks_compile.CHECKS)
        self.page.finished = self.gone
        self.page.write()

    @property
    def gone(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self.start

    def say(self, text: str) -> None:
        """Print at once, with the time that has gone by."""
        print(f"[{self.gone:6.1f} s] {text}", flush=True)

    def due(self, name: str) -> bool:
        """Whether to run something; what is left out for want of time is noted."""
        if self.only not in name:
            return False
        if self.gone > self.budget:
            self.note(f"left out after {self.budget:g} s: {name}")
            return False
        return True

    def note(self, text: str) -> None:
        """Print and keep."""
        self.say(text)
        self.page.notes.append(text)

    def checks(self, checks: Mapping[str, Check]) -> None:
        """Run the checks of a file."""
        for name, check in checks.items():
            if self.due(name):
                outcome = run_check(name, check, self.site)
                self.page.outcomes.append(outcome)
                self.say(outcome.line())
        self.page.write()

    def profiles(self) -> None:
        """Tell where the time of a mixture goes."""
        for name, case in CASES.items():
            if self.due(name):
                try:
                    lines = profiled(self.site, *case)
                    self.page.profiles[name] = lines
                    self.say("\n".join((name, *lines)))
                except Exception:  # the tables are to run
                    self.note(f"FAIL {name}:\n{last_lines()}")
                self.page.write()

    def tables(self) -> None:
        """Measure the comparisons."""
        sizes = QUICK if self.site.quick else FULL
        for comparison in comparisons(self.site, sizes):
            if self.due(comparison.name):
                self.compare(
                    replace(comparison, goals={}) if self.site.quick else comparison,
                    sizes,
                )
                self.site.forget()
                self.page.write()

    def compare(self, comparison: Comparison, sizes: Sizes) -> None:
        """Measure one, and tell what was found."""
        try:
            rows, notes = run_on(self.site, comparison, sizes.rounds)
        except Exception:  # the other comparisons are to run
            rows, notes = [], [f"FAIL {comparison.name}:\n{last_lines()}"]
        self.page.rows += rows
        self.say("\n".join(markdown_table(rows)[2:]))
        for note in notes:
            self.note(note)

    def conclude(self) -> None:
        """Say what failed and which goals were missed."""
        passed = sum(outcome.passed for outcome in self.page.outcomes)
        self.say(f"{passed} of {len(self.page.outcomes)} checks passed")
        for name in self.page.failures:
            self.say(f"failed: {name.removeprefix('FAIL ')}")
        for goal in self.page.missed():
            self.say(f"missed: {goal}")
