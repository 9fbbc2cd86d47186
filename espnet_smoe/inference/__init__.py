"""From audio to text with a trained model."""

from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from espnet_smoe.inference.speech_to_text import SpeechToText

# by module, and imported when it is asked for: packing a model must not load torch
MODULES = {
    "Result": "result",
    "SpeechToText": "speech_to_text",
    "StreamingRecogniser": "streaming.recognizer",  # its name before 0.2
    "StreamingRecognizer": "streaming.recognizer",
    "U2PPSpeechToText": "recognizers.u2pp",
}
__all__ = [
    "Result",
    "SpeechToText",
    "StreamingRecogniser",
    "StreamingRecognizer",
    "U2PPSpeechToText",
    "load",
]


def load(path: str, **options: Any) -> "SpeechToText":
    """Load a model that transcribes, of whichever kind; see `SpeechToText.load`."""
    return resolve_name(f"{__name__}.speech_to_text:SpeechToText").load(path, **options)


def __getattr__(name: str) -> Any:
    if name in MODULES:
        return resolve_name(f"{__name__}.{MODULES[name]}:{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
