"""Labels in JSON by dotted key paths: two families and any corpus unknown to us."""

import math
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from itertools import islice

from espnet_smoe.data.corpora.base import Entry, gender_of
from espnet_smoe.data.corpora.corpus import Corpus, one_word
from espnet_smoe.data.corpora.match import stem_of

Keys = Mapping[str, tuple[str, ...]]
NUMBER = re.compile(r"\d+[._]")  # 71627 numbers its keys: 06_transcription
RATE = re.compile(r"(\d+(?:[.,]\d+)?)\s*(k?)", re.IGNORECASE)
LISTS = ("utterances", "speakers")
MOST_KEYS_SHOWN, DEEPEST_SHOWN, LONGEST_PATH_SHOWN = 12, 8, 100


def lookup(content: object, path: str) -> object:
    """The value at a dotted path, None where there is none.

    Case and leading numbers of keys make no difference; a number steps into a list.

    Example:
        >>> lookup({"06_transcription": [{"1_text": "네"}]}, "transcription.0.text")
        '네'
    """
    for step in path.split("."):
        if isinstance(content, list) and step.isdecimal() and int(step) < len(content):
            content = content[int(step)]
        elif isinstance(content, dict) and step in content:
            content = content[step]
        elif isinstance(content, dict):
            plain = {_plain(key): value for key, value in content.items()}
            content = plain.get(_plain(step))
        else:
            return None
    return content


@lru_cache(maxsize=4096)
def _plain(key: str) -> str:
    return NUMBER.sub("", key, count=1).lower()


def first(keys: Keys, field: str, *contents: object) -> object:
    """The first value that a field's paths lead to, empty strings included.

    What is ``speaker: F01`` in one corpus is an object with more keys in another, so
    objects are no values, but for the fields that are lists.
    """
    for path in keys.get(field, ()):
        for content in contents:
            value = lookup(content, path)
            nested = isinstance(value, (dict, list))
            if value is not None and nested == (field in LISTS):
                return value
    return None


def words(value: object) -> str:
    """A value as text; empty where it is none."""
    return str(value).strip() if isinstance(value, (str, int, float)) else ""


def entries(corpus: Corpus, label: str, content: object, keys: Keys) -> Iterator[Entry]:
    """Utterances of one JSON label."""
    listed = first(keys, "utterances", content)
    items = listed if isinstance(listed, list) else [content]
    named = words(first(keys, "audio", content))
    names = [name for name in (named, label) if name]
    if "audio" not in corpus.rules.keys:
        names.reverse()  # what we only guess comes after the label's own stem
    audio = ""
    for number, item in enumerate(items, 1):
        own = words(first(keys, "audio", item)) if item is not content else ""
        if own and own != named:
            audio = corpus.audio_of(label, own)
        elif number == 1:
            audio = corpus.audio_of(label, *names, count=len(items))
        if audio:
            several = str(number) if listed is items else ""
            entry = _entry(corpus, label, audio, (item, content), keys, several)
            if entry is not None:
                yield entry


def _entry(
    corpus: Corpus,
    label: str,
    audio: str,
    contents: tuple[object, object],
    keys: Keys,
    number: str,
) -> Entry | None:
    name = key = corpus.tree.audio.name_of(audio)
    own = words(first(keys, "id", contents[0]))
    if number:
        part = own or number.zfill(4)
        key = part if part.startswith(stem_of(audio)) else f"{name}_{part}"
    text = first(keys, "text", *contents)
    if text is None:
        report_unknown(corpus, label, one_word(f"{corpus.prefix}-{key}"), contents[0])
        return None
    entry = corpus.entry(label, audio, key, words(text))
    entry.key = own or key
    entry.translation = words(first(keys, "translation", *contents))
    further = [name for name in keys if name.startswith("text_")]
    entry.texts = {name: words(first(keys, name, *contents)) for name in further}
    entry.rate = rate_of(first(keys, "sample_rate", *contents))
    speaker = first(keys, "speaker", *contents)
    entry.speaker = corpus.speaker(speaker, name if number else "")
    entry.gender = gender_of(first(keys, "gender", *contents))
    if not entry.gender:
        entry.gender = _gender_in_list(first(keys, "speakers", contents[1]), speaker)
    times = [first(keys, field, contents[0]) for field in ("start", "end")]
    if any(time is not None for time in times):
        start, end = map(seconds, times)
        if start is None or end is None or not 0 <= start < end < math.inf:
            cause = f"start {times[0]!r}, end {times[1]!r}"
            fix = "Correct the times in seconds"
            corpus.drop("wrong times", label, entry.id, cause, fix)
            return None
        entry.start, entry.end = start, end
    return entry


def _gender_in_list(speakers: object, wanted: object) -> str:
    if isinstance(speakers, list):
        for speaker in speakers:
            if lookup(speaker, "id") == wanted:
                return gender_of(lookup(speaker, "sex") or lookup(speaker, "gender"))
    return ""


def seconds(value: object) -> float | None:
    """Seconds of a number, a string of one, or ``h:m:s``; None where it is neither.

    Example:
        >>> seconds("12.5"), seconds("00:01:02.5"), seconds("soon")
        (12.5, 62.5, None)
    """
    total = 0.0
    try:
        for part in str(value).split(":"):
            total = total * 60 + float(part)
    except ValueError:
        return None
    return total


def rate_of(value: object) -> float:
    """Sample rate in Hz of what a label says; 0 where it says none.

    Example:
        >>> [rate_of(value) for value in ("16kHz", 8000, "44,100 Hz", 48, None)]
        [16000.0, 8000.0, 44100.0, 48000.0, 0.0]
    """
    match = RATE.search(re.sub(r"(?<=\d),(?=\d{3})", "", str(value)))
    if match is None:
        return 0.0
    rate = float(match[1].replace(",", "."))
    return rate * 1000 if match[2] or rate < 1000 else rate


def report_unknown(corpus: Corpus, label: str, utterance: str, content: object) -> None:
    """Say which keys a label has, and what to write so that it is understood."""
    cause = f"no transcript where a known corpus has it; keys: {_describe(content)}"
    fix = (
        "Name the key of the transcript in a file for --config: corpora: "
        f"{{{corpus.name}: {{keys: {{text: KEY}}}}}}"
    )
    corpus.drop("unknown JSON", label, utterance, cause, fix)


def _describe(content: object) -> str:
    paths = list(islice(_paths(content, ""), MOST_KEYS_SHOWN + 1))
    shown = [path[:LONGEST_PATH_SHOWN] for path in paths[:MOST_KEYS_SHOWN]]
    return ", ".join(shown + ["and more"] * (len(paths) > MOST_KEYS_SHOWN))


def _paths(content: object, prefix: str, depth: int = 0) -> Iterator[str]:
    below = depth + 1
    if isinstance(content, dict) and content and depth < DEEPEST_SHOWN:
        for key, value in content.items():
            yield from _paths(value, f"{prefix}.{key}" if prefix else str(key), below)
    elif isinstance(content, list) and content and isinstance(content[0], dict):
        yield from _paths(content[0], f"{prefix}.0" if prefix else "0", below)
    else:
        yield prefix or type(content).__name__
