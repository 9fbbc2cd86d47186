"""What a search gets: utterances that the encoder has encoded together."""

from copy import copy
from functools import cached_property
from typing import Any

import numpy as np
import torch


class EncodedBatch:
    """Utterances after the encoder.

    Args:
        model: Has ``decoder``, ``ctc`` (either may be None), ``token_list``,
            ``blank_id``, ``sos`` and ``eos``.
        encoder_out: ``(B, T, D)``.
        lengths: ``(B,)`` frames that are not padding.

    Attributes:
        task: What to write, such as ``asr``.
        prompt: Ids that the decoder reads before the text.
    """

    def __init__(self, model: Any, encoder_out: torch.Tensor, lengths: torch.Tensor):
        self.model, self.encoder_out, self.lengths = model, encoder_out, lengths
        self.task, self.prompt = "asr", (getattr(model, "sos", 0),)

    def __len__(self) -> int:
        """B."""
        return len(self.lengths)

    def for_task(self, task: str, prompt: tuple[int, ...]) -> "EncodedBatch":
        """The same utterances, another task; what is computed is shared."""
        other = copy(self)
        other.task, other.prompt = task, tuple(prompt)
        return other

    @cached_property
    @torch.inference_mode()
    def ctc_output(self) -> torch.Tensor:
        """Log-probabilities ``(B, T, V)`` of the CTC head, computed once."""
        return self.model.ctc.log_softmax(self.encoder_out).float()

    @property
    def ctc(self) -> Any:
        """The CTC head for searches that ask it themselves; this batch only once."""
        return _ComputedCTC(self)

    @property
    def log_probs(self) -> list[np.ndarray]:
        """Of each utterance ``(frames, V)``, float32."""
        whole = self.ctc_output.cpu().numpy()
        return [row[:n] for row, n in zip(whole, self.lengths.tolist())]

    @torch.inference_mode()
    def log_probs_of(self, number: int) -> np.ndarray:
        """Of one utterance ``(frames, V)``, float32.

        Where no search has asked for all of them, of this one alone: V numbers a frame
        of a large vocabulary are too many to keep of a whole batch.
        """
        frames = int(self.lengths[number])
        if "ctc_output" in vars(self):
            return self.ctc_output[number, :frames].cpu().numpy()
        row = self.encoder_out[number : number + 1, :frames]
        return self.model.ctc.log_softmax(row)[0].float().cpu().numpy()


class _ComputedCTC:
    """A CTC head that knows its output for one batch."""

    def __init__(self, batch: EncodedBatch):
        self.batch = batch

    def log_softmax(self, encoder_out: torch.Tensor) -> torch.Tensor:
        """Log-probabilities ``(B, T, V)``."""
        if encoder_out is self.batch.encoder_out:
            return self.batch.ctc_output
        return self.batch.model.ctc.log_softmax(encoder_out)
