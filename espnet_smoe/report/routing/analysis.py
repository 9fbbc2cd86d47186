"""Does learned routing follow the speech? The findings on an encoder.

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

from espnet_smoe.report.experts.probe import Seen, mixtures
from espnet_smoe.report.experts.similarity import similarity
from espnet_smoe.report.routing.mandarin_units import Factors, factors_of
from espnet_smoe.report.routing.mutual_information import (
    count_pairs,
    entropy,
    mutual_information,
    shuffled,
)
from espnet_smoe.report.routing.trace import Heard, Spoken, ctc_of, hear, seconds_of

SILENCE = "silence"
SILENT_OR_NOT = ("speech", "silence")
SHORTEST, LONGEST = 2.0, 8.0  # seconds that make a readable picture


@dataclass(frozen=True)
class Told:
    """What a factor tells about the expert of a frame.

    Attributes:
        bits: Mutual information.
        by_chance: The same with classes dealt out anew (`shuffled`), mean.
        entropy: Of the expert, in bits: the most that can be told.
    """

    bits: float
    by_chance: float
    entropy: float

    @property
    def share(self) -> float:
        """Of the entropy, in percent; NaN where one expert takes every frame."""
        return 100 * self.bits / self.entropy if self.entropy else float("nan")

    @property
    def share_by_chance(self) -> float:
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
        told: Factor -> what it tells.
    """

    loads: np.ndarray
    entropy: float
    top: float
    counts: dict[str, np.ndarray]
    told: dict[str, Told]


@dataclass(frozen=True)
class Shown:
    """One utterance over time.

    Attributes:
        name: Its id.
        mel: ``(frames, mels)``.
        seconds: How long it is.
        times: ``(T,)`` middle of each encoder frame in seconds.
        silence: ``(T,)``.
        experts: Layer -> ``(T,)``.
        units: Modelling units with the seconds from and to; empty where the text does
            not fit.
    """

    name: str
    mel: np.ndarray
    seconds: float
    times: np.ndarray
    silence: np.ndarray
    experts: dict[str, np.ndarray]
    units: list[tuple[str, float, float]]


@dataclass(frozen=True)
class RoutingFindings:
    """All that was found out about the routing of a model.

    Attributes:
        experiment: Its name.
        source: What was listened to.
        layers: By name, the lowest first.
        similarity: Part -> layer -> measure -> ``(E, E)``.
        classes: Factor -> its classes, in the order of `Layer.counts`.
        spike_probability: Mean probability of the texts' units at their spikes; NaN
            where no text was aligned.
        has_ctc: Whether the model has a CTC head, by which texts are aligned.
        unaligned: Utterances whose text does not fit their frames.
        shown: The utterance of the picture.
    """

    experiment: str
    source: str
    layers: dict[str, Layer]
    similarity: dict[str, dict[str, dict[str, np.ndarray]]]
    classes: dict[str, tuple[str, ...]]
    spike_probability: float
    has_ctc: bool
    unaligned: list[str]
    shown: Shown


@dataclass
class _Gathered:
    """Frames of all utterances, one after the other."""

    factors: Factors
    classes: dict[str, list[np.ndarray]] = field(default_factory=dict)
    runs: dict[str, list[np.ndarray]] = field(default_factory=dict)
    experts: dict[str, list[np.ndarray]] = field(default_factory=dict)
    entropy: dict[str, float] = field(default_factory=dict)
    top: dict[str, float] = field(default_factory=dict)
    frames: int = 0
    spikes: list[float] = field(default_factory=list)
    unaligned: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    def add(self, heard: Heard) -> None:
        """Take the frames of an utterance."""
        for name, log_p in heard.log_p.items():
            self.experts.setdefault(name, []).append(log_p.argmax(axis=1))
            of_frames = -(np.exp(log_p) * log_p.clip(min=-1e9)).sum(axis=1)
            self.entropy[name] = self.entropy.get(name, 0.0) + of_frames.sum()
            self.top[name] = self.top.get(name, 0.0) + np.exp(log_p.max(axis=1)).sum()
        size = len(heard.silence)
        runs = np.cumsum(np.diff(heard.silence, prepend=heard.silence[:1]))
        self._label(SILENCE, heard.silence.astype(int), runs)
        of_unit = [self.factors.classes_of(unit) for unit in heard.spoken.units]
        for factor, names in self.factors.names.items():
            place = {name: number for number, name in enumerate(names)}
            numbers = [place[of[factor]] if of else -1 for of in of_unit]
            classes, runs = np.full(size, -1), np.zeros(size, int)
            if heard.units is not None:
                classes, runs = np.array(numbers)[heard.units], heard.units
            # what is silent is no part of a sound, whatever unit is nearest
            self._label(factor, np.where(heard.silence, -1, classes), runs)
        self.frames += size
        if heard.units is None:
            self.unaligned.append(heard.spoken.name)
        else:
            self.spikes.append(heard.spike_probability)

    def _label(self, factor: str, classes: np.ndarray, runs: np.ndarray) -> None:
        self.classes.setdefault(factor, []).append(classes)
        # no number is used twice
        self.runs.setdefault(factor, []).append(runs + self.frames)


def look_at_routing(
    model: nn.Module,
    spoken: Sequence[Spoken],
    config: dict[str, Any],
    experiment: str,
    source: str,
    wanted: str | None = None,
) -> RoutingFindings:
    """Let a model hear utterances and see what its routers go by.

    Args:
        model: A model whose encoder has learned routing, ready for inference.
        spoken: From `routing_data.read_spoken`.
        config: Its training configuration.
        experiment: Its name.
        source: What is listened to, for the heading.
        wanted: The utterance to show; the first of 2 to 8 s when None.

    Raises:
        ValueError: The model has no experts with learned routing, or an utterance
            cannot be read.
    """
    from tqdm import tqdm

    seen: dict[str, Seen] = {}
    gathered = _Gathered(factors_of(one.units for one in spoken))
    utterances = hear(model, spoken, config, seen)
    for heard in tqdm(utterances, total=len(spoken), unit="utt", mininterval=10):
        gathered.add(heard)
        length = seconds_of(model, len(heard.mel))
        gathered.seconds[heard.spoken.name] = float(length)
    name = wanted or _readable(gathered.seconds)
    (heard,) = hear(model, [s for s in spoken if s.name == name], config)
    of_name = {layer.name: layer.experts for layer in mixtures(model)["encoder"]}
    alike = {  # in the order in which a frame meets them
        name: similarity(of_name[name], torch.cat(seen[name].frames))
        for name in gathered.experts
    }
    classes = {**gathered.factors.names, SILENCE: SILENT_OR_NOT}
    return RoutingFindings(
        experiment=experiment,
        source=source,
        layers=_layers(gathered, seen, classes),
        similarity={"encoder": alike},
        classes=classes,
        has_ctc=ctc_of(model) is not None,
        spike_probability=float(np.mean(gathered.spikes or [np.nan])),
        unaligned=gathered.unaligned,
        shown=_shown(model, heard),
    )


def _readable(seconds: dict[str, float]) -> str:
    """The first utterance of a good length, else the one nearest to it."""

    def outside(name: str) -> float:
        return max(SHORTEST - seconds[name], seconds[name] - LONGEST, 0.0)

    return min(seconds, key=outside)


def _layers(
    gathered: _Gathered, seen: dict[str, Seen], names: dict[str, tuple[str, ...]]
) -> dict[str, Layer]:
    classes = {f: np.concatenate(gathered.classes[f]) for f in names}
    runs = {f: np.concatenate(gathered.runs[f]) for f in names}
    baselines = {f: shuffled(of, runs[f]) for f, of in classes.items()}
    layers = {}
    for name, parts in gathered.experts.items():
        experts = np.concatenate(parts)
        loads = seen[name].loads["all"]
        counts, told = {}, {}
        for factor, of in classes.items():
            shape = len(names[factor]), len(loads)
            counts[factor] = count_pairs(of, experts, shape)
            by_chance = [
                mutual_information(count_pairs(dealt, experts, shape))
                for dealt in baselines[factor]
            ]
            told[factor] = Told(
                mutual_information(counts[factor]),
                float(np.mean(by_chance)),
                entropy(counts[factor].sum(axis=0)),
            )
        layers[name] = Layer(
            loads=loads,
            entropy=gathered.entropy[name] / gathered.frames,
            top=gathered.top[name] / gathered.frames,
            counts=counts,
            told=told,
        )
    return layers


def _shown(model: nn.Module, heard: Heard) -> Shown:
    times = seconds_of(model, heard.centres)
    seconds = float(seconds_of(model, len(heard.mel)))
    borders = np.concatenate(([0.0], (times[1:] + times[:-1]) / 2, [seconds]))
    units = []
    if heard.units is not None:
        for number, unit in enumerate(heard.spoken.units):
            frames = np.flatnonzero(heard.units == number)
            place = float(borders[frames[0]]), float(borders[frames[-1] + 1])
            units.append((unit, *place))
    return Shown(
        name=heard.spoken.name,
        mel=heard.mel,
        seconds=seconds,
        times=times,
        silence=heard.silence,
        experts={name: of.argmax(axis=1) for name, of in heard.log_p.items()},
        units=units,
    )
