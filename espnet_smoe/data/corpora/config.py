"""corpora.yaml: what the user says of a corpus that we do not know.

    corpora:
      999.우리말뭉치:            # folder name of the corpus
        kind: utterance_json    # a kind, or `skip` to leave the corpus out
        spoken_first: true      # dual forms are (spoken)/(written)
        keys:                   # dotted paths into its JSON; a list = the first found
          audio: info.file      # default: the recording of the label's own stem
          text: [result.text, result.stt]
          translation: result.english
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

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from espnet_smoe.config.options import reject_unknown

SKIP = "skip"
KINDS = ("ksponspeech", "dialogue", "long_recording", "utterance_json", SKIP)
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
        kind: One of :data:`KINDS`; empty: recognised from each label file.
        keys: Field to dotted paths into the JSON, the first that is found counts.
        spoken_first: Whether dual forms are ``(spoken)/(written)``; None: as the kind.
    """

    kind: str = ""
    keys: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    spoken_first: bool | None = None


@dataclass(frozen=True)
class Config:
    """A whole corpora.yaml.

    Attributes:
        corpora: Folder name to rules.
        parallel_columns: Columns of the tables of parallel text.
    """

    corpora: Mapping[str, CorpusRules] = field(default_factory=dict)
    parallel_columns: Mapping[str, str] | None = None


def read_config(path: Path) -> Config:
    """Read corpora.yaml.

    Raises:
        ValueError: It does not exist, is not YAML, or holds an unknown key.
    """
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"--config {path} cannot be read: {error}") from error
    where = str(path)
    content = _section(content, ("corpora", "parallel_columns"), where)
    corpora = _section(content.get("corpora"), None, f"{where}: corpora")
    rules = {
        unicodedata.normalize("NFC", str(name)): _rules(said, f"{where}: {name}")
        for name, said in corpora.items()
    }
    return Config(rules, content.get("parallel_columns"))


def _rules(content: object, where: str) -> CorpusRules:
    known = _section(content, ("kind", "keys", "spoken_first"), where)
    kind = known.get("kind") or ""
    if kind and kind not in KINDS:
        raise ValueError(
            f"{where}: unknown kind '{kind}'. Use one of {' '.join(KINDS)}."
        )
    keys = _section(known.get("keys"), KEYS, f"{where}: keys")
    paths = {k: tuple(p) if isinstance(p, list) else (p,) for k, p in keys.items()}
    for key, path in paths.items():
        if not all(isinstance(step, str) for step in path):
            raise ValueError(f"{where}: keys: {key} is no dotted path. Write a.b.c.")
    return CorpusRules(kind, paths, known.get("spoken_first"))


def _section(content: object, known: tuple[str, ...] | None, where: str) -> dict:
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ValueError(f"{where} is not a table of keys. Write 'key: value' lines.")
    if known is not None:
        reject_unknown(map(str, content), known, where)
    return content
