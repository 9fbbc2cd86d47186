"""Front-end `smoe_padded`: ESPnet's features of waveforms that silence makes longer."""

from typing import Any

import torch
from torch.nn import functional

from espnet_smoe.compat import DefaultFrontend
from espnet_smoe.config.typed import Weight, convert

SAMPLE_RATE = 16000  # Hz


class PaddedFrontend(DefaultFrontend):
    """ESPnet's log-mel features of what OWSM was trained on: 30 seconds.

    Args:
        pad_seconds: Append silence to shorter waveforms; 0 for none.
        **options: Those of ESPnet's front-end `default`.

    Example:
        >>> wave, length = torch.zeros(1, 1600), torch.tensor([1600])
        >>> PaddedFrontend(0.5, hop_length=160)(wave, length)[1]
        tensor([51])
    """

    def __init__(self, pad_seconds: float = 0.0, **options: Any):
        super().__init__(**options)
        self.pad_seconds = convert(pad_seconds, Weight, "frontend_conf.pad_seconds")

    def forward(
        self, input: torch.Tensor, input_lengths: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Features of a batch.

        Args:
            input: ``(B, samples)`` at 16 kHz, or ``(B, samples, C)``.
            input_lengths: ``(B,)`` samples.

        Returns:
            ``(B, T, F)``; ``(B,)`` frames.
        """
        least = int(self.pad_seconds * SAMPLE_RATE)
        more = max(0, least - input.size(1))
        input = functional.pad(input, (*[0] * 2 * (input.dim() - 2), 0, more))
        return super().forward(input, input_lengths.clamp(min=least))
