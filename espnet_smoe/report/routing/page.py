"""The report on learned routing in words and tables, for Markdown and the terminal."""

from collections.abc import Mapping, Sequence

import numpy as np

from espnet_smoe.report.experts.page import (
    Section,
    output_difference_sentence,
    page_lines,
    print_section,
    similarity_sections,
    two_digits,
)
from espnet_smoe.report.routing.analysis import SILENCE, Layer, RoutingReport
from espnet_smoe.report.routing.mandarin_units import UNIT
from espnet_smoe.report.routing.mutual_information import SHUFFLES
from espnet_smoe.report.routing.trace import LOUD, SILENCE_DB
from espnet_smoe.report.tables.number_format import terminal

DEAD = 0.01  # of a fair share
POOR = 0.5  # mean probability of a unit at its spike
MANY = 5  # names in a sentence
MOST = 12  # classes with a row of their own


def dead_experts(loads: np.ndarray) -> int:
    """Experts with less than 1 % of a fair share.

    Example:
        >>> dead_experts(np.array([998, 1, 1]))
        2
    """
    return int((loads < DEAD * loads.sum() / len(loads)).sum())


def most_informative_layer(report: RoutingReport) -> str:
    """The layer whose experts have the most information on units beyond chance."""

    def beyond(name: str) -> float:
        by_factor = report.layers[name].information.items()
        return sum(i.bits - i.by_chance for factor, i in by_factor if factor != SILENCE)

    return max(report.layers, key=beyond)


def summary(report: RoutingReport) -> list[str]:
    """The findings, a sentence each."""
    layers = report.layers
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
        _information_sentence(report),
        f"Experts: {output_difference_sentence(report.similarity['encoder'])}.",
    ]
    if not report.has_ctc:
        lines.append(
            "The model has no CTC head, so that it is not known where in time the "
            "units of a text are: there are no figures of units."
        )
        return lines
    if report.spike_probability < POOR:
        lines.append(
            "The model is unsure of the texts (mean probability of a unit at its spike "
            f"{report.spike_probability:.2f}): do not trust what is said of units."
        )
    if report.unaligned:
        names = ", ".join(report.unaligned[:MANY])
        more = len(report.unaligned) - MANY
        lines.append(
            f"{len(report.unaligned)} utterances have fewer frames than their text "
            "needs and tell nothing about units: "
            f"{names}{f' and {more} more' if more > 0 else ''}."
        )
    return lines


def _information_sentence(report: RoutingReport) -> str:
    layers = report.layers
    parts = []
    for factor in report.classes:
        known = {n: layer.information[factor] for n, layer in layers.items()}
        known = {n: i for n, i in known.items() if i.entropy}
        if not known:
            parts.append(f"{factor} nothing")
            continue
        best = max(known, key=lambda n: known[n].percent - known[n].percent_by_chance)
        percent, chance = known[best].percent, known[best].percent_by_chance
        parts.append(
            f"{factor} {percent:.1f} % (layer {best}; by chance {chance:.1f} %)"
        )
    return (
        "What is known of the expert from the class of a frame, at most: "
        f"{', '.join(parts)}."
    )


def _span(values: Sequence[float], digits: int = 0) -> str:
    low, high = f"{min(values):.{digits}f}", f"{max(values):.{digits}f}"
    return low if low == high else f"{low} to {high}"


def _layers(number: int) -> str:
    return "one layer" if number == 1 else f"{number} layers"


def sections(report: RoutingReport, brief: bool = False) -> list[Section]:
    """The tables.

    Args:
        report: The analysis.
        brief: Experts by class in the most telling layer alone.
    """
    names = [most_informative_layer(report)] if brief else list(report.layers)
    return [
        _loads(report.layers),
        _information(report),
        *(_by_class(report, factor, names) for factor in report.classes),
        *similarity_sections(report.similarity),
    ]


def _experts(layer: Layer) -> list[str]:
    return [f"E{e}" for e in range(len(layer.loads))]


def _loads(layers: Mapping[str, Layer]) -> Section:
    rows = []
    for name, layer in layers.items():
        percents = [f"{100 * n / layer.loads.sum():.1f} %" for n in layer.loads]
        router = f"{layer.entropy:.2f}", f"{layer.top:.2f}"
        rows.append([name, *percents, *router, str(dead_experts(layer.loads))])
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


def _information(report: RoutingReport) -> Section:
    rows = []
    for name, layer in report.layers.items():
        cells = [
            f"{two_digits(i.percent)} ({two_digits(i.percent_by_chance)})"
            for i in layer.information.values()
        ]
        rows.append([name, f"{layer.information[SILENCE].entropy:.2f}", *cells])
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
        ["layer", "entropy", *(f"{factor} %" for factor in report.classes)],
        rows,
    )


def _by_class(report: RoutingReport, factor: str, names: Sequence[str]) -> Section:
    rows = []
    for name in names:
        counts = report.layers[name].counts[factor]
        for k in most_frequent(counts):
            total = counts[k].sum()
            percents = [f"{100 * n / total:.1f} %" for n in counts[k]]
            label = report.classes[factor][k]
            rows.append([name, label, f"{total:,}", *percents])
    experts = _experts(report.layers[names[0]])
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


def source(report: RoutingReport) -> str:
    """Checkpoint and data, and how well the texts fit."""
    return (
        f"{report.source} Mean probability of a unit at its spike: "
        f"{two_digits(report.spike_probability)}."
    )


def to_page(report: RoutingReport, picture: str) -> str:
    """The report as a Markdown document.

    Args:
        report: The analysis.
        picture: Path of the PNG file, as seen from the document.
    """
    sentences, tables = summary(report), sections(report)
    lines = page_lines(report.experiment, source(report), sentences, picture, tables)
    return "\n".join([*lines, ""])


def print_page(report: RoutingReport) -> None:
    """Print the tables and the findings."""
    console = terminal()
    for section in sections(report, brief=True):
        print_section(console, section)
    console.print(source(report), style="dim")
    for line in summary(report):
        console.print(f"- {line}", highlight=False)
