"""S-MoE: every task of an utterance from one encoder pass and one beam search."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
import torch

from espnet_smoe.config.options import nearest, options_of
from espnet_smoe.data.task_table import is_language, spoken_of, token_of
from espnet_smoe.decoder.transformer import SMoETransformerDecoder
from espnet_smoe.inference.detokenizer import detokenizer
from espnet_smoe.inference.search.beam_search import PromptBeamSearch
from espnet_smoe.inference.search.encoded_batch import EncodedBatch
from espnet_smoe.inference.search.espnet_search import ESPnetBeamSearch
from espnet_smoe.inference.search.hypothesis import Hypothesis
from espnet_smoe.inference.search.options import AUTO, DecodeOptions, SearchOptions
from espnet_smoe.inference.search.registry import Search
from espnet_smoe.inference.speech_to_text import SpeechToText
from espnet_smoe.moe import label_ids


@options_of("")
@dataclass(frozen=True)
class SMoEDecodeOptions(DecodeOptions, SearchOptions):
    """What the decoding YAML of an S-MoE model may hold.

    Attributes:
        tasks: Names, where nobody asks for others; None for all.
        bandwidth: Of recordings of which nobody says another, such as utterances
            without a line in ``utt2bandwidth``.
        language: That is spoken, such as ``es``, in utterances without a line in
            ``utt2lang``; None for that of the tasks' prompts.
    """

    tasks: list[str] | None = None
    bandwidth: str = AUTO
    language: str | None = None

    model: ClassVar[str] = "smoe"


class PromptedSearch:
    """Several prompts as rows of one beam search.

    Args:
        model: S-MoE.
        options: Its `SMoEDecodeOptions`.

    Raises:
        ValueError: CTC has a weight, but the model no CTC head.
    """

    def __init__(self, model: Any, options: SMoEDecodeOptions):
        if options.ctc_weight > 0 and model.ctc is None:
            raise ValueError(
                f"ctc_weight is {options.ctc_weight}, but the model has no CTC head "
                "(it was trained with ctc_weight 0); use 0"
            )
        self.model = model
        self.options = options

    def __call__(self, batch: EncodedBatch) -> list[list[Hypothesis]]:
        """The hypotheses of each utterance, of the batch's own task."""
        prompts = {batch.task: self.model.tasks[batch.task].prompt}
        return self.search_tasks(batch, prompts)[batch.task]

    def search_tasks(
        self, batch: EncodedBatch, prompts: Mapping[str, tuple[int, ...]]
    ) -> dict[str, list[list[Hypothesis]]]:
        """The hypotheses of each task, of each utterance; prompts are by task."""
        model, found = self.model, {}
        ctc = batch.ctc if self.options.ctc_weight > 0 else None
        given = model.decoder, model.eos, self.options
        if isinstance(model.decoder, SMoETransformerDecoder):
            search: Any = PromptBeamSearch(*given, ctc)
        else:
            search = ESPnetBeamSearch(*given, model.vocab_size, ctc)
        for together in _of_one_length(prompts):
            asked = [prompts[task] for task in together]
            scored = (
                together.index(model.ctc_task) if model.ctc_task in together else None
            )
            nbests = search(batch.encoder_out, batch.lengths, asked, scored)
            found |= dict(zip(together, nbests))
        return found


def _of_one_length(prompts: Mapping[str, Sequence[int]]) -> list[list[str]]:
    """Tasks that one search can decode: all its rows advance in step."""
    by_length: dict[int, list[str]] = {}
    for task, prompt in prompts.items():
        by_length.setdefault(len(prompt), []).append(task)
    return list(by_length.values())


class SMoESpeechToText(SpeechToText):
    """A trained S-MoE model: all tasks and utterances are rows of one search.

    Options are those of `SMoEDecodeOptions`.
    """

    Options = SMoEDecodeOptions
    reads_bandwidth = True

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of the tasks that the model knows."""
        return tuple(self.model.tasks)

    @property
    def bandwidths(self) -> tuple[str, ...]:
        """Bandwidths that the model knows."""
        labels = self.model.encoder_labels
        return ("wb", "nb") if labels is None else tuple(t[1:-1] for t in labels.tokens)

    def _detokenizer(self, config: Mapping[str, Any]) -> Any:
        if config.get("bpemodel"):  # the preprocessor `smoe` reads no other option
            config = {**config, "token_type": "bpe"}
        return detokenizer(config)

    def in_language(self, language: str | None) -> Self:
        """The same model for speech of a language; None for that of its options."""
        if not language:
            return self
        return self.with_options(replace(self.options, language=language))

    def _set_options(self, options: DecodeOptions) -> None:
        super()._set_options(options)
        self._language = self._language_id(getattr(options, "language", None))

    def _language_id(self, language: str | None) -> int | None:
        if language is None:
            return None
        tokens = self.model.token_list
        if not spoken_of(self.model.task_table):
            raise ValueError(
                f"language {language}: no prompt of this model names the spoken "
                "language; leave the option out"
            )
        token = token_of(language, tokens)
        if token not in tokens or not is_language(token):
            known = [t.strip("<|>") for t in tokens if is_language(t)]
            raise ValueError(
                f"language {language}: the model knows no language {token}"
                f"{nearest(language, known)}; give a language of its training"
            )
        return tokens.index(token)

    def _build_search(self) -> Search | PromptedSearch:
        if self.options.search == "attention":
            return PromptedSearch(self.model, self.options)
        return super()._build_search()

    def _encode(
        self, waves: Sequence[np.ndarray], labels: Sequence[str], names: Sequence[str]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        ids = None
        if self.model.encoder_labels is not None:
            known = label_ids(self.model.token_list)
            ids = [known[f"<{label}>"] for label in labels]
            ids = torch.tensor(ids, device=self.encoder.device)
        return self.encoder(waves, label_ids=ids, utterances=names)

    def _find(
        self, batch: EncodedBatch, tasks: Sequence[str]
    ) -> dict[str, list[list[Hypothesis]]]:
        known = self.model.tasks
        prompts = {task: known[task].prompt_for(self._language) for task in tasks}
        if isinstance(self._search, PromptedSearch):
            return self._search.search_tasks(batch, prompts)
        return {
            task: self._search(batch.for_task(task, prompt))
            for task, prompt in prompts.items()
        }

    def _text_tokens(self, tokens: Sequence[int]) -> list[int]:
        return [t for t in tokens if t not in self.model.special_ids]

    def _is_aligned(self, task: str) -> bool:
        return task == self.model.ctc_task
