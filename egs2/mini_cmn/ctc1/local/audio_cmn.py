"""Write data directories of the Mandarin words of hugolpz/audio-cmn, real speech.

    python local/audio_cmn.py --tar real_cmn.tar --out data/cmn --seed 0

Every word is one recording, cmn-WORD.mp3, all of one speaker. The words are split into
words_train, words_dev and words_test: no word is in two of them (its syllables are).
Nothing is trimmed. What cannot be used is named, counted and left out.
"""

import argparse
import hashlib
import io
import re
import sys
import tarfile
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import soundfile as sf
from tqdm import tqdm

from espnet_smoe.command import run_command
from espnet_smoe.data.data_dir import write_table
from espnet_smoe.data.speech.audio import resample, write_wav
from espnet_smoe.data.speech.downmix import downmix

# Hanzi of the basic plane, and the zero that lies outside their blocks.
NAME = re.compile(r"cmn-([\u3400-\u4dbf\u4e00-\u9fff〇]+)\.mp3")
SPEAKER = "cmn"
MOST_SHOWN = 20


@dataclass(frozen=True)
class Recording:
    """One recording that can be used."""

    utt_id: str
    word: str
    wav: Path


@dataclass
class Unpacked:
    """What a tar holds: recordings, and why each other file is left out."""

    recordings: list[Recording] = field(default_factory=list)
    faults: dict[str, str] = field(default_factory=dict)


def utterance_id(word: str, take: int) -> str:
    """Name a recording in ASCII by the code points of its word, so never two alike.

    Example:
        >>> utterance_id("你好", 1), utterance_id("你好", 2)
        ('cmn-4f60-597d', 'cmn-4f60-597d_2')
    """
    points = "-".join(f"{ord(character):04x}" for character in word)
    return f"{SPEAKER}-{points}" + (f"_{take}" if take > 1 else "")


def unpack(tar: Path, wav_dir: Path) -> Unpacked:
    """Decode every recording of a tar to a 16 kHz wav file; existing ones are kept.

    Args:
        tar: Holds files ``cmn-WORD.mp3``, in any folder.
        wav_dir: Where the wav files go.

    Raises:
        ValueError: The tar is missing, damaged or holds no such file.
    """
    unpacked = Unpacked()
    takes: Counter[str] = Counter()
    for path, content in tqdm(_files(tar), tar.name, unit="file", disable=None):
        name = unicodedata.normalize("NFC", PurePosixPath(path).name)
        match = NAME.fullmatch(name)
        if match is None:
            unpacked.faults[path] = "its name is not cmn-WORD.mp3, the word in Hanzi"
            continue
        word = match[1]
        takes[word] += 1
        utt_id = utterance_id(word, takes[word])
        # Changed content never meets an old file.
        wav = wav_dir / f"{utt_id}-{hashlib.sha1(content).hexdigest()[:8]}.wav"
        fault = "" if wav.exists() else _decode(content, wav)
        if fault:
            unpacked.faults[path] = fault
        else:
            unpacked.recordings.append(Recording(utt_id, word, wav))
    if not takes:
        raise ValueError(
            f"{tar} holds no cmn-WORD.mp3. Give the tar of hugolpz/audio-cmn's folder."
        )
    return unpacked


def _files(tar: Path) -> Iterator[tuple[str, bytes]]:
    """Yield path and content of every file of a tar, sorted by path."""
    try:
        with tarfile.open(tar) as archive:
            members = [member for member in archive if member.isfile()]
            for member in sorted(members, key=lambda member: member.name):
                yield member.name, archive.extractfile(member).read()
    except FileNotFoundError as error:
        raise ValueError(f"{tar} does not exist. Correct --tar.") from error
    except (tarfile.TarError, EOFError, OSError) as error:
        raise ValueError(
            f"{tar} is not a whole tar file ({error}). Download it again."
        ) from error


def _decode(content: bytes, wav: Path) -> str:
    """Write a recording as wav; returns why not, where it cannot be used."""
    try:
        wave, rate = sf.read(io.BytesIO(content), dtype="float32", always_2d=True)
    except (sf.SoundFileError, OSError) as error:
        return f"it is no audio that libsndfile reads ({error})"
    if not wave.any():
        return "it is silent"
    write_wav(wav, resample(downmix(wave, rate), rate))  # (samples,)
    return ""


def split_words(
    recordings: list[Recording], num_dev: int, num_test: int, seed: int
) -> dict[str, list[Recording]]:
    """Deal words to the sets; the same seed gives the same sets.

    The words are ordered by a hash of seed and word, so that a recording more or less
    moves but one word across each border between sets.

    Args:
        recordings: All that can be used.
        num_dev: Words of ``words_dev``.
        num_test: Words of ``words_test``.
        seed: Of the order of words.

    Returns:
        Recordings of ``words_train``, ``words_dev``, ``words_test``, sorted by id.

    Raises:
        ValueError: A count is below 1, or no word is left for training.
    """
    words = sorted({recording.word for recording in recordings}, key=_shuffled(seed))
    for option, count in (("--num-dev", num_dev), ("--num-test", num_test)):
        if count < 1:
            raise ValueError(f"{option} {count}: at least 1 is needed")
    if num_dev + num_test >= len(words):
        raise ValueError(
            f"there are {len(words)} different words; --num-dev {num_dev} and "
            f"--num-test {num_test} leave none for training: lower them"
        )
    chosen = {
        "words_train": set(words[num_test + num_dev :]),
        "words_dev": set(words[num_test : num_test + num_dev]),
        "words_test": set(words[:num_test]),
    }
    ordered = sorted(recordings, key=lambda recording: recording.utt_id)
    return {
        name: [recording for recording in ordered if recording.word in members]
        for name, members in chosen.items()
    }


def _shuffled(seed: int) -> Callable[[str], bytes]:
    return lambda word: hashlib.sha1(f"{seed} {word}".encode()).digest()


def write_data_dir(directory: Path, recordings: list[Recording]) -> None:
    """Write wav.scp, text and utt2spk."""
    tables = {
        "wav.scp": {r.utt_id: r.wav for r in recordings},
        "text": {r.utt_id: r.word for r in recordings},
        "utt2spk": {r.utt_id: SPEAKER for r in recordings},
    }
    for name, table in tables.items():
        write_table(directory / name, table)


def report_faults(tar: Path, faults: dict[str, str]) -> None:
    """Say on stderr what is left out, and why."""
    for path, cause in list(faults.items())[:MOST_SHOWN]:
        print(f"{tar}: {path}: {cause}; left out", file=sys.stderr)
    if len(faults) > MOST_SHOWN:
        print(f"{tar}: and {len(faults) - MOST_SHOWN} more", file=sys.stderr)


def get_parser() -> argparse.ArgumentParser:
    """Return the options of the command."""
    parser = argparse.ArgumentParser(
        description="Write data directories of the Mandarin words of audio-cmn.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--tar", type=Path, required=True, help="the recordings")
    parser.add_argument("--out", type=Path, default="data/cmn", help="data directories")
    parser.add_argument("--num-dev", type=int, default=400, help="words")
    parser.add_argument("--num-test", type=int, default=800, help="words")
    parser.add_argument("--seed", type=int, default=0, help="of the split")
    return parser


def main(argv: list[str] | None = None) -> None:
    """Unpack, split and write."""
    args = get_parser().parse_args(argv)
    unpacked = unpack(args.tar, args.out.absolute() / "wav")
    sets = split_words(unpacked.recordings, args.num_dev, args.num_test, args.seed)
    report_faults(args.tar, unpacked.faults)
    for name, recordings in sets.items():
        write_data_dir(args.out / name, recordings)
    counts = ", ".join(f"{name} {len(members)}" for name, members in sets.items())
    print(f"{args.out}: {counts} recordings, {len(unpacked.faults)} files left out")


if __name__ == "__main__":
    sys.exit(run_command(main))
