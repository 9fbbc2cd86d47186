"""Front-end `kaldi_fbank`: log-mel features as Kaldi computes them."""

import torch

from espnet_smoe.config.options import options_of
from espnet_smoe.config.typed import Count, Weight
from espnet_smoe.layers.waveform_frontend import WaveformFrontend

SAMPLE_RATE, WINDOW, HOP = 16000, 400, 160
SCALE = 32768  # Kaldi's samples are 16-bit numbers


class KaldiFbank(WaveformFrontend):
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
        super().__init__(n_mels)
        self.dither = dither

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
