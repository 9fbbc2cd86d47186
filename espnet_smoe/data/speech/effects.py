"""ESPnet's audio effects (`data_aug_effects`), speed changed by soxr."""

from collections.abc import Mapping
from typing import Any

import torch

from espnet_smoe.command import reason
from espnet_smoe.compat import DataAugmentation, effects_dict
from espnet_smoe.config.typed import nearest
from espnet_smoe.data.speech.resample import change_speed

EXAMPLE = "[1.0, speed_perturb, {factor: 0.9}]"


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


def check_effects(options: Mapping[str, Any], rate: int, where: str) -> None:
    """Apply each effect once, which else fails where an utterance first draws it.

    Args:
        options: Of a preprocessor.
        rate: Sampling rate in Hz; 0 where nobody says.
        where: The place of the options, such as ``preprocessor_conf``.

    Raises:
        ValueError: An effect that ESPnet does not have or that its options do not fit,
            or too few of them; names it.
    """
    effects = options.get("data_aug_effects")
    if effects is None:
        return
    if rate <= 0:
        raise ValueError(
            f"{where}: data_aug_effects need the sampling rate; add 'fs: 16000'"
        )
    for effect in effects:
        nested = isinstance(effect, (list, tuple)) and len(effect) == 2
        # ESPnet takes one of two or more, such as [0.1, [[0.3, ...], [0.7, ...]]]
        for one in effect[1] if nested and len(effect[1]) > 1 else [effect]:
            _check_effect(one, rate, f"{where}.data_aug_effects")
    match options.get("data_aug_num") or (1, 1):
        case [int() as few, int() as many] if few <= many and 1 <= many <= len(effects):
            return
        case other:
            raise ValueError(
                f"{where}.data_aug_num: {other} are not the least and the most of "
                f"{len(effects)} effects, such as [1, 1]"
            )


def _check_effect(effect: Any, rate: int, where: str) -> None:
    match effect:
        case [int() | float() as weight, str(name), Mapping() as options] if weight > 0:
            pass
        case _:
            raise ValueError(f"{where}: {effect!r} is no effect such as {EXAMPLE}")
    if name not in effects_dict:
        near = nearest(name, effects_dict)
        raise ValueError(f"{where}: there is no effect '{name}'{near}")
    try:
        noise = torch.rand(rate // 4)
        Effects([effect])._apply_effect(noise, rate, name, dict(options))
    except Exception as error:  # of any library
        raise ValueError(
            f"{where}: {name} does not work with {dict(options)}: {reason(error)}"
        ) from error
