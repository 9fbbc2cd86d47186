"""From audio to text with a trained model.

A recording goes this way:

1. ``speech_to_text.py`` - `SpeechToText`, for models of any kind. ``long_form/`` cuts
   long waveforms in their pauses and joins the texts again.
2. ``recognizers/`` - a class for each kind of model (``model:`` of its YAML), which
   encodes a batch (``batch_encoder.py``) and asks a search for texts.
3. ``search/`` - encoder output to hypotheses. ``registry.py`` finds a search by its
   name in a decoding YAML, ``searches.py`` has the names that there are, and the work
   is in ``beam_search.py``, ``ctc_prefix.py``, ``rescoring.py``, and in ``wfst/``.
4. ``result.py`` - what is found, with its ``confidence.py`` and ``expert_use.py``;
   ``output/`` writes it as subtitles and so on.

``transcribe.py`` does this with files of a user, ``decode/`` with the test sets of a
recipe (stage 12), ``streaming/`` while somebody speaks. ``checkpoint.py`` and
``hub.py`` find and load a model's files; ``runtime/`` fits it to a device.
"""

from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from espnet_smoe.inference.speech_to_text import SpeechToText

# by module, and imported when it is asked for: `--help` must not load torch
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
