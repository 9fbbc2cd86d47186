"""corpora.yaml: what the user says of a corpus that we do not know.

    corpora:
      999.우리말뭉치:            # folder name of the corpus
        kind: utterance_json    # a kind, or `skip` to leave the corpus out
        spoken_first: true      # dual forms are (spoken)/(written)
        keys:                   # dotted paths into its JSON; a list = the first found
          audio: info.file      # default: the recording of the label's own stem
          text: [result.text, result.stt]
          translation: result.english
          text_ja: result.japanese      # of a further task, as many as you like
          utterances: result.sentences  # a list: one utterance an item, whose keys
          start: begin                  # are looked up in the item, then in the file
          end: finish                   # seconds, or h:m:s
          speaker: person.id
          gender: person.sex
          sample_rate: info.rate        # Hz or kHz
    parallel_columns:           # of the files of --parallel, where AIHub's do not fit
      {source: 한국어문장, target: 영어문장, id: 번호}

Everything is optional. Kinds: ksponspeech, dialogue, long_recording, utterance_json.
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

from espnet_smoe.config.options import make, reject_unknown, section
from espnet_smoe.config.typed import OneOf
from espnet_smoe.config.yaml_file import read_yaml

SKIP = "skip"
KINDS = ("ksponspeech", "dialogue", "long_recording", "utterance_json", SKIP)
FURTHER_TEXT = re.compile(r"text_\w+")  # file of a data directory
KEYS = (
    "audio",
    "text",
    "translation",
    "utterances",
    "id",
    "start",
    "end",
    "speaker",
    "speakers",
    "gender",
    "sample_rate",
)


@dataclass(frozen=True)
class CorpusRules:
    """What the user says of one corpus.

    Attributes:
        kind: How its labels are written; None: recognized from each label file.
        keys: Field to dotted paths into the JSON, the first that is found counts.
        spoken_first: Whether dual forms are ``(spoken)/(written)``; None: as the kind.
    """

    kind: Annotated[str, OneOf(KINDS)] | None = None
    keys: Mapping[str, str | Sequence[str]] | None = None
    spoken_first: bool | None = None

    def __post_init__(self) -> None:
        keys = self.keys or {}
        others = [name for name in keys if not FURTHER_TEXT.fullmatch(name)]
        reject_unknown(others, KEYS, "keys")
        paths = {k: (p,) if isinstance(p, str) else tuple(p) for k, p in keys.items()}
        object.__setattr__(self, "keys", paths)


@dataclass(frozen=True)
class Config:
    """A whole corpora.yaml.

    Attributes:
        corpora: Folder name to rules.
        parallel_columns: Columns of the tables of parallel text.
    """

    corpora: Mapping[str, Any] | None = field(default_factory=dict)
    parallel_columns: Mapping[str, str] | None = None


def read_config(path: Path) -> Config:
    """Read corpora.yaml.

    Raises:
        ValueError: It does not exist, is not YAML, or holds an unknown key or a value
            that does not fit.
    """
    content = make(Config, read_yaml(path, empty=True), str(path))
    rules = {
        unicodedata.normalize("NFC", str(name)): make(
            CorpusRules, section(of_corpus, where), where
        )
        for name, of_corpus in (content.corpora or {}).items()
        for where in [f"{path}: {name}"]
    }
    return replace(content, corpora=rules)
