"""From audio to text with a trained model."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from espnet_smoe.inference.speech_to_text import Result, SpeechToText
    from espnet_smoe.inference.streaming.recognizer import StreamingRecogniser
    from espnet_smoe.inference.u2pp_speech_to_text import U2PPSpeechToText

__all__ = ["Result", "SpeechToText", "StreamingRecogniser", "U2PPSpeechToText"]
MODULES = {
    "StreamingRecogniser": "streaming.recognizer",
    "U2PPSpeechToText": "u2pp_speech_to_text",
}


def __getattr__(name: str) -> Any:
    # lazily: packing a model must not load torch and ESPnet
    if name in __all__:
        place = MODULES.get(name, "speech_to_text")
        return getattr(importlib.import_module(f"espnet_smoe.inference.{place}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
