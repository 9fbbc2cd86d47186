"""The analysis of an encoder's learned routing: loads, and what experts depend on.

Each encoder frame has an expert in each layer, the one that its router likes best (the
first of k). What else is known of the frame: the modelling unit that it belongs to, by
the best CTC path of the text, and whether it is silent.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from espnet_smoe.report.experts.probe import LayerTrace, mixtures
from espnet_smoe.report.experts.similarity import similarity
from espnet_smoe.report.routing.mandarin_units import Factors, factors_of
from espnet_smoe.report.routing.mutual_information import (
    count_pairs,
    entropy,
    mutual_information,
    shuffled,
)
from espnet_smoe.report.routing.trace import (
    Utterance,
    UtteranceTrace,
    ctc_of,
    seconds_of,
    trace_routing,
)

SILENCE = "silence"
SILENT_OR_NOT = ("speech", "silence")
SHORTEST, LONGEST = 2.0, 8.0  # seconds that make a readable picture


@dataclass(frozen=True)
class MutualInformation:
    """Mutual information of a factor and the expert of a frame.

    Attributes:
        bits: Mutual information.
        by_chance: The same with shuffled classes (`shuffled`), mean.
        entropy: Of the expert, in bits: an upper bound.
    """

    bits: float
    by_chance: float
    entropy: float

    @property
    def percent(self) -> float:
        """Of the entropy, in percent; NaN where one expert takes every frame."""
        return 100 * self.bits / self.entropy if self.entropy else float("nan")

    @property
    def percent_by_chance(self) -> float:
        """Of the entropy, in percent."""
        return 100 * self.by_chance / self.entropy if self.entropy else float("nan")


@dataclass(frozen=True)
class Layer:
    """One mixture.

    Attributes:
        loads: ``(E,)`` frames that each expert took.
        entropy: Of the router, nats, mean over the frames.
        top: Probability of the best expert, mean over the frames.
        counts: Factor -> ``(C, E)`` frames of each class at each expert.
        information: Factor -> its mutual information with the expert.
    """

    loads: np.ndarray
    entropy: float
    top: float
    counts: dict[str, np.ndarray]
    information: dict[str, MutualInformation]


@dataclass(frozen=True)
class RoutingOverTime:
    """The routing of one utterance over time.

    Attributes:
        name: Its id.
        mel: ``(frames, mels)``.
        seconds: How long it is.
        borders: ``(T + 1,)`` seconds where encoder frames begin and end.
        silence: ``(T,)``.
        experts: Layer -> ``(T,)``.
        units: Modelling units with the seconds from and to; empty where the text does
            not fit.
    """

    name: str
    mel: np.ndarray
    seconds: float
    borders: np.ndarray
    silence: np.ndarray
    experts: dict[str, np.ndarray]
    units: list[tuple[str, float, float]]


@dataclass(frozen=True)
class RoutingReport:
    """The result of `analyze_routing`.

    Attributes:
        experiment: Its name.
        source: Checkpoint and data, in words.
        layers: By name, the lowest first.
        similarity: Part -> layer -> measure -> ``(E, E)``.
        classes: Factor -> its classes, in the order of `Layer.counts`.
        spike_probability: Mean probability of the texts' units at their spikes; NaN
            where no text was aligned.
        has_ctc: Whether the model has a CTC head, by which texts are aligned.
        unaligned: Utterances whose text does not fit their frames.
        example: The utterance of the picture.
    """

    experiment: str
    source: str
    layers: dict[str, Layer]
    similarity: dict[str, dict[str, dict[str, np.ndarray]]]
    classes: dict[str, tuple[str, ...]]
    spike_probability: float
    has_ctc: bool
    unaligned: list[str]
    example: RoutingOverTime


@dataclass
class _Frames:
    """Frames of all utterances, one after the other."""

    factors: Factors
    classes: dict[str, list[np.ndarray]] = field(default_factory=dict)
    runs: dict[str, list[np.ndarray]] = field(default_factory=dict)
    experts: dict[str, list[np.ndarray]] = field(default_factory=dict)
    entropy: dict[str, float] = field(default_factory=dict)
    top: dict[str, float] = field(default_factory=dict)
    count: int = 0
    spikes: list[float] = field(default_factory=list)
    unaligned: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    def add(self, trace: UtteranceTrace) -> None:
        """Append the frames of an utterance."""
        for name, log_p in trace.log_p.items():
            self.experts.setdefault(name, []).append(log_p.argmax(axis=1))
            of_frames = -(np.exp(log_p) * log_p.clip(min=-1e9)).sum(axis=1)
            self.entropy[name] = self.entropy.get(name, 0.0) + of_frames.sum()
            self.top[name] = self.top.get(name, 0.0) + np.exp(log_p.max(axis=1)).sum()
        size = len(trace.silence)
        runs = np.cumsum(np.diff(trace.silence, prepend=trace.silence[:1]))
        self._label(SILENCE, trace.silence.astype(int), runs)
        of_unit = [self.factors.classes_of(unit) for unit in trace.utterance.units]
        for factor, names in self.factors.names.items():
            place = {name: number for number, name in enumerate(names)}
            numbers = [place[of[factor]] if of else -1 for of in of_unit]
            classes, runs = np.full(size, -1), np.zeros(size, int)
            if trace.units is not None:
                classes, runs = np.array(numbers)[trace.units], trace.units
            # what is silent is no part of a sound, whatever unit is nearest
            self._label(factor, np.where(trace.silence, -1, classes), runs)
        self.count += size
        if trace.units is None:
            self.unaligned.append(trace.utterance.name)
        else:
            self.spikes.append(trace.spike_probability)

    def _label(self, factor: str, classes: np.ndarray, runs: np.ndarray) -> None:
        self.classes.setdefault(factor, []).append(classes)
        # no number is used twice
        self.runs.setdefault(factor, []).append(runs + self.count)


def analyze_routing(
    model: nn.Module,
    utterances: Sequence[Utterance],
    config: dict[str, Any],
    experiment: str,
    source: str,
    wanted: str | None = None,
) -> RoutingReport:
    """Encode utterances and measure what the choice of experts depends on.

    Args:
        model: A model whose encoder has learned routing, ready for inference.
        utterances: From `report.routing.trace.read_utterances`.
        config: Its training configuration.
        experiment: Its name.
        source: Checkpoint and data, in words, for the heading.
        wanted: The utterance to show; the first of 2 to 8 s when None.

    Raises:
        ValueError: The model has no experts with learned routing, or an utterance
            cannot be read.
    """
    from tqdm import tqdm

    traces: dict[str, LayerTrace] = {}
    frames = _Frames(factors_of(utterance.units for utterance in utterances))
    traced = trace_routing(model, utterances, config, traces)
    for trace in tqdm(traced, total=len(utterances), unit="utt", mininterval=10):
        frames.add(trace)
        length = seconds_of(model, len(trace.mel))
        frames.seconds[trace.utterance.name] = float(length)
    name = wanted or _readable(frames.seconds)
    (trace,) = trace_routing(model, [u for u in utterances if u.name == name], config)
    of_name = {layer.name: layer.experts for layer in mixtures(model)["encoder"]}
    alike = {  # in the order in which a frame meets them
        name: similarity(of_name[name], torch.cat(traces[name].inputs))
        for name in frames.experts
    }
    classes = {**frames.factors.names, SILENCE: SILENT_OR_NOT}
    return RoutingReport(
        experiment=experiment,
        source=source,
        layers=_layers(frames, traces, classes),
        similarity={"encoder": alike},
        classes=classes,
        has_ctc=ctc_of(model) is not None,
        spike_probability=float(np.mean(frames.spikes or [np.nan])),
        unaligned=frames.unaligned,
        example=_over_time(model, trace),
    )


def _readable(seconds: dict[str, float]) -> str:
    """The first utterance of a good length, else the one nearest to it."""

    def outside(name: str) -> float:
        return max(SHORTEST - seconds[name], seconds[name] - LONGEST, 0.0)

    return min(seconds, key=outside)


def _layers(
    frames: _Frames,
    traces: dict[str, LayerTrace],
    names: dict[str, tuple[str, ...]],
) -> dict[str, Layer]:
    classes = {f: np.concatenate(frames.classes[f]) for f in names}
    runs = {f: np.concatenate(frames.runs[f]) for f in names}
    baselines = {f: shuffled(of, runs[f]) for f, of in classes.items()}
    layers = {}
    for name, parts in frames.experts.items():
        experts = np.concatenate(parts)
        loads = traces[name].loads["all"]
        counts, information = {}, {}
        for factor, of in classes.items():
            shape = len(names[factor]), len(loads)
            counts[factor] = count_pairs(of, experts, shape)
            by_chance = [
                mutual_information(count_pairs(other, experts, shape))
                for other in baselines[factor]
            ]
            information[factor] = MutualInformation(
                mutual_information(counts[factor]),
                float(np.mean(by_chance)),
                entropy(counts[factor].sum(axis=0)),
            )
        layers[name] = Layer(
            loads=loads,
            entropy=frames.entropy[name] / frames.count,
            top=frames.top[name] / frames.count,
            counts=counts,
            information=information,
        )
    return layers


def _over_time(model: nn.Module, trace: UtteranceTrace) -> RoutingOverTime:
    times = seconds_of(model, trace.centers)
    seconds = float(seconds_of(model, len(trace.mel)))
    borders = np.concatenate(([0.0], (times[1:] + times[:-1]) / 2, [seconds]))
    units = []
    if trace.units is not None:
        for number, unit in enumerate(trace.utterance.units):
            own = np.flatnonzero(trace.units == number)
            place = float(borders[own[0]]), float(borders[own[-1] + 1])
            units.append((unit, *place))
    return RoutingOverTime(
        name=trace.utterance.name,
        mel=trace.mel,
        seconds=seconds,
        borders=borders,
        silence=trace.silence,
        experts={name: of.argmax(axis=1) for name, of in trace.log_p.items()},
        units=units,
    )
