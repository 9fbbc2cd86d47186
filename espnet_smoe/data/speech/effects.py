"""ESPnet's audio effects (`data_aug_effects`), speed changed by soxr."""

from typing import Any

import torch

from espnet_smoe.compat import DataAugmentation
from espnet_smoe.data.speech.resample import change_speed


class Effects(DataAugmentation):
    """ESPnet's random effects; ``speed_perturb`` in a twentieth of the time.

    Torchaudio, which ESPnet's own calls, makes its filter anew for every waveform and
    applies it by a convolution: with it the loader of a small model takes as long as a
    training step. Stage 2 of the recipes changes the speed in the same way as this.
    """

    def _apply_effect(
        self, waveform: torch.Tensor, sample_rate: int, eff: str, eff_args: Any
    ) -> torch.Tensor:
        if eff == "speed_perturb":
            return torch.from_numpy(change_speed(waveform.numpy(), eff_args["factor"]))
        return super()._apply_effect(waveform, sample_rate, eff, eff_args)
