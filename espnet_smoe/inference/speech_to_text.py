"""SpeechToText: waveforms to a text for each task, with a trained model."""

from collections.abc import Iterator, Mapping, Sequence
from numbers import Number
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from espnet_smoe.config.options import nearest
from espnet_smoe.data.text.tokenizer import load_tokenizer
from espnet_smoe.decoder.transformer import SMoETransformerDecoder
from espnet_smoe.inference import confidence
from espnet_smoe.inference.audio import (
    SAMPLE_RATE,
    as_waveforms,
    bandwidth_of,
    to_16khz,
)
from espnet_smoe.inference.checkpoint import load_model, model_files, read_config
from espnet_smoe.inference.config_files import trained_lengths
from espnet_smoe.inference.long_audio import decode_long
from espnet_smoe.inference.result import Result, join_results
from espnet_smoe.inference.runtime.mkldnn_linear import pack_linears
from espnet_smoe.inference.search.beam_search import PromptBeamSearch
from espnet_smoe.inference.search.espnet_search import ESPnetBeamSearch
from espnet_smoe.inference.search.hypothesis import Hypothesis
from espnet_smoe.inference.search.options import AUTO, SearchOptions, check_beam
from espnet_smoe.inference.segmentation import (
    LONGEST_SECONDS,
    SHORTEST_LONGEST,
    check_longest,
)

__all__ = ["AUTO", "Result", "SpeechToText"]


class SpeechToText:
    """A trained model that transcribes and translates.

    One encoder pass serves every task; all tasks and utterances of a batch are rows
    of one beam search.

    Args:
        train_config: ``config.yaml`` of the experiment.
        model_file: Checkpoint.
        device: Such as ``cpu`` or ``cuda``.
        beam_size: Hypotheses kept.
        ctc_weight: Weight of CTC scores in the task that has a CTC head.
        maxlenratio: Longest output over encoder frames; 0 detects the end; negative is
            a number of tokens.
        minlenratio: Shortest output over encoder frames; negative is a number of
            tokens.
        nbest: Hypotheses in `Result.nbest`.
        batch_size: Utterances decoded together.
        longest_seconds: Longer recordings are cut in their pauses; None for the longest
            utterance of training, or `LONGEST_SECONDS` where that is not known.
        detect_speech: Give no text where nobody speaks; else the model says what it
            makes of silence and noise, too.

    Raises:
        ValueError: A file is missing, the checkpoint does not fit the configuration, or
            an option has no sense.

    Example:
        >>> files = "exp/x/config.yaml", "exp/x/model.pth"
        >>> speech_to_text = SpeechToText(*files)  # doctest: +SKIP
        >>> speech_to_text([wave], ["asr", "st"])[0]["st"].text  # doctest: +SKIP
        'good morning'
    """

    def __init__(
        self,
        train_config: str | Path,
        model_file: str | Path,
        device: str = "cpu",
        beam_size: int = 5,
        ctc_weight: float = 0.0,
        maxlenratio: float = 0.0,
        minlenratio: float = 0.0,
        nbest: int = 1,
        batch_size: int = 8,
        longest_seconds: float | None = None,
        detect_speech: bool = True,
    ):
        options = SearchOptions(beam_size, ctc_weight, maxlenratio, minlenratio)
        if not 1 <= nbest <= beam_size or batch_size < 1:
            raise ValueError(
                f"nbest {nbest} must be in 1..beam_size ({beam_size}) and batch_size "
                f"{batch_size} at least 1"
            )
        config = read_config(train_config)
        if config.get("model") != "smoe":
            raise ValueError(
                f"{train_config}: 'model: {config.get('model')}' has no tasks; take "
                "U2PPSpeechToText for 'model: u2pp', decode_ctc for 'model: speech_moe'"
            )
        self._set_pieces(train_config, config, longest_seconds, detect_speech)
        self.model = load_model(config, model_file, device)
        check_beam(beam_size, self.model.token_list)
        self.tokenizer = load_tokenizer(config["bpemodel"])
        self.device, self.nbest, self.batch_size = device, nbest, batch_size
        # features are taken one by one, so that no frame depends on the batch
        self._frontend, self.model.frontend = self.model.frontend, None
        self._search = self._build_search(options)

    @classmethod
    def from_pretrained(cls, path: str | Path, **options: object) -> "SpeechToText":
        """Load a packed model or an experiment's folder.

        Args:
            path: Zip file of the recipe's stage 14, or a folder.
            **options: Those of the constructor.
        """
        with model_files(path) as (train_config, model_file):
            return cls(train_config, model_file, **options)

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of the tasks that the model knows."""
        return tuple(self.model.tasks)

    @property
    def bandwidths(self) -> tuple[str, ...]:
        """Bandwidths that the model knows."""
        labels = self.model.encoder_labels
        return ("wb", "nb") if labels is None else tuple(t[1:-1] for t in labels.tokens)

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
        labels = self._labels(bandwidth, waves, rates, names)
        found = decode_long(self, waves, tasks, labels, names)
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

    def recognise(
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

    def _set_pieces(
        self,
        train_config: str | Path,
        config: Mapping[str, Any],
        longest_seconds: float | None,
        detect_speech: bool,
    ) -> None:
        """Remember what of a recording to decode at once."""
        trained = trained_lengths(Path(train_config), config)
        if longest_seconds is None:
            known = trained.longest_seconds or LONGEST_SECONDS
            longest_seconds = max(known, SHORTEST_LONGEST)
        check_longest(longest_seconds)
        self.longest_seconds, self.detect_speech = longest_seconds, detect_speech
        self.lead_seconds = trained.lead_seconds
        self.tail_seconds = trained.tail_seconds

    def _labels(
        self,
        bandwidth: str | Sequence[str],
        waves: Sequence[np.ndarray],
        rates: Sequence[int],
        names: Sequence[str],
    ) -> list[str]:
        given = _for_each(bandwidth, len(waves), "bandwidth")
        labels = [
            bandwidth_of(wave, rate) if self.check_bandwidth(label) == AUTO else label
            for label, wave, rate in zip(given, waves, rates)
        ]
        for label, name in zip(labels, names):
            self.check_label(label, name)
        return labels

    def check_label(self, label: str, name: str) -> None:
        """Refuse a recording of a bandwidth that the model does not know."""
        if label not in self.bandwidths:
            raise ValueError(
                f"{name}: sounds like '{label}', which the model does not know; "
                f"choose the bandwidth: {', '.join(self.bandwidths)}"
            )

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
        encoded, lengths = self._encode(waves, labels, names)
        nbests: list[dict[str, Sequence[Hypothesis]]] = [{} for _ in waves]
        for together in self._of_one_prompt_length(tasks):
            prompts = [self.model.tasks[task].prompt for task in together]
            ctc_task = self.model.ctc_task
            ctc_prompt = together.index(ctc_task) if ctc_task in together else None
            found = self._search(encoded, lengths, prompts, ctc_prompt)
            for task, of_task in zip(together, found):
                for of_wave, nbest in zip(nbests, of_task):
                    of_wave[task] = nbest
        results = []
        for i, of_wave in enumerate(nbests):
            log_probs = None
            if self.model.ctc is not None:  # of one at a time: V numbers a frame
                row = encoded[i : i + 1, : lengths[i]]
                log_probs = self.model.ctc.log_softmax(row)[0].float().cpu().numpy()
            seconds = len(waves[i]) / SAMPLE_RATE
            results.append(
                {
                    task: self._result(
                        of_wave[task], task, names[i], log_probs, seconds
                    )
                    for task in tasks
                }
            )
        return [{task: result[task] for task in tasks} for result in results]

    def _encode(
        self, waves: Sequence[np.ndarray], labels: Sequence[str], names: Sequence[str]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """``(B, T, D)`` and ``(B,)`` frames."""
        feats = [torch.from_numpy(w).to(self.device) for w in waves]
        if self._frontend is not None:
            feats = [
                self._frontend(f[None], torch.tensor([len(f)]))[0][0] for f in feats
            ]
        lengths = torch.tensor([len(f) for f in feats], device=self.device)
        ids = None
        if self.model.encoder_labels is not None:
            tokens = self.model.token_list
            ids = [tokens.index(f"<{label}>") for label in labels]
            ids = torch.tensor(ids, device=self.device)
        padded = pad_sequence(feats, batch_first=True)  # (B, T, features)
        return self.model.encode(padded, lengths, ids, names)

    def _of_one_prompt_length(self, tasks: Sequence[str]) -> list[list[str]]:
        """Tasks that one search can decode: all its rows advance in step."""
        by_length: dict[int, list[str]] = {}
        for task in tasks:
            by_length.setdefault(len(self.model.tasks[task].prompt), []).append(task)
        return list(by_length.values())

    def _result(
        self,
        nbest: Sequence[Hypothesis],
        task: str,
        name: str,
        log_probs: np.ndarray | None,
        seconds: float,
    ) -> Result:
        """Of a wave of so many seconds, of which the CTC head says ``(T, V)``."""
        if not nbest:
            raise ValueError(
                f"{name}: the search for {task} ended without a hypothesis; lower "
                "minlenratio or raise maxlenratio"
            )
        ids = [
            [t for t in hypothesis.tokens if t not in self.model.special_ids]
            for hypothesis in nbest[: self.nbest]
        ]
        pieces = [tuple(self.model.token_list[t] for t in of_one) for of_one in ids]
        # one line, whatever bytes a model has put together
        texts = [" ".join(self.tokenizer.decode(p).split()) for p in pieces]
        scores = [hypothesis.score for hypothesis in nbest]
        blank, timed = self.model.blank_id, ()
        if log_probs is None:
            sure = confidence.confidence_of_decoder(nbest[0])
        elif task == self.model.ctc_task:
            frame = seconds / max(1, len(log_probs))
            timed = confidence.heard_tokens(log_probs, ids[0], pieces[0], frame, blank)
            sure = confidence.confidence_of_tokens(timed)
        else:
            heard = confidence.confidence_of_speech(log_probs, blank)
            sure = heard * confidence.confidence_of_decoder(nbest[0])
        return Result(
            texts[0],
            pieces[0],
            scores[0],
            tuple(zip(texts, scores)),
            timed,
            sure if texts[0] else None,
        )

    def _build_search(
        self, options: SearchOptions
    ) -> PromptBeamSearch | ESPnetBeamSearch:
        model = self.model
        ctc = model.ctc if options.ctc_weight > 0 else None
        if options.ctc_weight > 0 and ctc is None:
            raise ValueError(
                f"ctc_weight is {options.ctc_weight}, but the model has no CTC head "
                "(it was trained with ctc_weight 0); use 0"
            )
        if isinstance(model.decoder, SMoETransformerDecoder):
            decoder = pack_linears(model.decoder)
            return PromptBeamSearch(decoder, model.eos, options, ctc)
        return ESPnetBeamSearch(
            model.decoder, model.eos, options, model.vocab_size, ctc
        )


def _for_each(value: object, count: int, what: str) -> list:
    """One value for all, or one for each."""
    if isinstance(value, (str, Number)) or value is None:
        return [value] * count
    if len(value) != count:
        raise ValueError(f"{len(value)} values of {what} for {count} waveforms")
    return list(value)
