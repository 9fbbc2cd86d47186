"""One recording and one JSON an utterance (AIHub 484, 71627, 135, 130 and others).

{"script": {"scriptTN": "..."}}, {"transcription": {"text": "..."}},
{"command": {"text": "..."}}, {"발화정보": {"stt": "..."}}, ...
"""

from espnet_smoe.data.corpora.key_paths import first

KEYS = {
    "text": (
        "script.scriptTN",
        "script.scriptITN",
        "script.text",
        "transcription.text",
        "transcription.standard",
        "transcription",
        "command.text",
        "command",
        "발화정보.stt",
        "전사정보.TransLabelText",
        "전사정보.OrgLabelText",
        "text",
        "stt",
        "sentence",
        "orgtext",
    ),
    "translation": (
        "translation.text",
        "translation.en",
        "translation",
        "script.scriptEN",
        "english",
        "en",
        "최종번역문",
        "번역문",
        "영어",
    ),
    "audio": (
        "audio.path",
        "audio.file",
        "audio",
        "file.name",
        "file_name",
        "fileName",
        "filename",
        "audioPath",
        "dataset.src_path",
        "발화정보.fileNm",
        "파일정보.FileName",
    ),
    "speaker": (
        "speaker.speakerId",
        "speaker.speaker_id",
        "speaker.id",
        "speaker",
        "speakerinfo.id",
        "speaker_id",
        "녹음자정보.recorderId",
        "화자정보.SpeakerName",
    ),
    "gender": (
        "speaker.gender",
        "speaker.sex",
        "speakerinfo.gender",
        "gender",
        "sex",
        "녹음자정보.gender",
        "화자정보.Gender",
    ),
    "sample_rate": (
        "audio.samplingRate",
        "audio.sample_rate",
        "audio.sampling",
        "dataset.sampling",
        "metadata.sampling",
        "파일정보.SamplingRate",
        "samplingRate",
        "sample_rate",
        "sampling",
    ),
}
SPOKEN_FIRST = False


def recognize(content: object) -> bool:
    """Whether a label is of this kind: it has a transcript where they have it."""
    return first(KEYS, "text", content) is not None
