"""The report on learned routing in words and tables."""

from collections.abc import Mapping, Sequence

import numpy as np
from rich.console import Console

from espnet_smoe.report.experts.page import (
    Section,
    print_section,
    said_by_outputs,
    section_lines,
    similarity_sections,
    two_digits,
)
from espnet_smoe.report.routing.analysis import SILENCE, Layer, RoutingFindings
from espnet_smoe.report.routing.mandarin_units import UNIT
from espnet_smoe.report.routing.mutual_information import SHUFFLES
from espnet_smoe.report.routing.trace import LOUD, SILENCE_DB

DEAD = 0.01  # of a fair share
POOR = 0.5  # mean probability of a unit at its spike
MANY = 5  # names in a sentence
MOST = 12  # classes that are told one by one


def dead_experts(loads: np.ndarray) -> int:
    """Experts with less than 1 % of a fair share.

    Example:
        >>> dead_experts(np.array([998, 1, 1]))
        2
    """
    return int((loads < DEAD * loads.sum() / len(loads)).sum())


def most_told(findings: RoutingFindings) -> str:
    """The layer about whose experts the units tell the most beyond chance."""

    def beyond(name: str) -> float:
        told = findings.layers[name].told
        return sum(of.bits - of.by_chance for f, of in told.items() if f != SILENCE)

    return max(findings.layers, key=beyond)


def summary(findings: RoutingFindings) -> list[str]:
    """What the figures say, a sentence each."""
    layers = findings.layers
    loads = [layer.loads for layer in layers.values()]
    fullest = [100 * load.max() / load.sum() for load in loads]
    size = len(loads[0])
    dead = sum(map(dead_experts, loads))
    lines = [
        f"The fullest of {size} experts takes {_span(fullest)} % of the frames of its "
        f"layer (a fair share is {100 / size:.0f} %); {dead or 'none'} of the "
        f"{size * len(loads)} experts of {_layers(len(loads))} "
        f"{'is' if dead == 1 else 'are'} dead.",
        "The router gives its choice a probability of "
        f"{_span([layer.top for layer in layers.values()], 2)} in the mean; its "
        f"entropy is {_span([layer.entropy for layer in layers.values()], 2)} nats, "
        f"{np.log(size):.2f} where it knows nothing.",
        _said_of_classes(findings),
        f"Experts: {said_by_outputs(findings.similarity['encoder'])}.",
    ]
    if not findings.has_ctc:
        lines.append(
            "The model has no CTC head, so that nobody knows where in time the units "
            "of a text are: nothing is told of units."
        )
        return lines
    if findings.spike_probability < POOR:
        lines.append(
            "The model is unsure of the texts (mean probability of a unit at its spike "
            f"{findings.spike_probability:.2f}): do not trust what is said of units."
        )
    if findings.unaligned:
        names = ", ".join(findings.unaligned[:MANY])
        more = len(findings.unaligned) - MANY
        lines.append(
            f"{len(findings.unaligned)} utterances have fewer frames than their text "
            "needs and tell nothing about units: "
            f"{names}{f' and {more} more' if more > 0 else ''}."
        )
    return lines


def _said_of_classes(findings: RoutingFindings) -> str:
    layers = findings.layers
    said = []
    for factor in findings.classes:
        told = {n: of.told[factor] for n, of in layers.items()}
        told = {n: of for n, of in told.items() if of.entropy}
        if not told:
            said.append(f"{factor} nothing")
            continue
        best = max(told, key=lambda n: told[n].share - told[n].share_by_chance)
        share, chance = told[best].share, told[best].share_by_chance
        said.append(f"{factor} {share:.1f} % (layer {best}; by chance {chance:.1f} %)")
    return (
        "What is known of the expert from the class of a frame, at most: "
        f"{', '.join(said)}."
    )


def _span(values: Sequence[float], digits: int = 0) -> str:
    low, high = f"{min(values):.{digits}f}", f"{max(values):.{digits}f}"
    return low if low == high else f"{low} to {high}"


def _layers(number: int) -> str:
    return "one layer" if number == 1 else f"{number} layers"


def sections(findings: RoutingFindings, brief: bool = False) -> list[Section]:
    """The tables.

    Args:
        findings: What to tell.
        brief: Experts by class in the most telling layer alone.
    """
    names = [most_told(findings)] if brief else list(findings.layers)
    return [
        _loads(findings.layers),
        _told(findings),
        *(_by_class(findings, factor, names) for factor in findings.classes),
        *similarity_sections(findings.similarity),
    ]


def _experts(layer: Layer) -> list[str]:
    return [f"E{e}" for e in range(len(layer.loads))]


def _loads(layers: Mapping[str, Layer]) -> Section:
    rows = []
    for name, layer in layers.items():
        shares = [f"{100 * n / layer.loads.sum():.1f} %" for n in layer.loads]
        router = f"{layer.entropy:.2f}", f"{layer.top:.2f}"
        rows.append([name, *shares, *router, str(dead_experts(layer.loads))])
    first = next(iter(layers.values()))
    return Section(
        "Load of the experts",
        "The share of frames that each expert took; padding does not count, what goes "
        "to k experts counts k times. `entropy`: of the router's probabilities in "
        f"nats, mean over the frames; {np.log(len(first.loads)):.2f} where it knows "
        "nothing. `top-1`: mean probability of the best expert. `dead`: experts with "
        "less than 1 % of a fair share.",
        ["layer", *_experts(first), "entropy", "top-1", "dead"],
        rows,
    )


def most_frequent(counts: np.ndarray) -> list[int]:
    """Classes that are shown one by one: those with frames, the rarest left out.

    Args:
        counts: ``(C, E)`` frames.

    Returns:
        Numbers of at most `MOST` classes, in their order.
    """
    totals = counts.sum(axis=1)
    fullest = np.argsort(-totals, kind="stable")[:MOST]
    return sorted(int(k) for k in fullest if totals[k])


def _told(findings: RoutingFindings) -> Section:
    rows = []
    for name, layer in findings.layers.items():
        cells = [
            f"{two_digits(of.share)} ({two_digits(of.share_by_chance)})"
            for of in layer.told.values()
        ]
        rows.append([name, f"{layer.told[SILENCE].entropy:.2f}", *cells])
    return Section(
        "What the class of a frame tells about its expert",
        "Mutual information of class and expert, in percent of the expert's entropy: "
        "100 where the class decides, 0 where it has nothing to do with it. In "
        f"brackets the same by chance: the mean of {SHUFFLES} times where each unit, "
        "or stretch of silence, kept its frames and got the class of another. "
        "`entropy`: of the expert over all frames, in bits. A frame belongs to the "
        "unit whose spike is nearest in the best CTC path of the text (of two as near, "
        "the earlier one), so borders are halfway between spikes and not exact. "
        f"Silent is a frame whose energy is more than {SILENCE_DB:g} dB below the "
        f"loud frames of its utterance ({LOUD}th percentile); it counts for no unit.",
        ["layer", "entropy", *(f"{factor} %" for factor in findings.classes)],
        rows,
    )


def _by_class(findings: RoutingFindings, factor: str, names: Sequence[str]) -> Section:
    rows = []
    for name in names:
        counts = findings.layers[name].counts[factor]
        for k in most_frequent(counts):
            total = counts[k].sum()
            shares = [f"{100 * n / total:.1f} %" for n in counts[k]]
            label = findings.classes[factor][k]
            rows.append([name, _in_a_cell(label), f"{total:,}", *shares])
    experts = _experts(findings.layers[names[0]])
    what = "silence and speech" if factor == SILENCE else factor
    where = f" in layer {names[0]}" if len(names) == 1 else ""
    meaning = "Of the frames of a class, the share of each expert."
    if factor == UNIT:
        meaning += f" The {MOST} units with the most frames."
    if factor == "final":
        meaning += " The classes are endings: `-n` is any final that ends so."
    return Section(
        f"Experts by {what}{where}",
        meaning,
        ["layer", factor, "frames", *experts],
        rows,
    )


def _in_a_cell(label: str) -> str:
    """A unit may be the sign that ends a cell of Markdown."""
    return label.replace("|", "\\|")


def source(findings: RoutingFindings) -> str:
    """What was listened to, and how well the texts fit."""
    return (
        f"{findings.source} Mean probability of a unit at its spike: "
        f"{two_digits(findings.spike_probability)}."
    )


def to_page(findings: RoutingFindings, picture: str) -> str:
    """The report as a Markdown document.

    Args:
        findings: What to tell.
        picture: Path of the PNG file, as seen from the document.
    """
    lines = [f"# Experts of {findings.experiment}", "", source(findings), ""]
    lines += [f"- {line}" for line in summary(findings)]
    lines += ["", f"![experts of {findings.experiment}]({picture})"]
    for section in sections(findings):
        lines += section_lines(section)
    return "\n".join([*lines, ""])


def print_page(findings: RoutingFindings) -> None:
    """Print the tables and what they say."""
    console = Console()
    for section in sections(findings, brief=True):
        print_section(console, section)
    console.print(source(findings), style="dim")
    for line in summary(findings):
        console.print(f"- {line}", highlight=False)
