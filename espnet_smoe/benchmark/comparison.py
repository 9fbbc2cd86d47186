"""A comparison: sides that do the same work, one of them the baseline, and goals."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import torch

from espnet_smoe.benchmark.measure import (
    Sides,
    Spread,
    peak_memory,
    ratio,
    take_turns,
)


def option(default: Any, what: str, quick: Any = None) -> Any:
    """A field of a benchmark's ``Sizes``, which is an option of its command.

    Args:
        default: Of the field.
        what: It is.
        quick: With ``--quick``; the default where None.
    """
    tiny = default if quick is None else quick
    return field(default=default, metadata={"help": what, "quick": tiny})


def quick[S](sizes: type[S]) -> S:
    """The sizes with ``--quick``."""
    return sizes(**{size.name: size.metadata["quick"] for size in fields(sizes)})


@dataclass(frozen=True)
class Comparison:
    """Sides that do the same work.

    Attributes:
        name: What they do.
        build: Makes the sides. Picklable, and the same whenever it is called.
        baseline: The side that the others are compared with.
        goals: Side -> the largest ratio to be had (``faster``: the smallest), for the
            sides that have a goal.
        faster: Give ratios as multiples of the baseline's speed, not of its time.
        check: Says of the results of all sides whether they are the same.
        items: Items that one run deals with, for a rate; 0 for no rate.
        unit: Of the items.
        memory: Measure it, too; each side is built once more for that.
    """

    name: str
    build: Callable[[], Sides]
    baseline: str
    goals: Mapping[str, float] = field(default_factory=dict)
    faster: bool = False
    check: Callable[[Mapping[str, Any]], str] | None = None
    items: float = 0
    unit: str = ""
    memory: bool = True


@dataclass(frozen=True)
class Row:
    """One side of a comparison, measured.

    Attributes:
        comparison: What the sides do.
        side: This one.
        seconds: Of one run.
        ratio: Time over the baseline's, or speed over the baseline's; None for itself.
        goal: The largest ratio to be had (``faster``: the smallest).
        reached: Whether the median of the ratio is good enough.
        memory: Most bytes held above weights and inputs; None where not measured.
        rate: Items a second; None where there is none.
        unit: Of the items.
        faster: Whether the ratio is one of speeds.
    """

    comparison: str
    side: str
    seconds: Spread
    ratio: Spread | None
    goal: float | None
    reached: bool | None
    memory: int | None
    rate: float | None
    unit: str
    faster: bool


def run_comparison(comparison: Comparison, rounds: int) -> tuple[list[Row], list[str]]:
    """Measure every side of a comparison.

    Args:
        comparison: What to run.
        rounds: Measurements of each side.

    Returns:
        A row a side; what the check says, if there is one.
    """
    sides = comparison.build()
    seconds, results = take_turns(sides, rounds, title=comparison.name)
    notes = []
    if comparison.check:
        notes = [f"{comparison.name}: {comparison.check(results)}"]
    names = list(sides)
    del sides, results  # their memory is needed below
    memory: dict[str, int | None] = dict.fromkeys(names)
    if comparison.memory:
        threads = torch.get_num_threads()
        memory = {name: peak_memory(comparison.build, name, threads) for name in names}
    return [row_of(comparison, name, seconds, memory[name]) for name in names], notes


def row_of(
    comparison: Comparison,
    side: str,
    seconds: Mapping[str, list[float]],
    memory: int | None,
) -> Row:
    """What was measured of a side.

    Args:
        comparison: The side is of.
        side: Its name.
        seconds: Of all sides, a round each; without the baseline's there is no ratio.
        memory: Bytes; None where not measured.
    """
    spread = Spread.of(seconds[side])
    goal = comparison.goals.get(side)
    compared = None
    if side != comparison.baseline and comparison.baseline in seconds:
        pair = seconds[side], seconds[comparison.baseline]
        compared = ratio(*(reversed(pair) if comparison.faster else pair))
    return Row(
        comparison=comparison.name,
        side=side,
        seconds=spread,
        ratio=compared,
        goal=goal if compared else None,
        reached=_reached(comparison, goal, compared.median)
        if goal and compared
        else None,
        memory=memory,
        rate=comparison.items / spread.median if comparison.items else None,
        unit=comparison.unit,
        faster=comparison.faster,
    )


def _reached(comparison: Comparison, goal: float, value: float) -> bool:
    return value >= goal if comparison.faster else value <= goal
