"""Feature frames of audio that comes piece by piece, those of the whole wave."""

import numpy as np
import torch
from torch import nn

from espnet_smoe.compat import DefaultFrontend
from espnet_smoe.layers.kaldi_fbank import KaldiFbank

PROBE_FRAMES = 8


class StreamFrontend:
    """A model's front-end and normaliser, applied to a slice of a wave.

    Frame i of a centred STFT sees ``n_fft`` samples around ``i * hop_length``; before
    the start and behind the end of what it is given the wave is reflected. So a slice
    gets as many samples more on both sides as no frame that is kept reaches beyond.
    Frame i of Kaldi's features sees the samples from ``i * hop_length`` on, and needs
    no more; without ``snip_edges`` they are centred too.

    Args:
        frontend: ESPnet's ``default``, centred, or `KaldiFbank`.
        normalize: One that treats each frame by itself, such as ``global_mvn``; or
            None.
        device: Where they are.

    Attributes:
        hop_length: Samples from frame to frame.
        reach: Samples from the place of a frame to the end of what it sees.
        least: Samples without which there is no frame.
        size: F, features of a frame.

    Raises:
        ValueError: Frames cannot be made one by one; says why, and what to do.

    Example:
        >>> frontend = StreamFrontend(DefaultFrontend(hop_length=160, n_mels=4))
        >>> features = StreamFeatures(frontend)
        >>> features.accept(np.zeros(1000, dtype=np.float32))
        >>> features.available, features.take(3).shape, features.available
        (5, torch.Size([3, 4]), 2)
    """

    def __init__(
        self,
        frontend: nn.Module | None,
        normalize: nn.Module | None = None,
        device: str | torch.device = "cpu",
    ):
        self.frontend, self.normalize, self.device = frontend, normalize, device
        if isinstance(frontend, KaldiFbank):
            self.hop_length, self.reach = frontend.hop_length, frontend.reach
            # two frames before the last one make a whole window with it
            self.context = 0 if frontend.snip_edges else 2
            self.least = frontend.window
        else:
            stft = _centered_stft(frontend)
            self.hop_length, self.reach = stft.hop_length, stft.n_fft // 2
            # frames of context: one more than the reach asks for, since a reflection
            # needs one sample more than it makes
            self.context = self.reach // self.hop_length + 1
            self.least = self.reach + 1
        self.size = frontend.output_size()
        if normalize is not None and not self._treats_frames_alone():
            raise ValueError(
                f"normaliser '{type(normalize).__name__}' needs the whole utterance "
                "and cannot stream; train with 'normalize: global_mvn'"
            )

    def num_frames(self, samples: int) -> int:
        """Frames of a whole wave of at least `least` samples."""
        if isinstance(self.frontend, KaldiFbank):
            return self.frontend.num_frames(samples)
        return samples // self.hop_length + 1

    @torch.inference_mode()
    def __call__(self, wave: np.ndarray) -> torch.Tensor:
        """Features ``(T, F)`` of a wave ``(samples,)``."""
        samples = torch.from_numpy(wave).to(self.device)[None]
        lengths = torch.tensor([len(wave)], device=self.device)
        feats, lengths = self.frontend(samples, lengths)
        if self.normalize is not None:
            feats, _ = self.normalize(feats, lengths)
        return feats[0]

    def _treats_frames_alone(self) -> bool:
        """Whether frames come out the same when others are left out."""
        generator = torch.Generator().manual_seed(0)
        probe = torch.randn(1, PROBE_FRAMES, self.size, generator=generator)
        probe = probe.to(self.device)
        with torch.inference_mode():
            whole, part = (
                self.normalize(x.clone(), torch.tensor([x.size(1)], device=x.device))[0]
                for x in (probe, probe[:, : PROBE_FRAMES // 2])
            )
        return torch.allclose(whole[:, : PROBE_FRAMES // 2], part, atol=1e-4)


def _centered_stft(frontend: nn.Module | None) -> nn.Module:
    """The STFT of a front-end whose frames can be made one by one.

    Raises:
        ValueError: It is of another kind.
    """
    stft = getattr(frontend, "stft", None)
    if not isinstance(frontend, DefaultFrontend) or stft is None:
        kind = "none" if frontend is None else type(frontend).__name__
        raise ValueError(
            f"front-end '{kind}' cannot stream; train with 'frontend: default'"
        )
    if not stft.center:
        raise ValueError("frontend_conf: 'center: false' cannot stream; remove it")
    return stft


class StreamFeatures:
    """The frames of one stream.

    Samples that no frame to come will see are let go, once they are more than half of
    those that are kept.

    Args:
        frontend: Shared by all streams.

    Attributes:
        samples: Accepted so far.
        taken: Frames taken so far.
        finished: No more will come.
    """

    def __init__(self, frontend: StreamFrontend):
        self.frontend = frontend
        self.samples = 0
        self.taken = 0
        self.finished = False
        self._pieces: list[np.ndarray] = []
        self._first = 0  # sample that the pieces begin with, a multiple of the hop

    def accept(self, samples: np.ndarray) -> None:
        """Take the next samples ``(n,)``, float32."""
        self._pieces.append(samples)
        self.samples += len(samples)

    @property
    def available(self) -> int:
        """Frames that can be taken now."""
        return max(0, self._known - self.taken)

    @property
    def _known(self) -> int:
        """Frames, from the first on, that later samples do not change."""
        hop, frontend = self.frontend.hop_length, self.frontend
        if self.samples < frontend.least:  # as for the reflection at the start
            return 0
        if self.finished:
            return frontend.num_frames(self.samples)
        return (self.samples - frontend.reach) // hop + 1

    def take(self, count: int) -> torch.Tensor:
        """The next frames ``(n, F)``, n = `count` or what is available."""
        frontend, hop = self.frontend, self.frontend.hop_length
        count = min(count, self.available)
        if count == 0:
            return torch.zeros(0, frontend.size, device=frontend.device)
        first = max(0, self.taken - frontend.context)  # frame the slice begins with
        last = self.taken + count - 1
        # the reflection at the start needs one sample more than a first frame sees
        stop = max(last * hop + frontend.reach, frontend.least)
        wave = self._joined()
        feats = frontend(wave[first * hop - self._first : stop - self._first])
        kept = feats[self.taken - first : last + 1 - first]
        self.taken += count
        self._drop(max(0, self.taken - frontend.context) * hop)
        return kept

    def _joined(self) -> np.ndarray:
        if len(self._pieces) > 1:
            self._pieces = [np.concatenate(self._pieces)]
        return self._pieces[0]

    def _drop(self, sample: int) -> None:
        """Forget what lies before a sample."""
        kept = self._pieces[0][sample - self._first :]
        # a view keeps all of its base alive, and a copy at every chunk would be slow
        self._pieces = [kept.copy() if kept.base.size > 2 * kept.size else kept]
        self._first = sample
