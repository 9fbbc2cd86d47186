"""Long recordings (AIHub 464, 463, 119): one wav, a JSON with the times of each part.

    {"metadata": {...}, "speaker": [{"id": "1", "sex": "남성"}],
     "utterance": [{"id": "...", "speaker_id": "1", "start": "0.52", "end": "3.1",
                    "form": "(삼십)/(30) 명이"}]}

Dual forms are the other way round than in KsponSpeech: ``(spoken)/(written)``.
"""

from espnet_smoe.data.corpora.key_paths import lookup

KEYS = {
    "utterances": ("utterance", "utterances"),
    "id": ("id",),
    "text": ("form", "original_form", "standard_form", "text", "sentence"),
    "translation": ("translation", "english", "en", "translation.en"),
    "start": ("start", "start_time", "startTime"),
    "end": ("end", "end_time", "endTime"),
    "speaker": ("speaker_id", "speakerId"),
    "speakers": ("speaker", "speakers"),
    "sample_rate": ("metadata.sampling", "metadata.sample_rate", "sampling"),
    "audio": ("metadata.audio", "metadata.file", "file_name"),
}
SPOKEN_FIRST = True


def recognize(content: object) -> bool:
    """Whether a label is of this kind."""
    listed = lookup(content, "utterance") or lookup(content, "utterances")
    return isinstance(listed, list) and bool(listed) and isinstance(listed[0], dict)
