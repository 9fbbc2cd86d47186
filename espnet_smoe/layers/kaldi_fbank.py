"""Front-end `kaldi_fbank`: log-mel features as Kaldi computes them."""

import torch

from espnet_smoe.config.options import options_of
from espnet_smoe.config.typed import Count, Finite, Weight
from espnet_smoe.layers.waveform_frontend import WaveformFrontend

SAMPLE_RATE, WINDOW, HOP = 16000, 400, 160
SCALE = 32768  # Kaldi's samples are 16-bit numbers
EARLY = (WINDOW - HOP) // 2  # samples before the place of a frame, in its middle


class KaldiFbank(WaveformFrontend):
    """Kaldi's ``compute-fbank-feats`` without energy: 10 ms hop, 25 ms window.

    Each frame has its mean removed, is emphasised (0.97) and windowed (povey) alone.
    The defaults are those of WeNet; sherpa-onnx computes the features of ``snip_edges:
    false`` and ``high_freq: -400``.

    Args:
        n_mels: F, channels.
        dither: Deviation of the noise that is added in training, of 16-bit samples.
        snip_edges: Only whole windows count, and a frame begins at its place; false:
            there is a frame for each hop, in its middle, and the wave is reflected at
            its ends.
        low_freq: Lower edge of the first channel, in Hz.
        high_freq: Upper edge of the last, in Hz; 0 or less is added to 8000.

    Attributes:
        hop_length: Samples from frame to frame.
        window: Samples that a frame sees; a wave that has fewer has no frame.
        reach: Samples from the place of a frame to the end of what it sees.

    Example:
        >>> wave, length = torch.zeros(1, 1600), torch.tensor([1600])
        >>> KaldiFbank()(wave, length)[0].shape
        torch.Size([1, 8, 80])
        >>> KaldiFbank(snip_edges=False)(wave, length)[0].shape
        torch.Size([1, 10, 80])
    """

    hop_length, window = HOP, WINDOW

    @options_of("frontend_conf")
    def __init__(
        self,
        n_mels: Count = 80,
        dither: Weight = 0.0,
        snip_edges: bool = True,
        low_freq: Weight = 20.0,
        high_freq: Finite = 0.0,
    ):
        super().__init__(n_mels)
        upper = high_freq if high_freq > 0 else SAMPLE_RATE / 2 + high_freq
        if not low_freq < upper <= SAMPLE_RATE / 2:
            raise ValueError(
                f"frontend_conf: channels from {low_freq:g} to {upper:g} Hz; low_freq "
                f"must be below high_freq, and this at most {SAMPLE_RATE // 2}"
            )
        self.dither = dither
        self.snip_edges = snip_edges
        self.low_freq, self.high_freq = low_freq, high_freq
        self.reach = WINDOW if snip_edges else WINDOW - EARLY

    def num_frames(self, samples: int) -> int:
        """Frames of a whole wave."""
        if samples < WINDOW:
            return 0
        if self.snip_edges:
            return (samples - WINDOW) // HOP + 1
        return (samples + HOP // 2) // HOP

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
            snip_edges=self.snip_edges,
            low_freq=self.low_freq,
            high_freq=self.high_freq,
        )
