"""The parts of a decoding graph that no language model is needed for: T and L.

T, the CTC topology, reads one label a frame and says the units that remain when
repeats and blanks are taken out. L, the lexicon, reads units and says words. Between
them, and between L and the grammar G, pass disambiguation symbols ``#0``, ``#1``, ...:
``#0`` stands for a back-off of G, the others set apart words that sound the same or
begin as another word sounds (Mohri, Pereira, Riley 2008, "Speech recognition with
weighted finite-state transducers"). T swallows them.

Labels: 0 is epsilon, unit k of ``tokens.txt`` is k + 1, symbol ``#j`` of V units is
V + 1 + j.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from espnet_smoe.plugins import import_extra

EPSILON = 0
CHUNK = 100_000  # arcs turned into text at once

Reading = tuple[int, tuple[int, ...]]  # a word's label, its units' labels


def import_kaldifst() -> Any:
    """`import_extra` of kaldifst."""
    return import_extra("kaldifst", "wfst", "a decoding graph")


@dataclass(frozen=True)
class Arcs:
    """Arcs of a transducer, ``(N,)`` each.

    Attributes:
        source: States that they leave.
        target: States that they enter.
        ilabel: What they read.
        olabel: What they say.
        cost: In nats.
    """

    source: np.ndarray
    target: np.ndarray
    ilabel: np.ndarray
    olabel: np.ndarray
    cost: np.ndarray

    @classmethod
    def of(cls, rows: Iterable[tuple[int, int, int, int]]) -> "Arcs":
        """Arcs without costs from rows of source, target, ilabel, olabel."""
        table = np.array(list(rows), dtype=np.int64).reshape(-1, 4)
        return cls(*table.T, np.zeros(len(table)))

    def lines(self) -> Iterator[str]:
        """In OpenFst's text format."""
        rows = zip(*(getattr(self, name).tolist() for name in self.__annotations__))
        for source, target, ilabel, olabel, cost in rows:
            yield f"{source} {target} {ilabel} {olabel} {cost:.6g}"


def make_fst(
    arcs: Sequence[Arcs], finals: Iterable[tuple[int, float]], start: int
) -> Any:
    """Build a transducer.

    Args:
        arcs: Groups of arcs, in any order.
        finals: Final states and their costs in nats.
        start: State to start in.

    Returns:
        A ``kaldifst.StdVectorFst``.
    """
    lines = (line for group in arcs for line in group.lines())
    parts = list(iter(lambda: "\n".join(islice(lines, CHUNK)), ""))
    parts += [f"{state} {cost:.6g}" for state, cost in finals]
    fst = import_kaldifst().compile("\n".join(parts), keep_state_numbering=True)
    fst.start = start
    return fst


def topology(blank: int, units: Sequence[int], symbols: Sequence[int]) -> Any:
    """T: frames to units, exactly as CTC has it.

    One state follows the blank, one each unit; from a unit's state the same unit can
    only be held, not said again. So two equal units need a blank between them.

    Args:
        blank: Label of the blank.
        units: Labels of the units.
        symbols: Labels of the disambiguation symbols, which leave no trace.

    Returns:
        A transducer, sorted for a composition on its right.
    """
    unit = np.array(units, dtype=np.int64)  # (U,)
    state = np.arange(1, len(unit) + 1)
    every = np.arange(len(unit) + 1)  # 0 is the state after the blank
    source, target = np.meshgrid(every, state, indexing="ij")  # (U + 1, U) each
    labels = np.where(source == target, EPSILON, unit)
    free = np.zeros(source.size)
    say = Arcs(
        source.ravel(),
        target.ravel(),
        np.broadcast_to(unit, source.shape).ravel(),
        labels.ravel(),
        free,
    )
    rest = Arcs.of(
        [
            *((int(s), 0, blank, EPSILON) for s in every),
            *((int(s), int(s), EPSILON, symbol) for s in every for symbol in symbols),
        ]
    )
    fst = make_fst([say, rest], ((int(s), 0.0) for s in every), start=0)
    import_kaldifst().arcsort(fst, sort_type="olabel")
    return fst


def disambiguate(readings: Sequence[Reading]) -> list[int]:
    """Number the readings that units alone do not tell apart.

    Args:
        readings: Words and their units, no pair twice.

    Returns:
        Of each reading, the number of the symbol to add: 0 for none, else from 1;
        homophones get different ones.

    Example:
        >>> disambiguate([(1, (5, 6)), (2, (5, 6)), (3, (5,)), (4, (7,))])
        [1, 2, 1, 0]
    """
    count = Counter(units for _, units in readings)
    prefixes = {units[:n] for units in count for n in range(1, len(units))}
    used: Counter[tuple[int, ...]] = Counter()
    numbers = []
    for _, units in readings:
        needed = count[units] > 1 or units in prefixes
        used[units] += needed
        numbers.append(used[units] if needed else 0)
    return numbers


def lexicon_fst(
    readings: Sequence[Reading], numbers: Sequence[int], first: int, backoff: int
) -> Any:
    """L: units to words, any number of them, with nothing in between.

    Args:
        readings: Words and their units.
        numbers: What `disambiguate` says of them.
        first: Label of ``#0``, which passes.
        backoff: Label of ``#0`` among the words.

    Returns:
        A transducer, sorted for a composition on its right.
    """

    def rows() -> Iterator[tuple[int, int, int, int]]:
        yield 0, 0, first, backoff
        free = 1  # the next new state
        for (word, units), number in zip(readings, numbers):
            labels = (*units, first + number) if number else units
            here = 0
            for place, label in enumerate(labels, 1):
                there = 0 if place == len(labels) else free
                free += there != 0
                yield here, there, label, word if here == 0 else EPSILON
                here = there

    fst = make_fst([Arcs.of(rows())], [(0, 0.0)], start=0)
    import_kaldifst().arcsort(fst, sort_type="olabel")
    return fst
