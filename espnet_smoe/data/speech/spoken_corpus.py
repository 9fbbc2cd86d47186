"""A corpus spoken by espeak-ng: who says what, how it sounds, and its wav files.

What recipes without recordings share; each has its own sentences. Everything follows
from the seed, whatever the number of processes.
"""

import argparse
import hashlib
import os
import random
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import soxr
from tqdm import tqdm

from espnet_smoe.command import positive, quiet_worker
from espnet_smoe.data.speech.audio import SAMPLE_RATE, wav_of
from espnet_smoe.data.speech.espeak import speak

# Variants of espeak-ng's voices, for any language. Left out: whispers, robots, and
# voices that differ only in speed. Relatives (steph, steph2) never stand in two sets.
VOICES = {
    "train": (
        *("Alex", "Andy", "Hugo", "Jacky", "Mario", "Michael", "Mike", "Nguyen"),
        *("Reed", "adam", "announcer", "belinda", "benjamin", "david", "edward"),
        *("f1", "f3", "f5", "grandma", "gustave", "ian", "john", "klatt", "klatt3"),
        *("m1", "m4", "m5", "m6", "m7", "m8", "marcelo", "michel", "miguel"),
        *("norbert", "paul", "quincy", "robert", "shelby", "steph", "victor"),
    ),
    "dev": ("Denis", "aunty", "f4", "m2", "pablo"),
    "test": ("Annie", "Henrique", "boris", "f2", "linda", "m3", "max", "zac"),
}
PITCHES = (35, 65)  # 50 is the voice's own
PEAK = 0.5  # of full scale; leaves room for the codecs' overshoot
NOISE_RMS = 1e-3  # -60 dB: a room is never digitally silent
MARGIN_SECONDS = 0.05  # kept before and after the speech
SILENT_BELOW = 0.01  # of the peak


@dataclass(frozen=True)
class SpeakingStyle:
    """How a sentence is spoken.

    Attributes:
        voice: Variant of the language's voice: ``f2``.
        speed: Words per minute.
        pitch: 0 to 99.
        seed: Of the noise in voice and room.
    """

    voice: str
    speed: int
    pitch: int
    seed: int


@dataclass(frozen=True)
class Speech:
    """A text and all that its sound depends on."""

    text: str
    language: str  # espeak-ng's name: ko, cmn
    delivery: SpeakingStyle  # its name, too, is part of the names of files


def draw_style(
    name: str, index: int, seed: int, speeds: tuple[int, int]
) -> SpeakingStyle:
    """Decide who speaks an utterance, and how.

    Args:
        name: ``train``, ``dev`` or ``test``; the voices of the test set take turns.
        index: Of the utterance in its set.
        seed: Of the corpus.
        speeds: Slowest and fastest, in words per minute.

    Example:
        >>> draw_style("test", 9, 0, (200, 250)).voice
        'Henrique'
    """
    rng = random.Random(f"{seed} {name} {index}")
    if name == "test":
        voice = VOICES[name][index % len(VOICES[name])]
    else:
        voice = rng.choice(VOICES[name])
    return SpeakingStyle(
        voice=voice,
        speed=rng.randint(*speeds),
        pitch=rng.randint(*PITCHES),
        seed=rng.randrange(2**31),
    )


def plan_sets[S, U](
    counts: Mapping[str, int],
    draw: Callable[[int], Iterable[S]],
    make: Callable[[str, int, S], U],
    utt_id: Callable[[U], str],
) -> dict[str, list[U]]:
    """Deal different sentences to the sets, test and dev first.

    So a longer training set keeps dev and test.

    Args:
        counts: Utterances of ``train``, ``dev`` and ``test``.
        draw: Gives so many different sentences.
        make: From name of the set, index and sentence to the utterance.
        utt_id: An utterance's id.

    Returns:
        Utterances of ``test``, ``dev`` and ``train``, each sorted by id.

    Raises:
        ValueError: A count below 1.
    """
    for name in ("test", "dev", "train"):
        if counts[name] < 1:
            raise ValueError(f"--num-{name} {counts[name]}: at least 1 is needed")
    sentences = iter(draw(sum(counts.values())))
    return {
        name: sorted(
            (make(name, i, next(sentences)) for i in range(counts[name])), key=utt_id
        )
        for name in ("test", "dev", "train")
    }


def content_name(utt_id: str, content: Mapping[str, object]) -> str:
    """Name a wav file so that changed content never meets an old file.

    Example:
        >>> content_name("f2-test00001", {"text": "你好", "pitch": 50})
        'f2-test00001-106b9870.wav'
    """
    digest = hashlib.sha1(repr(sorted(content.items())).encode()).hexdigest()
    return f"{utt_id}-{digest[:8]}.wav"


def trim(wave: np.ndarray, rate: int) -> np.ndarray:
    """Cut (T,) at `rate` Hz so that 50 ms stay before and after the speech."""
    loud = np.flatnonzero(np.abs(wave) > SILENT_BELOW * np.abs(wave).max())
    margin = int(MARGIN_SECONDS * rate)
    return wave[max(0, loud[0] - margin) : loud[-1] + margin + 1]


def render(speech: Speech) -> np.ndarray:
    """Return speech as heard: (T,) float32 at 16 kHz."""
    how = speech.delivery
    voice = f"{speech.language}+{how.voice}"
    wave, rate = speak(speech.text, voice, how.speed, how.pitch, how.seed)
    wave = trim(soxr.resample(wave, rate, SAMPLE_RATE), SAMPLE_RATE)
    wave = wave * (PEAK / np.abs(wave).max())
    noise = np.random.default_rng(how.seed).normal(0, NOISE_RMS, len(wave))
    return wave + noise.astype(np.float32)


def write_speech(task: tuple[Path, Speech]) -> None:
    """Render speech into a 16-bit wav file that appears only when whole."""
    path, speech = task
    unfinished = path.with_suffix(".part")
    unfinished.write_bytes(wav_of(render(speech)))
    os.replace(unfinished, path)


def speak_all(speeches: Mapping[Path, Speech], processes: int | None) -> int:
    """Write every wav file that does not exist yet, so a broken run goes on.

    Args:
        speeches: What each file holds.
        processes: How many work side by side.

    Returns:
        How many files were there already.
    """
    for folder in {path.parent for path in speeches}:
        folder.mkdir(parents=True, exist_ok=True)
    missing = [task for task in speeches.items() if not task[0].exists()]
    # Spawned, since espeak-ng forks inside each worker and must not meet threads.
    with ProcessPoolExecutor(
        processes, mp_context=get_context("spawn"), initializer=quiet_worker
    ) as pool:
        done = pool.map(write_speech, missing, chunksize=20)
        for _ in tqdm(done, "speech", len(missing), unit="utt", disable=None):
            pass
    return len(speeches) - len(missing)


def corpus_parser(corpus: str, num_train: int) -> argparse.ArgumentParser:
    """Return the options that every such recipe has.

    Args:
        corpus: Its name.
        num_train: How many training utterances it has if nothing is said.
    """
    parser = argparse.ArgumentParser(
        description=f"Speak the {corpus} corpus.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--out", type=Path, default="data", help="data directories")
    parser.add_argument("--wav-dir", type=Path, default="wav", help="wav files")
    parser.add_argument("--num-train", type=int, default=num_train, help="utterances")
    parser.add_argument("--num-dev", type=int, default=150, help="utterances")
    parser.add_argument("--num-test", type=int, default=200, help="utterances")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--nj", type=positive, default=os.cpu_count(), help="processes")
    return parser
