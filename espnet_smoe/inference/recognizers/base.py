"""What every kind of model has in common: pieces of speech to results, in batches."""

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from copy import copy
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import nn

from espnet_smoe.inference.audio import SAMPLE_RATE
from espnet_smoe.inference.batch_encoder import BatchEncoder
from espnet_smoe.inference.checkpoint import load_model, read_config
from espnet_smoe.inference.confidence import (
    confidence_of_decoder,
    confidence_of_speech,
    confidence_of_tokens,
    timed_tokens,
)
from espnet_smoe.inference.config_files import check_sample_rate, trained_lengths
from espnet_smoe.inference.detokenizer import detokenizer
from espnet_smoe.inference.expert_use import ExpertWatch
from espnet_smoe.inference.long_form.detectors import new_activity
from espnet_smoe.inference.long_form.segmentation import (
    LONGEST_SECONDS,
    SHORTEST_LONGEST,
    check_longest,
)
from espnet_smoe.inference.output.words import words_of
from espnet_smoe.inference.result import Result
from espnet_smoe.inference.runtime.mkldnn_linear import convert_to_mkldnn
from espnet_smoe.inference.search import searches  # noqa: F401 - they register
from espnet_smoe.inference.search.encoded_batch import EncodedBatch
from espnet_smoe.inference.search.hypothesis import Hypothesis
from espnet_smoe.inference.search.options import DecodeOptions, check_beam


class BaseRecognizer:
    """A loaded model and a way to decode.

    A kind of model is a subclass that has its own `Options` and overrides some of the
    methods of the first part. Arguments are those of `SpeechToText`.
    """

    Options: ClassVar[type[DecodeOptions]] = DecodeOptions
    # that an utterance of a data directory may have before it is cut in its pauses;
    # None for the longest of the training
    utterance_seconds: ClassVar[float | None] = None
    _watch: ExpertWatch | None = None

    def __init__(
        self,
        train_config: str | Path,
        model_file: str | Path,
        device: str = "cpu",
        options: DecodeOptions | None = None,
        **given: object,
    ):
        if options is not None and given:
            raise ValueError(
                f"options and {', '.join(given)}: give what there is to choose in one "
                "of the two ways"
            )
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

    # -- what each kind of model does in its own way --------------------------------

    def _check_config(self, config: Mapping[str, Any], place: str | Path) -> None:
        """Refuse a configuration of another kind of model, or of another rate."""
        kind = kind_of(config)
        if kind != self.Options.model:
            raise ValueError(
                f"{place}: 'model: {kind}' is not 'model: {self.Options.model}', which "
                f"{type(self).__name__} is for; SpeechToText loads any"
            )
        check_sample_rate(config, place)

    def _load_model(
        self,
        config: Mapping[str, Any],
        model_file: str | Path,
        device: str,
        options: DecodeOptions,
    ) -> nn.Module:
        model = load_model(config, model_file, device, options.int8)
        convert_to_mkldnn(model)
        self.encoder = BatchEncoder(model)
        return model

    def _detokenizer(self, config: Mapping[str, Any]) -> Any:
        return detokenizer(config)

    def _set_options(self, options: DecodeOptions) -> None:
        """Decode with these options from now on."""
        self.options = options
        self.nbest, self.batch_size = options.nbest, options.batch_size
        self.detect_speech, self.vad = options.detect_speech, options.vad
        new_activity(self.vad)  # a package that is missing is told at once
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

    def tells_times(self, tasks: Sequence[str]) -> bool:
        """Whether words of all these tasks have times."""
        return all(map(self.is_timed, tasks))

    def with_options(self, options: DecodeOptions) -> Self:
        """The same model, decoding in another way; nothing is loaded again.

        Args:
            options: Equal to those of now in what `loaded_with` tells.
        """
        assert self.loaded_with(options) == self.loaded_with(self.options)
        other = copy(self)
        other._set_options(options)
        return other

    def watching_experts(self) -> Self:
        """The same model; its results tell the experts, `Result.experts`."""
        other = copy(self)
        other._watch = ExpertWatch(self.model)
        return other

    def is_timed(self, task: str) -> bool:
        """Whether the pieces of a task's texts have times."""
        return self.model.ctc is not None and self._is_aligned(task)

    @classmethod
    def loaded_with(cls, options: DecodeOptions) -> tuple:
        """What of the options a loaded model depends on: others need no new one."""
        return (options.int8,)

    # -- batches --------------------------------------------------------------------

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
        with self._watch or nullcontext():
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
        """Of one utterance of a batch, which lasts so many seconds."""
        # once for all tasks, and of one utterance at a time: V numbers a frame
        log_probs = None if batch.model.ctc is None else batch.log_probs_of(number)
        results = {}
        for task, nbest in found.items():
            if not nbest:
                raise ValueError(
                    f"{name}: the search for {task} ended without a hypothesis; lower "
                    "minlenratio or raise maxlenratio"
                )
            ids = [self._text_tokens(h.tokens) for h in nbest[: self.nbest]]
            tokens = [tuple(self.model.token_list[t] for t in of_one) for of_one in ids]
            pairs = tuple(zip(map(self.join, tokens), (h.score for h in nbest)))
            timed = ()
            if log_probs is not None and self._is_aligned(task):
                frame = self._frame_seconds(seconds, len(log_probs))
                blank = self.model.blank_id
                timed = timed_tokens(log_probs, ids[0], tokens[0], frame, blank)
                sure = confidence_of_tokens(timed)
            else:
                sure = confidence_of_decoder(nbest[0])
                if log_probs is not None:  # a text that CTC does not know
                    sure *= confidence_of_speech(log_probs, self.model.blank_id)
            text, score = pairs[0]
            sure_of_text = sure if text else None
            experts = self._watch.uses_of(number, task) if self._watch else ()
            words = tuple(words_of(timed, self.join))
            results[task] = Result(
                *(text, tokens[0], score, pairs, timed, sure_of_text, experts, words)
            )
        return results


def kind_of(config: Mapping[str, Any]) -> str:
    """``model:`` of a training configuration."""
    # a configuration without the key is of ESPnet's asr.sh, which leaves out defaults
    return config.get("model") or "espnet"
