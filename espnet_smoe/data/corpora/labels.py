"""Every utterance of a corpus: each label file goes to the reader of its kind."""

from collections.abc import Iterator
from pathlib import PurePosixPath

from espnet_smoe.data.corpora import (
    dialogue,
    key_paths,
    ksponspeech,
    long_recording,
    utterance_json,
)
from espnet_smoe.data.corpora.base import Entry
from espnet_smoe.data.corpora.config import SKIP
from espnet_smoe.data.corpora.corpus import Corpus

SCRIPT_SUFFIX = ".trn"
BY_KEYS = {"long_recording": long_recording, "utterance_json": utterance_json}


def entries(corpus: Corpus) -> Iterator[Entry]:
    """Utterances of a corpus, files read one at a time; faults go to its log."""
    tree = corpus.tree
    if corpus.rules.kind == SKIP:
        return
    if not len(tree.audio):
        cause = "no recording in this folder"
        fix = (
            "Unpack or download its audio; if it is parallel text, name its files with "
            "--parallel and the folder with kind: skip in --config"
        )
        corpus.drop("corpus without audio", str(tree.root), "-", cause, fix)
        return
    scripts = [file for file in tree.labels if file.lower().endswith(SCRIPT_SUFFIX)]
    for script in scripts:
        yield from ksponspeech.entries(corpus, script)
    if not scripts and corpus.rules.kind != "ksponspeech":
        for label in tree.labels:
            yield from _of_json(corpus, label)
        yield from dialogue.entries_of_texts(corpus)
    fix = "Download or unpack its label; without one it cannot be used"
    for audio in tree.audio.untaken():
        name = PurePosixPath(audio).name
        cause = "no label fits the recording"
        corpus.drop("audio without label", audio, name, cause, fix)


def _of_json(corpus: Corpus, label: str) -> Iterator[Entry]:
    content = corpus.read_json(label)
    if content is None:
        corpus.tree.audio.take(label)
        return
    kind = corpus.rules.kind or _recognize(corpus, content)
    if kind == "dialogue":
        yield from dialogue.entries(corpus, label, content)
    elif kind:
        reader = BY_KEYS[kind]
        keys = reader.KEYS | dict(corpus.rules.keys)
        given = corpus.rules.spoken_first
        for entry in key_paths.entries(corpus, label, content, keys):
            entry.spoken_first = reader.SPOKEN_FIRST if given is None else given
            yield entry
    elif not corpus.tree.texts.find(label):  # beside a text it only describes it
        corpus.tree.audio.take(label)
        key_paths.report_unknown(corpus, label, "-", content)


def _recognize(corpus: Corpus, content: object) -> str:
    if dialogue.recognize(content):
        return "dialogue"
    for kind, reader in BY_KEYS.items():
        if reader.recognize(content):
            return kind
    if "utterances" in corpus.rules.keys:
        return "long_recording"
    return "utterance_json" if corpus.rules.keys else ""
