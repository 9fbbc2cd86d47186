"""Random choice of a channel condition for an utterance."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from espnet_smoe.config.options import make, options_of
from espnet_smoe.config.typed import OneOf, Share
from espnet_smoe.data.speech.codec import (
    BANDWIDTH_OF,
    CONDITIONS,
    Condition,
    ffmpeg_path,
)

PLAIN = {"nb", "wb"}  # conditions without a codec


@options_of("")
@dataclass(frozen=True)
class RandomChannel:
    """Conditions for a random share of the utterances.

    Conditions have equal chances, and so have the modes of a codec. A recording that
    is narrowband already only takes narrowband conditions: it cannot become wideband.

    Attributes:
        share: Part of the utterances, 0 to 1.
        conditions: Names of `CONDITIONS`.
        modes: ``random`` (any bit rate or law) or ``default`` (the codec's usual one).

    Raises:
        ValueError: An option is wrong; the nearest right one is named.

    Example:
        >>> channel = RandomChannel(conditions=("wb", "amr_nb"))
        >>> channel.draw("nb", lambda: 0.0)
        AmrNb(bit_rate=4750)
    """

    share: Share = 0.15
    conditions: tuple[Annotated[str, OneOf(CONDITIONS)], ...] = tuple(CONDITIONS)
    modes: Literal["random", "default"] = "random"

    def __post_init__(self) -> None:
        if not self.conditions or len(set(self.conditions)) < len(self.conditions):
            raise ValueError(
                f"conditions {list(self.conditions)}: name at least one, each once"
            )

    @staticmethod
    def from_options(options: Mapping[str, Any], where: str) -> "RandomChannel":
        """Read what a user wrote in YAML at the place `where`."""
        return make(RandomChannel, options, where)

    def require_codecs(self) -> None:
        """Fail now and not at the first coded utterance.

        Raises:
            ImportError: A condition needs FFmpeg, and imageio-ffmpeg is not installed.
        """
        if set(self.conditions) - PLAIN:
            ffmpeg_path()

    def draw(self, bandwidth: str, uniform: Callable[[], float]) -> Condition | None:
        """Choose a condition for a recording of this bandwidth.

        Args:
            bandwidth: ``nb`` or ``wb``, of the recording.
            uniform: Gives random numbers from 0 (included) to 1 (not included).

        Returns:
            The condition; None where the recording fits none of them.
        """
        names = [
            name
            for name in self.conditions
            if bandwidth != "nb" or BANDWIDTH_OF[name] == "nb"
        ]
        if not names:
            return None
        kind = CONDITIONS[names[int(uniform() * len(names))]]
        if self.modes == "default":
            return kind()
        modes = kind.every()
        return modes[int(uniform() * len(modes))]
