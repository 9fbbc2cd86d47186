"""SpeechToText: waveforms to a text for each task, with a trained model of any kind."""

from collections.abc import Sequence
from numbers import Number
from pathlib import Path
from pkgutil import resolve_name
from typing import ClassVar, Self

import numpy as np

from espnet_smoe.config.options import nearest
from espnet_smoe.config.yaml_file import read_yaml
from espnet_smoe.data.speech.bandwidth import bandwidth_at_16khz
from espnet_smoe.inference.audio import (
    SAMPLE_RATE,
    as_waveforms,
    to_16khz,
)
from espnet_smoe.inference.checkpoint import model_files, read_config
from espnet_smoe.inference.config_files import own_decoding
from espnet_smoe.inference.long_form.long_audio import decode_long
from espnet_smoe.inference.recognizers.base import BaseRecognizer, kind_of
from espnet_smoe.inference.result import Result, join_results
from espnet_smoe.inference.search.options import AUTO

__all__ = ["AUTO", "Result", "SpeechToText"]

ROOM = "espnet_smoe.inference.recognizers"
KINDS = {  # `model:` of the training YAML; by name, so that one kind loads one module
    "smoe": f"{ROOM}.smoe:SMoESpeechToText",
    "u2pp": f"{ROOM}.u2pp:U2PPSpeechToText",
    "speech_moe": f"{ROOM}.speech_moe:SpeechMoESpeechToText",
    "espnet": f"{ROOM}.espnet:ESPnetSpeechToText",
}
TASK = "asr"


class SpeechToText(BaseRecognizer):
    """A trained model that turns speech into text.

    Made from a configuration and a checkpoint, or by `load` from a packed model or an
    experiment's folder; either way the object is of the class for the kind of the
    model: S-MoE (all its tasks), U2++, SpeechMoE (units, and words by a graph), or a
    model that ESPnet's own asr.sh has trained.

    Args:
        train_config: ``config.yaml`` of the experiment.
        model_file: Checkpoint.
        device: Such as ``cpu`` or ``cuda``.
        options: How to decode; in place of the keywords.
        **given: Those of the kind's `Options`, such as ``beam_size``: what a decoding
            YAML may hold.

    Attributes:
        tasks: Names of what the model writes.
        bandwidths: Those that it knows.
        seconds: Spent since it was cleared: ``compute`` on encoding and searching, of
            which ``search``.

    Raises:
        ValueError: A file is missing, the checkpoint does not fit the configuration, or
            an option has no sense.

    Example:
        >>> speech_to_text = SpeechToText.load("exp/x")  # doctest: +SKIP
        >>> speech_to_text([wave], ["asr", "st"])[0]["st"].text  # doctest: +SKIP
        'good morning'
    """

    tasks: tuple[str, ...] = (TASK,)
    bandwidths: tuple[str, ...] = ("wb", "nb")
    reads_bandwidth: ClassVar[bool] = False  # else it changes nothing

    def __new__(cls, train_config: str | Path = "", *_: object, **__: object) -> Self:
        """Choose the class by the kind of the model."""
        kind = speech_to_text_class(train_config) if cls is SpeechToText else cls
        return super().__new__(kind)

    @classmethod
    def load(cls, path: str | Path, **options: object) -> Self:
        """Load a packed model, an experiment's folder, or a model of the hub.

        Args:
            path: Zip file, folder, or name on the Hugging Face hub, such as
                ``lab/koen`` or ``lab/koen@v1.0``.
            **options: Those of the constructor. What is left out is as the decoding
                YAML says that came with the model, where one did.

        Raises:
            ValueError: As the constructor.
        """
        with model_files(path) as (train_config, model_file):
            own = own_decoding(train_config)
            if own is not None and options.get("options") is None:
                options = read_yaml(own, empty=True) | options
            return cls(train_config, model_file, **options)

    from_pretrained = load  # as ESPnet's Speech2Text names it

    def __call__(
        self,
        waveforms: Sequence[np.ndarray],
        tasks: str | Sequence[str] | None = None,
        bandwidth: str | Sequence[str] | None = None,
        sample_rate: int | Sequence[int] = SAMPLE_RATE,
        names: Sequence[str] | None = None,
    ) -> list[dict[str, Result]]:
        """Decode recordings of any length.

        Args:
            waveforms: ``(samples,)`` each, mono: floats within [-1, 1], or integers,
                which are scaled by their type. Those longer than `longest_seconds` are
                cut in their pauses and their texts joined. A single one counts as a
                list of one.
            tasks: Names, or one name; those of the options when None, or all.
            bandwidth: ``auto`` or a label, one for all or one for each; that of the
                options when None, or ``auto``.
            sample_rate: Hz, one for all or one for each.
            names: Of the recordings, for messages.

        Returns:
            For each waveform a `Result` for each task; an empty one where nobody
            speaks.

        Raises:
            ValueError: Unknown task or bandwidth; a waveform that is empty, broken, or
                of another scale.
        """
        tasks = self.check_tasks(tasks)
        waveforms = as_waveforms(waveforms)
        names = names or [f"waveform {i}" for i in range(len(waveforms))]
        names = _for_each(names, len(waveforms), "names")
        rates = _for_each(sample_rate, len(waveforms), "sample_rate")
        waves = [to_16khz(w, r, n) for w, r, n in zip(waveforms, rates, names)]
        bandwidth = self.own_bandwidth if bandwidth is None else bandwidth
        given = _for_each(bandwidth, len(waves), "bandwidth")
        for label in given:
            self.check_bandwidth(label)
        labels = self.bandwidths_of(waves, rates, given, names)
        return self.recognize_long(waves, labels, tasks, names)

    def recognize_long(
        self,
        waves: Sequence[np.ndarray],
        labels: Sequence[str],
        tasks: Sequence[str],
        names: Sequence[str],
        utterances: bool = False,
    ) -> list[dict[str, Result]]:
        """Decode recordings of any length, cut in their pauses.

        Args:
            waves: ``(samples,)`` each, float32 at 16 kHz.
            labels: Bandwidth of each.
            tasks: Names.
            names: Of the recordings, for messages.
            utterances: Somebody has cut them already: only those longer than
                `longest_utterance` are cut again.
        """
        return [
            {
                task: join_results(
                    [piece.results[task] for piece in pieces],
                    [piece.start for piece in pieces],
                )
                for task in tasks
            }
            for pieces in decode_long(self, waves, tasks, labels, names, utterances)
        ]

    def check_tasks(self, tasks: str | Sequence[str] | None) -> tuple[str, ...]:
        """The tasks asked for, known ones all of them.

        Args:
            tasks: Names, or one name; those of the options when None, or else all.

        Raises:
            ValueError: The model does not know one.
        """
        tasks = (tasks,) if isinstance(tasks, str) else tasks
        if tasks is None:
            tasks = getattr(self.options, "tasks", None) or self.tasks
        tasks = tuple(dict.fromkeys(tasks))
        for task in tasks:
            if task not in self.tasks:
                raise ValueError(
                    f"unknown task '{task}'{nearest(task, self.tasks)} (known: "
                    f"{', '.join(self.tasks)})"
                )
        return tasks

    @property
    def own_bandwidth(self) -> str:
        """That of recordings of which nobody says another: of the options, or auto."""
        return getattr(self.options, "bandwidth", AUTO)

    def check_bandwidth(self, bandwidth: str) -> str:
        """``auto`` or a bandwidth that the model knows."""
        known = (AUTO, *self.bandwidths)
        if bandwidth not in known:
            raise ValueError(
                f"unknown bandwidth '{bandwidth}'{nearest(bandwidth, known)} (known: "
                f"{', '.join(known)})"
            )
        return bandwidth

    def bandwidths_of(
        self,
        waves: Sequence[np.ndarray],
        rates: Sequence[int],
        given: Sequence[str],
        names: Sequence[str],
    ) -> list[str]:
        """The bandwidth of each recording: as given, or as it sounds.

        Args:
            waves: ``(samples,)`` each, at 16 kHz.
            rates: Hz before resampling.
            given: ``auto`` or a label each.
            names: Of the recordings, for messages.

        Raises:
            ValueError: The model does not know one; names the recording.
        """
        if not self.reads_bandwidth:
            return [self.bandwidths[0]] * len(waves)
        labels = []
        for wave, rate, label, name in zip(waves, rates, given, names):
            try:
                self.check_bandwidth(label)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from error
            labels.append(bandwidth_at_16khz(wave, rate) if label == AUTO else label)
            self.check_label(labels[-1], name)
        return labels

    def check_label(self, label: str, name: str) -> None:
        """Refuse a recording of a bandwidth that the model does not know."""
        if label not in self.bandwidths:
            raise ValueError(
                f"{name}: sounds like '{label}', which the model does not know; "
                f"choose the bandwidth: {', '.join(self.bandwidths)}"
            )


def speech_to_text_class(train_config: str | Path) -> type[SpeechToText]:
    """The class for a model, by its training configuration.

    Raises:
        ValueError: It is no training configuration, or there is no class for its kind.
    """
    kind = kind_of(read_config(train_config))
    if kind not in KINDS:
        raise ValueError(
            f"{train_config}: 'model: {kind}' cannot transcribe; {', '.join(KINDS)} can"
        )
    return resolve_name(KINDS[kind])


def _for_each(value: object, count: int, what: str) -> list:
    """One value for all, or one for each."""
    if isinstance(value, (str, Number)) or value is None:
        return [value] * count
    if len(value) != count:
        raise ValueError(f"{len(value)} values of {what} for {count} waveforms")
    return list(value)
