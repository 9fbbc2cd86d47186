"""Telephone prompts of Asterisk in several languages, from Debian's packages.

    python -m espnet_smoe.data.corpora asterisk debs data --sums sha256sums

A folder holds asterisk-core-sounds-LANGUAGE_*.deb, the texts, and the recordings in
GSM 6.10 (8 kHz) and G.722 (16 kHz), asterisk-core-sounds-LANGUAGE-{gsm,g722}_*.deb. A
prompt has the same name in every language, so that its English text is the translation
of what the others say. Utterances are called PROMPT-LANGUAGE-CODEC; one voice speaks a
language. No prompt, and no text of a prompt, is in two sets.

Sounds that are no speech, recordings without a text, texts with notes in brackets, and
those that do not fit the length of their recording are left out, counted, and named in
problems.tsv.
"""

import gzip
import hashlib
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from random import Random
from statistics import median
from typing import Annotated

import soundfile

from espnet_smoe.config.typed import OneOf
from espnet_smoe.data.corpora.asterisk_audio import (
    CODECS,
    decode_package,
    put_together,
)
from espnet_smoe.data.corpora.base import TRAIN, Entry
from espnet_smoe.data.corpora.debian_package import find_package, read_package
from espnet_smoe.data.corpora.write import write_corpus
from espnet_smoe.data.problems import ProblemLog
from espnet_smoe.data.speech.speech_rate import syllables
from espnet_smoe.data.text.unicode_text import normalize_unicode

NAME, ENGLISH = "asterisk", "en"
LANGUAGES = (ENGLISH, "es", "fr", "it", "ru")
SHARES = {"test": 0.15, "dev": 0.1}  # of the prompts; the others are for training
SOUND = re.compile(r"\W*[\[(<][^])>]*[])>]\W*")  # a beep is described in brackets
NOTE = re.compile(r"[][<>(){}*#]")  # not said so, or not at all
DIGIT = re.compile(r"digits/\d")
DIGITS = range(3, 9)  # how many a string may have

# How long a text takes, see `misfits`.
LONG_TEXT = 10  # syllables that say how fast somebody speaks
AROUND = 0.5  # seconds of a recording around its text
MOST = 2.0  # times as long or as short as expected
LEAST = 0.6  # seconds that a misfit differs: single words vary more than that

Texts = dict[str, str]  # by prompt
Sounds = dict[str, dict[str, Path]]  # codec -> prompt -> recording


def prepare_asterisk(
    corpus_dir: Path,
    output_dir: Path,
    *,
    sums: Path,
    languages: Sequence[Annotated[str, OneOf(LANGUAGES)]] = LANGUAGES,
    codecs: Sequence[Annotated[str, OneOf(tuple(CODECS))]] = tuple(CODECS),
    digits: int = 0,
    nj: int | None = None,
) -> str:
    """Telephone prompts of Asterisk in several languages, from Debian's packages.

    Args:
        corpus_dir: Folder of the packages.
        output_dir: Where train, dev and test go, and the recordings as WAV.
        sums: Table of the packages' sums, lines as sha256sum writes them.
        languages: That are spoken; English is the translation in any case.
        codecs: Of the recordings; g722 needs FFmpeg.
        digits: Strings of digits that training gets of each language and codec, put
            together from its recordings of single ones.
        nj: Processes that read audio; all cores by default.

    Returns:
        The report.

    Raises:
        ValueError: A package is missing, another version or damaged, FFmpeg is not
            there, or a set would be empty.
    """
    if digits < 0:
        raise ValueError(f"--digits {digits}: give 0 or how many strings")
    packages = {  # all are looked for before the first is read
        (language, codec): find_package(corpus_dir, _package(language, codec), sums)
        for language in dict.fromkeys([*languages, ENGLISH])
        for codec in ("", *(codecs if language in languages else ()))
    }
    wav = output_dir / "wav"
    with ProblemLog(output_dir / "problems.tsv") as log:
        texts, sounds = {}, {}
        for language in dict.fromkeys([*languages, ENGLISH]):
            package = packages[language, ""]
            found = read_texts(package, log)
            if language in languages:
                sounds[language] = {
                    codec: decode_package(packages[language, codec], codec, wav)
                    for codec in codecs
                }
                found = spoken(found, sounds[language], package, log)
            texts[language] = {name: text for name, text in found.items() if text}
        split = split_of(texts)
        entries = _entries(texts, sounds, split, digits, wav)
        return write_corpus(entries, output_dir, nj=nj, log=log)


def _package(language: str, codec: str) -> str:
    return "-".join(filter(None, ["asterisk-core-sounds", language, codec]))


def read_texts(package: Path, log: ProblemLog) -> Texts:
    """The texts of a package, by prompt in small letters; '' where none can be used.

    Raises:
        ValueError: It holds no texts, or they are damaged.
    """
    for name, content in read_package(package):
        if re.search(r"/core-sounds-\w+\.txt\.gz$", name):
            try:
                lines = gzip.decompress(content).decode("utf-8-sig").splitlines()
            except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
                raise ValueError(
                    f"{package}: {name} cannot be read ({error}). Download it again"
                ) from error
            return _usable(lines, package, log)
    raise ValueError(
        f"{package} holds no core-sounds-*.txt.gz. Give the package without -gsm or "
        "-g722 in its name"
    )


def _usable(lines: Iterable[str], package: Path, log: ProblemLog) -> Texts:
    texts: Texts = {}
    doubled: set[str] = set()
    for line in lines:
        name, colon, text = line.partition(":")
        name, text = name.strip().lower(), normalize_unicode(text)
        if not colon or name.startswith(";"):
            continue
        if name in texts:
            doubled.add(name)
        texts[name] = text
    for name, text in texts.items():
        if not text:
            reason = cause = "empty text"
        elif SOUND.fullmatch(text):
            reason, cause = "no speech", f"it is {text}"
        elif NOTE.search(text):
            reason, cause = "note in the text", f"not all of '{text}' is said"
        elif name in doubled:
            reason, cause = "doubled text", "two lines give it a text"
        else:
            continue
        log.drop(NAME, reason, str(package), name, cause, "Nothing to do")
        texts[name] = ""
    return texts


def spoken(texts: Texts, sounds: Sounds, package: Path, log: ProblemLog) -> Texts:
    """The texts that a recording of each codec says; the log has the others."""
    recorded = set.intersection(*(set(of_one) for of_one in sounds.values()))
    heard = set.union(*(set(of_one) for of_one in sounds.values()))
    for name in sorted({n for n, text in texts.items() if text} - recorded):
        cause, reason = "no recording of it", "text without recording"
        log.drop(NAME, reason, str(package), name, cause, "Nothing to do")
    for name in sorted(heard - texts.keys()):
        cause, reason = "no text of it", "recording without text"
        log.drop(NAME, reason, str(package), name, cause, "Nothing to do")
    both = {name: text for name, text in texts.items() if text and name in recorded}
    first = next(iter(sounds.values()))
    seconds = {name: soundfile.info(first[name]).duration for name in both}
    wrong = misfits(both, seconds)
    for name, cause in wrong.items():
        reason = "text of another length"
        log.drop(NAME, reason, str(package), name, cause, "Listen, or nothing to do")
    return {name: text for name, text in both.items() if name not in wrong}


def misfits(texts: Mapping[str, str], seconds: Mapping[str, float]) -> dict[str, str]:
    """Find texts that are much too long or too short for their recordings.

    What is expected is half a second and the text at the pace of the voice, which is
    the median of its longer texts.

    Args:
        texts: Of one voice, by prompt.
        seconds: Of the recordings, by prompt.

    Returns:
        Prompt -> what does not fit.
    """
    size = {name: syllables(text) for name, text in texts.items()}
    paces = [
        size[name] / (seconds[name] - AROUND)
        for name in texts
        if size[name] >= LONG_TEXT and seconds[name] > AROUND
    ]
    if not paces:
        return {}
    pace, found = median(paces), {}
    for name, text in texts.items():
        expected = AROUND + size[name] / pace
        near = abs(seconds[name] - expected) <= LEAST
        if not near and not expected / MOST <= seconds[name] <= expected * MOST:
            found[name] = f"{seconds[name]:.1f} s, not about {expected:.1f}: '{text}'"
    return found


def split_of(texts: Mapping[str, Texts]) -> dict[str, str]:
    """The set of each prompt, by chance; prompts that share a text go together.

    Args:
        texts: Language -> prompt -> text.

    Returns:
        Prompt -> ``train``, ``dev`` or ``test``.
    """
    of_text: dict[tuple[str, str], list[str]] = {}
    for language, of_one in texts.items():
        for name, text in of_one.items():
            key = language, re.sub(r"\W+", " ", text).strip().casefold()
            of_text.setdefault(key, []).append(name)
    group: dict[str, set[str]] = {}
    for names in of_text.values():
        joined = set(names).union(*(group.get(name, ()) for name in names))
        group |= dict.fromkeys(joined, joined)
    return {name: _draw(min(names)) for name, names in group.items()}


def _draw(name: str) -> str:
    """By hash: a language more or less moves no other prompt to another set."""
    number = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=6).digest())
    place = number / 2**48
    for split, share in SHARES.items():
        if place < share:
            return split
        place -= share
    return TRAIN


def _entries(
    texts: Mapping[str, Texts],
    sounds: Mapping[str, Sounds],
    split: Mapping[str, str],
    digits: int,
    wav: Path,
) -> Iterator[Entry]:
    yield from _prompts(texts, sounds, split)
    for language, of_one in sounds.items() if digits else ():
        own = _digits_of(texts[language], split)
        yield from _strings(language, own, texts, of_one, digits, wav)


def _prompts(
    texts: Mapping[str, Texts], sounds: Mapping[str, Sounds], split: Mapping[str, str]
) -> Iterator[Entry]:
    for language, of_codecs in sounds.items():
        for name, text in texts[language].items():
            english = "" if language == ENGLISH else texts[ENGLISH].get(name, "")
            for codec, recordings in of_codecs.items():
                key = name.replace("/", "_")
                audio = str(recordings[name])
                yield _entry(key, language, codec, split[name], audio, text, english)


def _entry(
    key: str,
    language: str,
    codec: str,
    split: str,
    audio: str,
    text: str,
    english: str,
) -> Entry:
    condition = f"{language}-{codec}"
    return Entry(
        id=f"{key}-{condition}",
        key=key,
        corpus=NAME,
        split=split,
        audio=audio,
        text=text,
        translation=english,
        rate=CODECS[codec],
        language=language,
        condition=condition,
    )


def _digits_of(texts: Texts, split: Mapping[str, str]) -> list[str]:
    """Prompts of single digits that are in training."""
    return [n for n in sorted(texts) if DIGIT.fullmatch(n) and split[n] == TRAIN]


def _strings(
    language: str,
    digits: Sequence[str],
    texts: Mapping[str, Texts],
    sounds: Sounds,
    count: int,
    wav: Path,
) -> Iterator[Entry]:
    """Strings of digits for training, the same ones in each codec."""
    if not digits:
        raise ValueError(
            f"--digits {count}: training has no recording of a digit in {language}. "
            "Leave the option or the language out"
        )
    for number in range(count):
        chance = Random(f"{language} {number}")
        names = chance.choices(digits, k=chance.choice(DIGITS))
        english = [texts[ENGLISH].get(name, "") for name in names]
        whole = language != ENGLISH and all(english)
        key = f"string{number:05d}-" + "".join(name[-1] for name in names)
        for codec, recordings in sounds.items():
            out = wav / f"strings-{language}-{codec}" / f"{key}.wav"
            yield _entry(
                key,
                language,
                codec,
                TRAIN,
                str(put_together([recordings[name] for name in names], out)),
                " ".join(texts[language][name] for name in names),
                " ".join(english) if whole else "",
            )
