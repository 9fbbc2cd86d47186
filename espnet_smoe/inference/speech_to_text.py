"""SpeechToText: waveforms to a text for each task, with a trained model of any kind."""

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from numbers import Number
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import nn

from espnet_smoe.config.options import nearest
from espnet_smoe.inference import confidence
from espnet_smoe.inference.audio import (
    SAMPLE_RATE,
    as_waveforms,
    bandwidth_of,
    to_16khz,
)
from espnet_smoe.inference.batch_encoder import BatchEncoder
from espnet_smoe.inference.checkpoint import load_model, model_files, read_config
from espnet_smoe.inference.config_files import trained_lengths
from espnet_smoe.inference.detokenizer import detokenizer
from espnet_smoe.inference.long_audio import decode_long
from espnet_smoe.inference.result import Result, join_results
from espnet_smoe.inference.search import searches  # noqa: F401 - they register
from espnet_smoe.inference.search.encoded_batch import EncodedBatch
from espnet_smoe.inference.search.hypothesis import Hypothesis
from espnet_smoe.inference.search.options import AUTO, DecodeOptions, check_beam
from espnet_smoe.inference.segmentation import (
    LONGEST_SECONDS,
    SHORTEST_LONGEST,
    check_longest,
)

__all__ = ["AUTO", "Result", "SpeechToText"]

ROOM = "espnet_smoe.inference.recognizers"
KINDS = {  # `model:` of the training YAML; by name, so that one kind loads one module
    "smoe": f"{ROOM}.smoe:SMoESpeechToText",
    "u2pp": f"{ROOM}.u2pp:U2PPSpeechToText",
    "speech_moe": f"{ROOM}.speech_moe:SpeechMoESpeechToText",
    "espnet": f"{ROOM}.espnet:ESPnetSpeechToText",
}
TASK = "asr"


class SpeechToText:
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

    Options: ClassVar[type[DecodeOptions]] = DecodeOptions
    tasks: tuple[str, ...] = (TASK,)
    bandwidths: tuple[str, ...] = ("wb", "nb")
    reads_bandwidth: ClassVar[bool] = False  # else it changes nothing
    # that an utterance of a data directory may have before it is cut in its pauses;
    # None for the longest of the training
    utterance_seconds: ClassVar[float | None] = None

    def __new__(cls, train_config: str | Path = "", *_: object, **__: object) -> Self:
        """Choose the class by the kind of the model."""
        kind = speech_to_text_class(train_config) if cls is SpeechToText else cls
        return super().__new__(kind)

    def __init__(
        self,
        train_config: str | Path,
        model_file: str | Path,
        device: str = "cpu",
        options: DecodeOptions | None = None,
        **given: object,
    ):
        config = read_config(train_config)
        self._check_config(config, train_config)
        options = options or self.Options.of(given, "options")
        trained = trained_lengths(Path(train_config), config)
        self._trained_seconds = max(
            trained.longest_seconds or LONGEST_SECONDS, SHORTEST_LONGEST
        )
        self.lead_seconds = trained.lead_seconds
        self.tail_seconds = trained.tail_seconds
        self.device, self.seconds = device, Counter[str]()
        self.join = self._detokenizer(config)
        self.model = self._load_model(config, model_file, device, options)
        self._set_options(options)

    @classmethod
    def load(cls, path: str | Path, **options: object) -> Self:
        """Load a packed model or an experiment's folder.

        Args:
            path: Zip file of the recipe's stage 14, or a folder.
            **options: Those of the constructor.

        Raises:
            ValueError: As the constructor.
        """
        with model_files(path) as (train_config, model_file):
            return cls(train_config, model_file, **options)

    from_pretrained = load  # as ESPnet's Speech2Text names it

    def with_options(self, options: DecodeOptions) -> Self:
        """The same model, decoding in another way; nothing is loaded again.

        Args:
            options: Equal to those of now in what `loaded_with` tells.
        """
        assert self.loaded_with(options) == self.loaded_with(self.options)
        other = copy(self)
        other._set_options(options)
        return other

    @classmethod
    def loaded_with(cls, options: DecodeOptions) -> tuple:
        """What of the options a loaded model depends on: others need no new one."""
        return (getattr(options, "int8", False),)

    # -- what each kind of model does in its own way --------------------------------

    def _check_config(self, config: Mapping[str, Any], place: str | Path) -> None:
        """Refuse a configuration of another kind of model."""
        kind = _kind_of(config)
        if kind != self.Options.model:
            raise ValueError(
                f"{place}: 'model: {kind}' is not 'model: {self.Options.model}', which "
                f"{type(self).__name__} is for; SpeechToText loads any"
            )

    def _load_model(
        self,
        config: Mapping[str, Any],
        model_file: str | Path,
        device: str,
        options: DecodeOptions,
    ) -> nn.Module:
        model = load_model(config, model_file, device, getattr(options, "int8", False))
        self.encoder = BatchEncoder(model)
        return model

    def _detokenizer(self, config: Mapping[str, Any]) -> Any:
        return detokenizer(config)

    def _set_options(self, options: DecodeOptions) -> None:
        """Decode as told from now on."""
        self.options = options
        self.nbest, self.batch_size = options.nbest, options.batch_size
        self.detect_speech = options.detect_speech
        given = options.longest_seconds
        self.longest_seconds = given or self._trained_seconds
        check_longest(self.longest_seconds)
        self.longest_utterance = given or self.utterance_seconds or self.longest_seconds
        check_beam(getattr(options, "beam_size", 1), self.model.token_list)
        self._search = self._build_search()

    def _build_search(self) -> Any:
        return self.options.build_search(self.model)

    def _encode(
        self, waves: Sequence[np.ndarray], labels: Sequence[str], names: Sequence[str]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """``(B, T, D)`` and ``(B,)`` frames."""
        return self.encoder(waves)

    def _find(
        self, batch: EncodedBatch, tasks: Sequence[str]
    ) -> dict[str, list[list[Hypothesis]]]:
        """The hypotheses of each task, of each utterance."""
        found = self._search(batch)
        return {task: found for task in tasks}

    def _text_tokens(self, tokens: Sequence[int]) -> list[int]:
        """The tokens of a hypothesis that are text."""
        return list(tokens)

    def _frame_seconds(self, seconds: float, frames: int) -> float:
        """Of an encoder frame, of so many in so many seconds."""
        return seconds / max(1, frames)

    def _is_aligned(self, task: str) -> bool:
        """Whether the CTC head knows the texts of a task."""
        return True

    # -- recordings -----------------------------------------------------------------

    def __call__(
        self,
        waveforms: Sequence[np.ndarray],
        tasks: str | Sequence[str] | None = None,
        bandwidth: str | Sequence[str] = AUTO,
        sample_rate: int | Sequence[int] = SAMPLE_RATE,
        names: Sequence[str] | None = None,
    ) -> list[dict[str, Result]]:
        """Decode recordings of any length.

        Args:
            waveforms: ``(samples,)`` each, mono: floats within [-1, 1], or integers,
                which are scaled by their type. Those longer than `longest_seconds` are
                cut in their pauses and their texts joined. A single one counts as a
                list of one.
            tasks: Names, or one name; all tasks of the model when None.
            bandwidth: ``auto`` or a label, one for all or one for each.
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
        given = _for_each(bandwidth, len(waves), "bandwidth")
        for label in given:
            self.check_bandwidth(label)
        labels = self.bandwidths_of(waves, rates, given, names)
        return self._joined(waves, tasks, labels, names)

    def recognize_utterances(
        self,
        waves: Sequence[np.ndarray],
        labels: Sequence[str],
        tasks: Sequence[str],
        names: Sequence[str],
    ) -> list[dict[str, Result]]:
        """Decode utterances of a data directory, which somebody has cut already.

        Only those longer than `longest_utterance` are cut again, in their pauses.

        Args:
            waves: ``(samples,)`` each, float32 at 16 kHz.
            labels: Bandwidth of each.
            tasks: Names.
            names: Of the utterances, for messages.
        """
        return self._joined(waves, tasks, labels, names, utterances=True)

    def _joined(
        self,
        waves: Sequence[np.ndarray],
        tasks: Sequence[str],
        labels: Sequence[str],
        names: Sequence[str],
        utterances: bool = False,
    ) -> list[dict[str, Result]]:
        found = decode_long(self, waves, tasks, labels, names, utterances)
        return [
            {
                task: join_results(
                    [piece.results[task] for piece in pieces],
                    [piece.start for piece in pieces],
                )
                for task in tasks
            }
            for pieces in found
        ]

    def recognize(
        self,
        waves: Sequence[np.ndarray],
        labels: Sequence[str],
        tasks: Sequence[str],
        names: Sequence[str],
    ) -> list[dict[str, Result]]:
        """Decode pieces of speech as they are, none of them cut or left out.

        Args:
            waves: ``(samples,)`` each, float32 at 16 kHz, not too long for the memory.
            labels: Bandwidth of each.
            tasks: Names.
            names: Of their recordings, for messages.
        """
        results: list[dict[str, Result]] = [{} for _ in waves]
        for batch in self._batches([len(w) for w in waves]):
            found = self._decode(
                [waves[i] for i in batch],
                [labels[i] for i in batch],
                tasks,
                [names[i] for i in batch],
            )
            for i, result in zip(batch, found):
                results[i] = result
        return results

    def check_tasks(self, tasks: str | Sequence[str] | None) -> tuple[str, ...]:
        """The tasks asked for, known ones all of them; every one when None."""
        tasks = (tasks,) if isinstance(tasks, str) else tasks
        tasks = self.tasks if tasks is None else tuple(dict.fromkeys(tasks))
        for task in tasks:
            if task not in self.tasks:
                raise ValueError(
                    f"unknown task '{task}'{nearest(task, self.tasks)} (known: "
                    f"{', '.join(self.tasks)})"
                )
        return tasks

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
            labels.append(bandwidth_of(wave, rate) if label == AUTO else label)
            self.check_label(labels[-1], name)
        return labels

    def check_label(self, label: str, name: str) -> None:
        """Refuse a recording of a bandwidth that the model does not know."""
        if label not in self.bandwidths:
            raise ValueError(
                f"{name}: sounds like '{label}', which the model does not know; "
                f"choose the bandwidth: {', '.join(self.bandwidths)}"
            )

    # -- one batch ------------------------------------------------------------------

    def _batches(self, lengths: Sequence[int]) -> Iterator[list[int]]:
        """Indices of utterances of like length, `batch_size` together."""
        order = sorted(range(len(lengths)), key=lambda i: lengths[i])
        for start in range(0, len(order), self.batch_size):
            yield order[start : start + self.batch_size]

    @torch.inference_mode()
    def _decode(
        self,
        waves: Sequence[np.ndarray],
        labels: Sequence[str],
        tasks: Sequence[str],
        names: Sequence[str],
    ) -> list[dict[str, Result]]:
        begun = time.perf_counter()
        batch = EncodedBatch(self.model, *self._encode(waves, labels, names))
        encoded = time.perf_counter()
        found = self._find(batch, tasks)
        done = time.perf_counter()
        self.seconds.update(compute=done - begun, search=done - encoded)
        return [
            self._results(
                batch,
                number,
                {task: found[task][number] for task in tasks},
                names[number],
                len(wave) / SAMPLE_RATE,
            )
            for number, wave in enumerate(waves)
        ]

    def _results(
        self,
        batch: EncodedBatch,
        number: int,
        found: Mapping[str, Sequence[Hypothesis]],
        name: str,
        seconds: float,
    ) -> dict[str, Result]:
        """Of one utterance of a batch."""
        # once for all tasks, and of one utterance at a time: V numbers a frame
        log_probs = None if batch.model.ctc is None else batch.log_probs_of(number)
        for task, nbest in found.items():
            if not nbest:
                raise ValueError(
                    f"{name}: the search for {task} ended without a hypothesis; lower "
                    "minlenratio or raise maxlenratio"
                )
        return {
            task: self._result(nbest, task, log_probs, seconds)
            for task, nbest in found.items()
        }

    def _result(
        self,
        nbest: Sequence[Hypothesis],
        task: str,
        log_probs: np.ndarray | None,
        seconds: float,
    ) -> Result:
        """Texts of the hypotheses; of the best one, when each token was said.

        Args:
            nbest: One hypothesis at least.
            task: What they are.
            log_probs: ``(T, V)`` of the CTC head, where there is one.
            seconds: Of the utterance.
        """
        ids = [self._text_tokens(h.tokens) for h in nbest[: self.nbest]]
        tokens = [tuple(self.model.token_list[t] for t in of_one) for of_one in ids]
        pairs = tuple(zip(map(self.join, tokens), (h.score for h in nbest)))
        timed = ()
        if log_probs is None:
            sure = confidence.confidence_of_decoder(nbest[0])
        elif self._is_aligned(task):
            # no times where a decoder that CTC does not check says more than fits
            frame = self._frame_seconds(seconds, len(log_probs))
            blank = self.model.blank_id
            timed = confidence.timed_tokens(log_probs, ids[0], tokens[0], frame, blank)
            sure = confidence.confidence_of_tokens(timed)
        else:
            speech = confidence.confidence_of_speech(log_probs, self.model.blank_id)
            sure = speech * confidence.confidence_of_decoder(nbest[0])
        text, score = pairs[0]
        return Result(text, tokens[0], score, pairs, timed, sure if text else None)


def _kind_of(config: Mapping[str, Any]) -> str:
    # a configuration without the key is of ESPnet's asr.sh, which leaves out defaults
    return config.get("model") or "espnet"


def speech_to_text_class(train_config: str | Path) -> type[SpeechToText]:
    """The class for a model, by its training configuration.

    Raises:
        ValueError: It is no training configuration, or there is no class for its kind.
    """
    kind = _kind_of(read_config(train_config))
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
