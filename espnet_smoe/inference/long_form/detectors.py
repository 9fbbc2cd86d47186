"""The ways to find speech, by the names that options call them."""

import logging
from functools import cache
from typing import Literal

from espnet_smoe.inference.long_form.silero import SileroActivity, is_installed
from espnet_smoe.inference.long_form.speech_activity import SpeechActivity

Detector = Literal["auto", "silero", "energy"]
DETECTORS: tuple[Detector, ...] = ("auto", "silero", "energy")
DETECTOR_HELP = (
    "how speech is found: energy; silero, a network that hears it in noise, too (pip "
    "install 'espnet_smoe[vad]'); auto: silero where it is installed (default: energy)"
)


def new_activity(vad: Detector = "energy") -> SpeechActivity:
    """Follow a recording or a stream, to tell where somebody speaks in it.

    Args:
        vad: ``silero``, ``energy``, or ``auto``: silero where it is installed.

    Raises:
        ValueError: silero was asked for and is not installed.

    Example:
        >>> new_activity().spans()
        []
    """
    if vad == "auto":
        vad = _best()
    return SileroActivity() if vad == "silero" else SpeechActivity()


@cache
def _best() -> Detector:
    if is_installed():
        return "silero"
    logging.warning(
        "vad: auto goes by the energy; for silero, pip install 'espnet_smoe[vad]'"
    )
    return "energy"
