"""What front-ends that compute the features of each waveform alone share."""

import torch
from torch import nn

from espnet_smoe.compat import AbsFrontend


class WaveformFrontend(AbsFrontend):
    """A front-end of log-mel features that no other waveform of the batch changes.

    Args:
        n_mels: F, channels.
    """

    def __init__(self, n_mels: int):
        super().__init__()
        self.n_mels = n_mels

    def output_size(self) -> int:
        """F."""
        return self.n_mels

    def forward(
        self, input: torch.Tensor, input_lengths: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Features of a batch.

        Args:
            input: ``(B, samples)`` at 16 kHz, within [-1, 1]; of ``(B, samples, C)``
                channels, as ESPnet's S2T task gives them, the first.
            input_lengths: ``(B,)`` samples.

        Returns:
            ``(B, T, F)``, at least one frame, which then is padding; ``(B,)`` frames.
        """
        input = input[..., 0] if input.dim() == 3 else input
        feats = [self._features(w[:n]) for w, n in zip(input, input_lengths.tolist())]
        lengths = input_lengths.new_tensor([len(f) for f in feats])
        if not lengths.any():
            feats = [f.new_zeros(1, self.n_mels) for f in feats]
        return nn.utils.rnn.pad_sequence(feats, batch_first=True), lengths

    def _features(self, wave: torch.Tensor) -> torch.Tensor:
        """Of one waveform ``(samples,)``: ``(T, F)``."""
        raise NotImplementedError
