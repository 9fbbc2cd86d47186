"""ESPnetSpeechToText: models of ESPnet's own asr.sh, decoded by ESPnet itself."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
import yaml
from torch import nn

from espnet_smoe.config.options import options_of
from espnet_smoe.config.typed import Count, Share
from espnet_smoe.inference.runtime.device import check_device
from espnet_smoe.inference.runtime.quantize import quantize
from espnet_smoe.inference.search.encoded_batch import EncodedBatch
from espnet_smoe.inference.search.hypothesis import Hypothesis
from espnet_smoe.inference.search.options import DecodeOptions
from espnet_smoe.inference.search.registry import Search, register_search
from espnet_smoe.inference.speech_to_text import SpeechToText
from espnet_smoe.registry import register, task_of

REFUSED = ("transducer", "rnnt", "whisper", "hugging_face_transformers", "s4")


@options_of("")
@dataclass(frozen=True)
class ESPnetDecodeOptions(DecodeOptions):
    """How a model of ESPnet's own recipes is decoded.

    Attributes:
        search: ``espnet`` is ESPnet's own beam search.
        batch_size: Pieces that are read together; they are decoded one by one.
        beam_size: Hypotheses kept.
        ctc_weight: Weight of CTC scores; None for 0.3, or what the model allows.
    """

    search: str = "espnet"
    beam_size: Count = 5
    ctc_weight: Share | None = None

    model: ClassVar[str] = "espnet"


@register_search("espnet", models=("espnet",))
def espnet_search(speech2text: Any, options: Any) -> Search:
    """ESPnet's ``Speech2Text`` from the encoder's output on, utterance by utterance."""

    ratios = {
        "maxlenratio": speech2text.maxlenratio,
        "minlenratio": speech2text.minlenratio,
    }

    def search(batch: EncodedBatch) -> list[list[Hypothesis]]:
        rows = zip(batch.encoder_out, batch.lengths.tolist())
        nbests = [speech2text.beam_search(x=row[:n], **ratios) for row, n in rows]
        return [[as_ours(h) for h in nbest[: speech2text.nbest]] for nbest in nbests]

    def as_ours(hypothesis: Any) -> Hypothesis:
        """Without ``<sos>`` and ``<eos>``, and as ESPnet without blanks (0)."""
        ids = [int(i) for i in hypothesis.yseq[1:-1] if i != 0]
        return Hypothesis(tuple(ids), float(hypothesis.score))

    return search


class ESPnetSpeechToText(SpeechToText):
    """A model that ESPnet's asr.sh has trained: attention, CTC, or both.

    Options are those of `ESPnetDecodeOptions`.

    Raises:
        ValueError: A file is missing or does not fit, or the kind of the model is not
            supported.
    """

    Options = ESPnetDecodeOptions

    @classmethod
    def loaded_with(cls, options: DecodeOptions) -> tuple:
        """ESPnet builds its search where it loads the model."""
        search = options.beam_size, options.ctc_weight, options.nbest
        return *search, *super().loaded_with(options)

    def _check_config(self, config: Mapping[str, Any], place: str | Path) -> None:
        super()._check_config(config, place)
        _check_kind(config, place)

    def _detokenizer(self, config: Mapping[str, Any]) -> Any:
        def join(tokens: Sequence[str]) -> str:
            tokenizer = self._speech2text.tokenizer
            text = tokenizer.tokens2text(list(tokens)) if tokenizer else ""
            return " ".join(text.split())

        return join

    def _load_model(
        self,
        config: Mapping[str, Any],
        model_file: str | Path,
        device: str,
        options: DecodeOptions,
    ) -> nn.Module:
        check_device(device)
        self._speech2text = _speech2text(
            config,
            model_file,
            device=device,
            beam_size=options.beam_size,
            ctc_weight=_ctc_weight(config, options.ctc_weight, model_file),
            nbest=options.nbest,
        )
        model = self._speech2text.asr_model
        return quantize(model) if options.int8 else model

    def _build_search(self) -> Search:
        if self.options.search == "espnet":
            return espnet_search(self._speech2text, self.options)
        return super()._build_search()

    def _encode(
        self, waves: Sequence[np.ndarray], labels: Sequence[str], names: Sequence[str]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """One by one: what ESPnet's encoders give depends on the padding."""
        rows = []
        for wave in waves:
            speech = torch.from_numpy(np.ascontiguousarray(wave))[None].to(self.device)
            lengths = torch.tensor([len(wave)], device=self.device)
            encoded, _ = self.model.encode(speech, lengths)
            rows.append((encoded[0] if isinstance(encoded, tuple) else encoded)[0])
        lengths = torch.tensor([len(row) for row in rows], device=self.device)
        return nn.utils.rnn.pad_sequence(rows, batch_first=True), lengths


def _check_kind(config: Mapping[str, Any], place: str | Path) -> None:
    """Refuse what ESPnet's plain Speech2Text does not decode, or not in this way."""
    task = task_of(config).__name__
    if task != "ASRTask":
        raise ValueError(
            f"{place}: a model of ESPnet's {task}; make an experiment of it first: "
            "espnet-smoe import espnet PATH --out EXP"
        )
    decoder = config.get("decoder") or ""
    for kind in REFUSED:
        if kind in str(decoder):
            raise ValueError(
                f"{place}: 'decoder: {decoder}' is not supported; models with an "
                "attention decoder (transformer, rnn and the like), CTC, or both are"
            )
    if config.get("frontend") not in ("default", None, "sliding_window", "fused"):
        raise ValueError(
            f"{place}: 'frontend: {config['frontend']}' is not supported; 'default' is"
        )


def _ctc_weight(
    config: Mapping[str, Any], given: float | None, place: str | Path
) -> float:
    trained = (config.get("model_conf") or {}).get("ctc_weight", 0.5)
    if trained == 1.0:
        return 1.0  # it has no decoder
    if given is not None and given > 0 and trained == 0.0:
        raise ValueError(
            f"{place}: ctc_weight is {given}, but the model has no CTC head (it was "
            "trained with ctc_weight 0); use 0"
        )
    return (0.3 if trained > 0 else 0.0) if given is None else given


def _speech2text(
    config: Mapping[str, Any], model_file: str | Path, **options: Any
) -> Any:
    """ESPnet's Speech2Text; from a copy of the configuration, whose paths exist."""
    register()
    from espnet_smoe.compat import Speech2Text

    if not Path(model_file).is_file():
        raise ValueError(
            f"{model_file} does not exist; stage 11 of the recipe writes it"
        )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.yaml"
        path.write_text(
            yaml.safe_dump(dict(config), allow_unicode=True), encoding="utf-8"
        )
        try:
            return Speech2Text(str(path), str(model_file), **options)
        except Exception as error:  # of whatever class of ESPnet's
            message = " ".join(str(error).split()) or type(error).__name__
            raise ValueError(
                f"{model_file}: ESPnet cannot load it: {message}"
            ) from error
