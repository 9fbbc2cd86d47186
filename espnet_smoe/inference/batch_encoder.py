"""Encodes waveforms together as each would be encoded alone."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from espnet_smoe.inference.audio import SAMPLE_RATE


def reads_padding(encoder: nn.Module) -> bool:
    """Whether what an encoder gives may depend on the padding, as ESPnet's own may."""
    theirs = type(encoder).__module__.startswith("espnet2.")
    return getattr(encoder, "reads_padding", theirs)


def _row(options: Mapping[str, Any], i: int) -> dict[str, Any]:
    """The options of one utterance; those that are no lists are of all."""
    lists = (torch.Tensor, list, tuple)
    return {k: v[i : i + 1] if isinstance(v, lists) else v for k, v in options.items()}


class BatchEncoder:
    """Encoder output of a batch, the same in any batch.

    Args:
        model: With ``frontend`` and ``encode``; it is taken over.
    """

    def __init__(self, model: nn.Module):
        self.model = model
        # each wave alone: at its end the front-end reflects it, in a batch it would
        # see the zeros of the padding
        self.frontend, model.frontend = model.frontend, None
        self.device = next(model.parameters()).device

    @property
    def frame_seconds(self) -> float:
        """Seconds from one frame of the output to the next.

        Of encoders that tell their ``stride``.
        """
        hop = 1 if self.frontend is None else self.frontend.hop_length
        return self.model.encoder.stride * hop / SAMPLE_RATE

    @torch.inference_mode()
    def __call__(
        self, waves: Sequence[np.ndarray], **options: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Encode a batch.

        Args:
            waves: B times float32 ``(samples,)`` at 16 kHz.
            **options: More for the model's ``encode``, such as ``chunk_size``.

        Returns:
            ``(B, T, D)`` and ``(B,)`` frames.
        """
        feats = [torch.from_numpy(wave).to(self.device) for wave in waves]
        if self.frontend is not None:
            feats = [
                self.frontend(f[None], torch.tensor([len(f)], device=self.device))[0][0]
                for f in feats
            ]
        if not reads_padding(self.model.encoder):
            return self._encode(feats, options)
        rows = [self._encode([f], _row(options, i)) for i, f in enumerate(feats)]
        encoded = nn.utils.rnn.pad_sequence([e[0] for e, _ in rows], batch_first=True)
        return encoded, torch.cat([frames for _, frames in rows])

    def _encode(
        self, feats: Sequence[torch.Tensor], options: Mapping[str, Any]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        lengths = torch.tensor([len(f) for f in feats], device=self.device)
        padded = nn.utils.rnn.pad_sequence(feats, batch_first=True)
        return self.model.encode(padded, lengths, **options)
