"""Dialogues (AIHub 132, 87): .wav and .txt an utterance, one JSON a dialogue.

    {"dataSet": {"typeInfo": {"speakers": [{"id": "1", "gender": "여"}]},
                 "dialogs": [{"speaker": "1", "audioPath": "K/D26/S000012/000000.wav",
                              "textPath": "K/D26/S000012/000000.txt"}]}}

Some corpora ship the .txt files without that JSON, or with another beside each: their
texts are taken by stem, speakers unknown.
"""

import os
from collections.abc import Iterator
from pathlib import PurePosixPath

from espnet_smoe.data.corpora.base import Entry, gender_of
from espnet_smoe.data.corpora.corpus import Corpus
from espnet_smoe.data.corpora.key_paths import first, lookup, rate_of, words

SPOKEN_FIRST = False
TURNS = ("dataSet.dialogs", "dialogs")
SPEAKERS = ("dataSet.typeInfo.speakers", "typeInfo.speakers", "speakers")
RATES = {"rate": ("dataSet.typeInfo.samplingRate", "dataSet.sampling", "sampling")}


def recognize(content: object) -> bool:
    """Whether a label is of this kind."""
    return any(isinstance(lookup(content, path), list) for path in TURNS)


def entries(corpus: Corpus, label: str, content: object) -> Iterator[Entry]:
    """Utterances of one dialogue.

    Args:
        corpus: Its corpus.
        label: The JSON file.
        content: What is in it.
    """
    turns, speakers = _list_at(content, TURNS), _list_at(content, SPEAKERS)
    genders = {words(lookup(s, "id")): gender_of(lookup(s, "gender")) for s in speakers}
    for turn in turns:
        audio_path = words(lookup(turn, "audioPath"))
        text_path = words(lookup(turn, "textPath")) or audio_path
        text = words(lookup(turn, "text"))
        file = ""
        if not text:
            file = corpus.tree.texts.take(_beside(label, text_path), text_path)
        audio = corpus.audio_of(label, _beside(label, audio_path), audio_path)
        if not audio:
            continue
        if not text:
            if not file:
                cause, fix = f"no text file {text_path}", "Unpack the labels"
                corpus.drop("label without text", label, audio_path, cause, fix)
                continue
            text = (corpus.read_text(file) or "").strip()
        name = corpus.tree.audio.name_of(audio)
        entry = corpus.entry(file or label, audio, name, text)
        speaker = words(lookup(turn, "speaker"))
        # The same path in Training and Validation is the same dialogue.
        folder = os.path.dirname(audio_path.replace("\\", "/"))
        dialogue = "_".join(PurePosixPath(folder).parts) or PurePosixPath(label).stem
        entry.speaker = corpus.speaker(speaker, dialogue)
        entry.gender = genders.get(speaker, "")
        entry.rate = rate_of(first(RATES, "rate", content))
        yield entry


def _list_at(content: object, paths: tuple[str, ...]) -> list:
    """The first list that is not empty."""
    found = (lookup(content, path) for path in paths)
    return next((value for value in found if isinstance(value, list) and value), [])


def entries_of_texts(corpus: Corpus) -> Iterator[Entry]:
    """Utterances of the .txt files that no dialogue names."""
    for file in corpus.tree.texts.untaken():
        audio = corpus.audio_of(file, file)
        text = corpus.read_text(file) if audio else None
        if text is not None:
            name = corpus.tree.audio.name_of(audio)
            yield corpus.entry(file, audio, name, text.strip())


def _beside(label: str, path: str) -> str:
    """The file of that name in the folder of the label."""
    end = max(label.rfind("/"), label.rfind("!")) + 1
    return label[:end] + os.path.basename(path.replace("\\", "/"))
