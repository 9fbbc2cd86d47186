"""U2PPSpeechToText: waveforms to text with a U2++ model, whole recordings at a time.

Audio that is still being spoken is for `streaming.StreamingRecogniser`.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from espnet_smoe.inference.batch_encoder import BatchEncoder
from espnet_smoe.inference.checkpoint import load_model, read_config
from espnet_smoe.inference.confidence import confidence_of_tokens, heard_tokens
from espnet_smoe.inference.detokenizer import joiner
from espnet_smoe.inference.result import Result
from espnet_smoe.inference.search.hypothesis import Hypothesis
from espnet_smoe.inference.search.options import check_beam
from espnet_smoe.inference.search.u2pp import U2PPDecodeOptions, two_pass
from espnet_smoe.inference.speech_to_text import SpeechToText

TASK = "asr"


class U2PPSpeechToText(SpeechToText):
    """A trained U2++ model that transcribes.

    Args:
        train_config: ``config.yaml`` of the experiment.
        model_file: Checkpoint.
        device: Such as ``cpu`` or ``cuda``.
        nbest: Hypotheses in `Result.nbest`.
        longest_seconds: As of `SpeechToText`.
        detect_speech: As of `SpeechToText`.
        **options: Those of `U2PPDecodeOptions`, such as ``search`` or ``chunk_size``.

    Raises:
        ValueError: A file is missing, the checkpoint does not fit the configuration, or
            an option has no sense.

    Example:
        >>> files = "exp/x/config.yaml", "exp/x/model.pth"
        >>> speech_to_text = U2PPSpeechToText(*files)  # doctest: +SKIP
        >>> result = speech_to_text([wave])[0]["asr"]  # doctest: +SKIP
        >>> result.text, result.timed[0].start  # doctest: +SKIP
        ('good morning', 0.32)
    """

    tasks = (TASK,)
    bandwidths = ("wb", "nb")  # they change nothing

    def __init__(
        self,
        train_config: str | Path,
        model_file: str | Path,
        device: str = "cpu",
        nbest: int = 1,
        longest_seconds: float | None = None,
        detect_speech: bool = True,
        **options: object,
    ):
        self.options = U2PPDecodeOptions.of(options, "options")
        if not 1 <= nbest <= self.options.beam_size:
            raise ValueError(
                f"nbest {nbest} must be in 1..beam_size ({self.options.beam_size})"
            )
        config = read_config(train_config)
        if config.get("model") != "u2pp":
            raise ValueError(
                f"{train_config}: 'model: {config.get('model')}' is not 'model: u2pp'"
            )
        self._set_pieces(train_config, config, longest_seconds, detect_speech)
        self.join = joiner(config)
        self.model = load_model(config, model_file, device, self.options.int8)
        check_beam(self.options.beam_size, self.model.token_list)
        self.encoder = BatchEncoder(self.model)
        self.nbest, self.batch_size = nbest, self.options.batch_size

    @torch.inference_mode()
    def _decode(
        self,
        waves: Sequence[np.ndarray],
        labels: Sequence[str],
        tasks: Sequence[str],
        names: Sequence[str],
    ) -> list[dict[str, Result]]:
        options = self.options
        encoded, frames = self.encoder(
            waves, chunk_size=options.chunk_size, left_chunks=options.left_chunks
        )
        found = two_pass(self.encoder, encoded, frames, options)
        log_probs = self.encoder.log_probs(encoded, frames)  # B times (T, V)
        return [{TASK: self._heard(*of_one)} for of_one in zip(found, log_probs)]

    def _heard(self, nbest: Sequence[Hypothesis], log_probs: np.ndarray) -> Result:
        """Texts of the hypotheses; of the best one, when each token was said."""
        spelt = [[self.model.token_list[t] for t in h.tokens] for h in nbest]
        texts = [self.join(tokens) for tokens in spelt]
        scores = [hypothesis.score for hypothesis in nbest]
        # none where a decoder that CTC does not check says more than fits
        timed = heard_tokens(
            log_probs,
            nbest[0].tokens,
            spelt[0],
            self.encoder.frame_seconds,
            self.model.blank_id,
        )
        sure = confidence_of_tokens(timed) if texts[0] else None
        pairs = tuple(zip(texts, scores))[: self.nbest]
        return Result(texts[0], tuple(spelt[0]), scores[0], pairs, timed, sure)
