"""What Whisper (Radford et al. 2022) has of its own: features, positions."""

import math
from typing import Literal

import torch
from torch import nn
from torch.nn import functional

from espnet_smoe.config.options import options_of
from espnet_smoe.config.typed import Count, Finite
from espnet_smoe.layers.norm_eps import set_norm_eps
from espnet_smoe.layers.waveform_frontend import WaveformFrontend
from espnet_smoe.moe import FeedForward

SAMPLE_RATE, WINDOW, HOP = 16000, 400, 160
DYNAMIC_RANGE = 8.0  # of log10 power, below the loudest
LEAST_POWER = -10.0  # log10
EARLY, LATE = (WINDOW - HOP) // 2, (WINDOW + HOP) // 2  # of a frame in Kaldi's place
INIT_STD = 0.02  # of embeddings, as `transformers` draws Whisper's
NORM_EPS = 1e-5  # PyTorch's; ESPnet's layers have 1e-12


class WhisperFrontend(WaveformFrontend):
    """Log-mel features as Whisper computes them: 10 ms hop, 25 ms window.

    Each waveform is taken alone: it is reflected at its own ends, and its loudest
    frame sets the floor.

    Args:
        n_mels: F, channels; 80, or 128 of large-v3.
        pad_seconds: Append silence to shorter waveforms, as Whisper was trained (30);
            0 for none, which takes less time.
        framing: Where frames lie: ``whisper``, the middle of the first is the first
            sample; ``kaldi``, 5 ms later, which is what sherpa-onnx computes.

    Example:
        >>> wave, length = torch.zeros(1, 1600), torch.tensor([1600])
        >>> WhisperFrontend()(wave, length)[0].shape
        torch.Size([1, 10, 80])
    """

    hop_length = HOP

    @options_of("frontend_conf")
    def __init__(
        self,
        n_mels: Count = 80,
        pad_seconds: Finite = 0.0,
        framing: Literal["whisper", "kaldi"] = "whisper",
    ):
        super().__init__(n_mels)
        import librosa

        self.pad_seconds, self.framing = pad_seconds, framing
        filters = librosa.filters.mel(sr=SAMPLE_RATE, n_fft=WINDOW, n_mels=n_mels)
        self.register_buffer("filters", torch.from_numpy(filters), persistent=False)
        window = torch.hann_window(WINDOW)
        self.register_buffer("window", window, persistent=False)

    def _features(self, wave: torch.Tensor) -> torch.Tensor:
        """Of one waveform ``(samples,)``: ``(T, F)``."""
        least = int(self.pad_seconds * SAMPLE_RATE)
        power = self._power_of_kaldi if self.framing == "kaldi" else self._power
        mel = (self.filters @ power(wave.float(), least)).clamp(min=10**LEAST_POWER)
        mel = mel.log10()  # (F, T)
        if self.framing == "kaldi":
            more = max(0, least // HOP - mel.size(1))
            mel = functional.pad(mel, (0, more), value=LEAST_POWER)
        mel = mel.maximum(mel.max() - DYNAMIC_RANGE)
        return scaled(mel).T

    def _power(self, wave: torch.Tensor, least: int) -> torch.Tensor:
        """Spectrum ``(201, T)`` of at least so many samples."""
        # a window reflects 200 samples, of which there must be more
        wave = functional.pad(wave, (0, max(0, max(least, WINDOW) - len(wave))))
        spectrum = torch.stft(
            wave, WINDOW, HOP, window=self.window, return_complex=True
        )
        return spectrum[:, :-1].abs() ** 2

    def _power_of_kaldi(self, wave: torch.Tensor, least: int) -> torch.Tensor:
        """Spectrum ``(201, T)`` of frames in the middle of their hops.

        What is appended to the wave is frames there, not samples.
        """
        wave = functional.pad(wave, (0, max(0, LATE - len(wave))))
        count = (len(wave) + HOP // 2) // HOP
        wave = torch.cat((wave[:EARLY].flip(0), wave, wave[-LATE:].flip(0)))
        frames = wave.unfold(0, WINDOW, HOP)[:count] * self.window  # (T, 400)
        return torch.fft.rfft(frames).abs().T ** 2


def scaled[Power: (float, torch.Tensor)](power: Power) -> Power:
    """Features of log10 powers."""
    return (power + 4.0) / 4.0


class WhisperSubsampling(nn.Module):
    """Two convolutions with GELU, half of the frames, and sinusoidal positions.

    Args:
        input_size: Features a frame.
        output_size: D.
    """

    def __init__(self, input_size: int, output_size: int):
        super().__init__()
        self.convs = nn.ModuleList(
            [
                nn.Conv1d(input_size, output_size, 3, padding=1),
                nn.Conv1d(output_size, output_size, 3, stride=2, padding=1),
            ]
        )

    def forward(
        self, x: torch.Tensor, mask: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Subsample by two.

        Args:
            x: ``(B, T, input_size)``.
            mask: ``(B, 1, T)``, true at frames that are not padding.

        Returns:
            ``(B, ceil(T / 2), D)`` and its mask ``(B, 1, ...)``.
        """
        x = x.transpose(1, 2)
        for conv in self.convs:
            x = functional.gelu(conv(x * mask))
            mask = mask[:, :, :: conv.stride[0]]
        x = x.transpose(1, 2)
        return x + sinusoids(x.size(1), x.size(2), x.device).to(x.dtype), mask


def sinusoids(
    length: int, size: int, device: torch.device | str = "cpu"
) -> torch.Tensor:
    """Whisper's positions of the encoder, ``(length, size)``: all sines, all cosines.

    Example:
        >>> sinusoids(2, 4)[0]
        tensor([0., 0., 1., 1.])
    """
    step = math.log(10000) / (size // 2 - 1)
    rates = torch.exp(-step * torch.arange(size // 2, device=device))
    angles = torch.arange(length, device=device)[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1)


class TiedEmbedding(nn.Embedding):
    """Tokens, drawn small enough that scores against all of them begin near zero.

    PyTorch draws from N(0, 1): a text would begin at over a hundred nats a token, as
    each token is likest itself.
    """

    def reset_parameters(self) -> None:
        """Draw it as Whisper's, also where ESPnet's ``init`` comes back to it."""
        nn.init.normal_(self.weight, std=INIT_STD)


class LearnedPositions(nn.Module):
    """Adds a learned vector for each position.

    Args:
        length: Positions.
        size: D.
    """

    def __init__(self, length: int, size: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(length, size))
        nn.init.normal_(self.weight, std=0.01)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map ``(B, L, D)`` to ``(B, L, D)``.

        Raises:
            ValueError: L is more than there are positions.
        """
        if x.size(1) > len(self.weight):
            raise ValueError(
                f"a prompt and text of {x.size(1)} tokens, but the decoder has "
                f"{len(self.weight)} positions; leave out or cut longer utterances"
            )
        return x + self.weight[: x.size(1)]


def compute_as_whisper(part: nn.Module) -> None:
    """GELU between the matrices of each block, and layer norms with Whisper's epsilon.

    Args:
        part: Encoder or decoder, changed in place.
    """
    for module in part.modules():
        if isinstance(module, FeedForward):
            module.activation = nn.GELU()
    set_norm_eps(part, NORM_EPS)
