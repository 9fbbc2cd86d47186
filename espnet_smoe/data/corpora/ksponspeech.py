"""KsponSpeech (AIHub 123): raw .pcm, transcripts in scripts/{train,dev,eval_*}.trn."""

from collections.abc import Iterator

from espnet_smoe.data.corpora.base import TRAIN, VALIDATION, Entry
from espnet_smoe.data.corpora.corpus import Corpus
from espnet_smoe.data.corpora.match import stem_of

SEPARATOR = " ::"  # after it a space, where there is a text
SPLIT_OF_SCRIPT = {"train": TRAIN, "dev": VALIDATION}  # any other is a test set


def entries(corpus: Corpus, script: str) -> Iterator[Entry]:
    """Utterances of one script, whose lines are ``path.pcm :: text``."""
    stem = stem_of(script)
    for number, line in enumerate(corpus.read_lines(script), 1):
        path, separator, text = line.partition(SEPARATOR)
        if not line.strip():
            continue
        if not separator:
            place, fix = f"{script}:{number}", "Write 'path.pcm :: text'"
            corpus.drop("unreadable label", place, "-", "no ' :: ' in the line", fix)
            continue
        audio = corpus.audio_of(f"{script}:{number}", path.strip())
        if audio:
            entry = corpus.entry(script, audio, stem_of(path.strip()), text.strip())
            entry.split = SPLIT_OF_SCRIPT.get(stem, stem)
            yield entry
