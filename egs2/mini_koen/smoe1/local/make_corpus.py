"""Speak the mini_koen corpus: wav files and data directories train, dev, test.

No sentence and no voice of dev or test is in training. The speech is wideband; stage 3
makes the telephone conditions. Everything follows from the seed, whatever --nj; wav
files that exist already are kept, so a broken run goes on.
"""

import argparse
import hashlib
import os
import random
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import soundfile as sf
import soxr
from sentences import Sentence, sample_sentences
from tqdm import tqdm

from espnet_smoe.data.codec import WIDE_RATE
from espnet_smoe.data.espeak import speak

# Variants of espeak-ng's Korean voice. Left out: whispers, robots, and voices that
# differ only in speed. Relatives (steph, steph2) never stand in two sets.
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
SPEEDS = (200, 250)  # words per minute
PITCHES = (35, 65)  # 50 is the voice's own
PEAK = 0.5  # of full scale; leaves room for the codecs' overshoot
NOISE_RMS = 1e-3  # -60 dB: a room is never digitally silent
MARGIN_SECONDS = 0.05  # kept before and after the speech
SILENT_BELOW = 0.01  # of the peak


@dataclass(frozen=True)
class Utterance:
    """One line of the corpus and all that its sound depends on."""

    utt_id: str
    ko: str
    en: str
    voice: str
    speed: int  # words per minute
    pitch: int  # 0 to 99
    seed: int

    @property
    def file_name(self) -> str:
        """Name of the wav file: changed content never meets an old file."""
        content = repr(sorted(asdict(self).items()))
        return f"{self.utt_id}-{hashlib.sha1(content.encode()).hexdigest()[:8]}.wav"


def plan(
    num_train: int, num_dev: int, num_test: int, seed: int
) -> dict[str, list[Utterance]]:
    """Decide sentence and voice of every utterance.

    Args:
        num_train: Utterances, each a different sentence; likewise the next two.
        num_dev: Of the set that training validates on.
        num_test: Of the test set, the voices in turn.
        seed: Same seed, same corpus; a longer training set keeps dev and test.

    Returns:
        Utterances of ``train``, ``dev`` and ``test``, sorted by id.

    Raises:
        ValueError: A count below 1 or beyond the grammar.
    """
    counts = {"test": num_test, "dev": num_dev, "train": num_train}
    for name, count in counts.items():
        if count < 1:
            raise ValueError(f"--num-{name} {count}: at least 1 is needed")
    sentences = iter(sample_sentences(sum(counts.values()), seed))
    return {
        name: sorted(
            (_plan_one(name, i, next(sentences), seed) for i in range(count)),
            key=lambda utterance: utterance.utt_id,
        )
        for name, count in counts.items()
    }


def _plan_one(name: str, index: int, sentence: Sentence, seed: int) -> Utterance:
    rng = random.Random(f"{seed} {name} {index}")
    if name == "test":
        voice = VOICES[name][index % len(VOICES[name])]
    else:
        voice = rng.choice(VOICES[name])
    return Utterance(
        utt_id=f"{voice}-{name}{index:05d}",
        ko=sentence.ko,
        en=sentence.en,
        voice=voice,
        speed=rng.randint(*SPEEDS),
        pitch=rng.randint(*PITCHES),
        seed=rng.randrange(2**31),
    )


def trim(wave: np.ndarray, rate: int) -> np.ndarray:
    """Cut (T,) at `rate` Hz so that 50 ms stay before and after the speech."""
    loud = np.flatnonzero(np.abs(wave) > SILENT_BELOW * np.abs(wave).max())
    margin = int(MARGIN_SECONDS * rate)
    return wave[max(0, loud[0] - margin) : loud[-1] + margin + 1]


def render(utterance: Utterance) -> np.ndarray:
    """Return the utterance as heard: (T,) float32 at 16 kHz."""
    wave, rate = speak(
        utterance.ko,
        f"ko+{utterance.voice}",
        utterance.speed,
        utterance.pitch,
        utterance.seed,
    )
    wave = trim(soxr.resample(wave, rate, WIDE_RATE), WIDE_RATE)
    wave = wave * (PEAK / np.abs(wave).max())
    noise = np.random.default_rng(utterance.seed).normal(0, NOISE_RMS, len(wave))
    return wave + noise.astype(np.float32)


def write_wav(task: tuple[Utterance, Path]) -> None:
    """Render an utterance into a 16-bit wav file that appears only when whole."""
    utterance, path = task
    unfinished = path.with_suffix(".part")
    sf.write(unfinished, render(utterance), WIDE_RATE, "PCM_16", format="WAV")
    os.replace(unfinished, path)


def write_data_dir(directory: Path, wav_dir: Path, utterances: list[Utterance]) -> None:
    """Write the files of one data directory."""
    directory.mkdir(parents=True, exist_ok=True)
    columns = {
        "wav.scp": lambda utt: str(wav_dir / utt.file_name),
        "text": lambda utt: utt.ko,
        "text_st": lambda utt: utt.en,
        "utt2spk": lambda utt: utt.voice,
        "utt2bandwidth": lambda utt: "wb",
        "utt2condition": lambda utt: "wb",
    }
    for name, value in columns.items():
        lines = [f"{utt.utt_id} {value(utt)}\n" for utt in utterances]
        (directory / name).write_text("".join(lines), encoding="utf-8")


def get_parser() -> argparse.ArgumentParser:
    """Return the options of the command."""
    parser = argparse.ArgumentParser(
        description="Speak the mini_koen corpus.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--out", type=Path, default="data", help="data directories")
    parser.add_argument("--wav-dir", type=Path, default="wav", help="wav files")
    parser.add_argument("--num-train", type=int, default=6000, help="utterances")
    parser.add_argument("--num-dev", type=int, default=150, help="utterances")
    parser.add_argument("--num-test", type=int, default=200, help="utterances")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--nj", type=int, default=os.cpu_count(), help="processes")
    return parser


def main(argv: list[str] | None = None) -> None:
    """Make the corpus."""
    args = get_parser().parse_args(argv)
    sets = plan(args.num_train, args.num_dev, args.num_test, args.seed)
    wav_dir = args.wav_dir.absolute()
    wav_dir.mkdir(parents=True, exist_ok=True)
    tasks = [(utt, wav_dir / utt.file_name) for utts in sets.values() for utt in utts]
    missing = [task for task in tasks if not task[1].exists()]
    # Spawned, since espeak-ng forks inside each worker and must not meet threads.
    with ProcessPoolExecutor(args.nj, mp_context=get_context("spawn")) as pool:
        done = pool.map(write_wav, missing, chunksize=20)
        for _ in tqdm(done, "speech", len(missing), unit="utt", disable=None):
            pass
    for name, utterances in sets.items():
        write_data_dir(args.out / name, wav_dir, utterances)
    counts = ", ".join(f"{name} {len(utts)}" for name, utts in sets.items())
    print(f"{args.out}: {counts} utterances ({len(tasks) - len(missing)} wav kept)")


if __name__ == "__main__":
    main()
