"""From audio to text with a trained model."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from espnet_smoe.inference.speech_to_text import Result, SpeechToText

__all__ = ["Result", "SpeechToText"]


def __getattr__(name: str) -> Any:
    # lazily: packing a model must not load torch and ESPnet
    if name in __all__:
        from espnet_smoe.inference import speech_to_text

        return getattr(speech_to_text, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
