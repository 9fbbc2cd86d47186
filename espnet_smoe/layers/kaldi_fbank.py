"""Front-end `kaldi_fbank`: log-mel features as Kaldi computes them."""

import torch
from torch import nn

from espnet_smoe.compat import AbsFrontend
from espnet_smoe.config.options import options_of
from espnet_smoe.config.typed import Count, Weight

SAMPLE_RATE, WINDOW, HOP = 16000, 400, 160
SCALE = 32768  # Kaldi's samples are 16-bit numbers


class KaldiFbank(AbsFrontend):
    """Kaldi's ``compute-fbank-feats`` without energy: 10 ms hop, 25 ms window.

    Each frame has its mean removed, is emphasised (0.97) and windowed (povey) alone;
    only whole windows count (``snip_edges``).

    Args:
        n_mels: F, channels from 20 Hz to 8 kHz.
        dither: Deviation of the noise that is added in training, of 16-bit samples.

    Attributes:
        hop_length: Samples from frame to frame.
        window: Samples that a frame sees, from its place on.

    Example:
        >>> wave, length = torch.zeros(1, 1600), torch.tensor([1600])
        >>> KaldiFbank()(wave, length)[0].shape
        torch.Size([1, 8, 80])
    """

    hop_length, window = HOP, WINDOW

    @options_of("frontend_conf")
    def __init__(self, n_mels: Count = 80, dither: Weight = 0.0):
        super().__init__()
        self.n_mels, self.dither = n_mels, dither

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
        from torchaudio.compliance import kaldi

        if len(wave) < WINDOW:
            return wave.new_zeros(0, self.n_mels, dtype=torch.float32)
        return kaldi.fbank(
            wave.float()[None] * SCALE,
            num_mel_bins=self.n_mels,
            dither=self.dither if self.training else 0.0,
            energy_floor=0.0,
            sample_frequency=SAMPLE_RATE,
        )
