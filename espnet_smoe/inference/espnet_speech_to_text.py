"""ESPnetSpeechToText: models of ESPnet's own asr.sh, decoded by ESPnet itself."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from espnet_smoe.inference import confidence
from espnet_smoe.inference.audio import SAMPLE_RATE
from espnet_smoe.inference.config_files import read_config, sample_rate
from espnet_smoe.inference.result import Result
from espnet_smoe.inference.runtime.device import check_device
from espnet_smoe.inference.search.hypothesis import Hypothesis
from espnet_smoe.inference.search.options import check_beam
from espnet_smoe.inference.speech_to_text import SpeechToText

TASK = "asr"
REFUSED = ("transducer", "rnnt", "whisper", "hugging_face_transformers", "s4")


class ESPnetSpeechToText(SpeechToText):
    """A model that ESPnet's asr.sh has trained: attention, CTC, or both.

    Args:
        train_config: ``config.yaml`` of the experiment.
        model_file: Checkpoint.
        device: Such as ``cpu`` or ``cuda``.
        beam_size: Hypotheses kept.
        ctc_weight: Weight of CTC scores; None for 0.3, or what the model allows.
        nbest: Hypotheses in `Result.nbest`.
        batch_size: Pieces that are read together; they are decoded one by one.
        longest_seconds: As of `SpeechToText`.
        detect_speech: As of `SpeechToText`.

    Raises:
        ValueError: A file is missing or does not fit, or the kind of the model is not
            supported.
    """

    tasks = (TASK,)
    bandwidths = ("wb", "nb")  # they change nothing

    def __init__(
        self,
        train_config: str | Path,
        model_file: str | Path,
        device: str = "cpu",
        beam_size: int = 5,
        ctc_weight: float | None = None,
        nbest: int = 1,
        batch_size: int = 8,
        longest_seconds: float | None = None,
        detect_speech: bool = True,
    ):
        config = read_config(train_config)
        _check_kind(config, train_config)
        if not 1 <= nbest <= beam_size or batch_size < 1:
            raise ValueError(
                f"nbest {nbest} must be in 1..beam_size ({beam_size}) and batch_size "
                f"{batch_size} at least 1"
            )
        check_device(device)
        self._set_pieces(train_config, config, longest_seconds, detect_speech)
        self.nbest, self.batch_size = nbest, batch_size
        weight = _ctc_weight(config, ctc_weight, train_config)
        self._engine = _engine(
            config,
            model_file,
            device=device,
            beam_size=beam_size,
            ctc_weight=weight,
            nbest=nbest,
        )
        self.model = self._engine.asr_model
        check_beam(beam_size, self.model.token_list)

    @torch.inference_mode()
    def _decode(
        self,
        waves: Sequence[np.ndarray],
        labels: Sequence[str],
        tasks: Sequence[str],
        names: Sequence[str],
    ) -> list[dict[str, Result]]:
        return [{TASK: self._heard(wave)} for wave in waves]

    def _heard(self, wave: np.ndarray) -> Result:
        found = self._engine(wave)
        texts = [" ".join((text or "").split()) for text, *_ in found]
        scores = [float(hypothesis.score) for *_, hypothesis in found]
        _, tokens, ids, _ = found[0]
        timed = ()
        if self.model.ctc is not None:
            log_probs = self._log_probs(wave)
            frame = len(wave) / SAMPLE_RATE / max(1, len(log_probs))
            blank = self.model.blank_id
            timed = confidence.heard_tokens(log_probs, ids, tokens, frame, blank)
            sure = confidence.confidence_of_tokens(timed)
        else:
            sure = confidence.confidence_of_decoder(Hypothesis(tuple(ids), scores[0]))
        pairs = tuple(zip(texts, scores))[: self.nbest]
        sure_of_text = sure if texts[0] else None
        return Result(texts[0], tuple(tokens), scores[0], pairs, timed, sure_of_text)

    def _log_probs(self, wave: np.ndarray) -> np.ndarray:
        """``(T, V)`` of the CTC head."""
        device = next(self.model.parameters()).device
        speech = torch.from_numpy(np.ascontiguousarray(wave))[None].to(device)
        encoded, _ = self.model.encode(speech, torch.tensor([len(wave)], device=device))
        encoded = encoded[0] if isinstance(encoded, tuple) else encoded
        return self.model.ctc.log_softmax(encoded)[0].float().cpu().numpy()


def _check_kind(config: dict[str, Any], place: str | Path) -> None:
    """Refuse what ESPnet's plain Speech2Text does not decode, or not in this way."""
    decoder = config.get("decoder") or ""
    for kind in REFUSED:
        if kind in str(decoder):
            raise ValueError(
                f"{place}: 'decoder: {decoder}' is not supported; models with an "
                "attention decoder (transformer, rnn and the like), CTC, or both are"
            )
    rate = sample_rate(config)
    if rate != SAMPLE_RATE:
        raise ValueError(
            f"{place}: the model hears {rate:g} Hz; only models of {SAMPLE_RATE} Hz "
            "are supported"
        )
    if config.get("frontend") not in ("default", None, "sliding_window", "fused"):
        raise ValueError(
            f"{place}: 'frontend: {config['frontend']}' is not supported; 'default' is"
        )


def _ctc_weight(
    config: dict[str, Any], given: float | None, place: str | Path
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


def _engine(config: dict[str, Any], model_file: str | Path, **options: Any) -> Any:
    """ESPnet's Speech2Text; from a copy of the configuration, whose paths exist."""
    from espnet_smoe.registry import register

    register()
    from espnet_smoe.compat import Speech2Text

    if not Path(model_file).is_file():
        raise ValueError(
            f"{model_file} does not exist; stage 11 of the recipe writes it"
        )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.yaml"
        path.write_text(yaml.safe_dump(config, allow_unicode=True), encoding="utf-8")
        try:
            return Speech2Text(str(path), str(model_file), **options)
        except Exception as error:  # of whatever class of ESPnet's
            said = " ".join(str(error).split())
            raise ValueError(
                f"{model_file}: ESPnet cannot load it: {said or type(error).__name__}"
            ) from error
