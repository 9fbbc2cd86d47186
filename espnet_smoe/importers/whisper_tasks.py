"""What an imported Whisper does: transcribe one language, and translate it."""

from typing import Any

from espnet_smoe.config.options import nearest
from espnet_smoe.data.task_table import is_language
from espnet_smoe.importers.whisper_vocabulary import (
    END,
    NO_TIMESTAMPS,
    START,
    TRANSCRIBE,
    TRANSLATE,
    Vocabulary,
)

ENGLISH = "en"  # what it translates into


def tasks_of(vocabulary: Vocabulary, language: str) -> dict[str, Any]:
    """Model and task table of the training configuration.

    Args:
        vocabulary: Of the model.
        language: That is spoken.

    Raises:
        ValueError: The model does not know it.
    """
    spoken = f"<|{language}|>"
    if spoken not in vocabulary.tokens or not is_language(spoken):
        known = [token[2:-2] for token in vocabulary.tokens if is_language(token)]
        raise ValueError(
            f"--language {language}: {spoken} is no language of the vocabulary"
            f"{nearest(language, known)}"
        )
    tasks = {
        "asr": {
            "target": "text",
            "prompt": [START, spoken, TRANSCRIBE],
            "language": language,
            "spoken": language,
        }
    }
    if language != ENGLISH:
        tasks["st"] = {
            "target": "text_st",
            "prompt": [START, spoken, TRANSLATE],
            "language": ENGLISH,
            "spoken": language,
        }
    return {
        "model": "smoe",
        "model_conf": {
            "tasks": tasks,
            "ctc_weight": 0.0,
            "sym_sos": START,
            "sym_eos": END,
            "sym_begin": NO_TIMESTAMPS,
        },
        "ctc_conf": {},
        "preprocessor": "smoe",
        "token_type": "bpe",
        "init": None,
    }
