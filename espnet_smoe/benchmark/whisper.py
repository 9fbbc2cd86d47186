"""``espnet-smoe benchmark whisper``: an imported Whisper beside faster-whisper.

The same weights, recordings, beam and threads: ``--model`` is what ``espnet-smoe import
whisper`` made of the CTranslate2 folder ``--weights``. Recordings of one folder, one
after another, as a user of either would give them. It needs ``pip install
faster-whisper``.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

from espnet_smoe.benchmark.comparison import Comparison, option, quick
from espnet_smoe.benchmark.measure import Sides
from espnet_smoe.data.speech.audio import read_listed, resample

ROUNDS = 5
THEIRS, OURS = "faster-whisper", "espnet-smoe"
TASKS = {"asr": "transcribe", "st": "translate"}  # ours -> Whisper's
PRECISIONS = "float32", "int8"
ENDINGS = {".wav", ".flac", ".mp3", ".ogg", ".opus"}


@dataclass(frozen=True)
class Sizes:
    """The model, and what it hears."""

    model: str = option("", "experiment of an import")
    weights: str = option("", "CTranslate2 folder of it")
    audio: str = option("", "folder of recordings")
    language: str = option("ko", "that is spoken")
    recordings: int = option(12, "the first of the folder", quick=1)
    beam: int = option(5, "hypotheses kept", quick=1)
    precision: str = option("float32", f"of both: {' or '.join(PRECISIONS)}")


QUICK = quick(Sizes)


def comparisons(sizes: Sizes) -> list[Comparison]:
    """A transcript alone; transcript and translation of the same recordings.

    Raises:
        ValueError: A folder is not given or not there, or no such precision.
    """
    if sizes.precision not in PRECISIONS:
        known = ", ".join(PRECISIONS)
        raise ValueError(f"--precision {sizes.precision}: write one of {known}")
    for name in ("model", "weights", "audio"):
        if not Path(getattr(sizes, name) or "-").is_dir():
            raise ValueError(f"--{name}: no such folder: {getattr(sizes, name)!r}")
    if find_spec("faster_whisper") is None:
        raise ValueError("faster-whisper is not installed: pip install faster-whisper")
    if not _paths(sizes):
        raise ValueError(f"{sizes.audio}: no recording ({' '.join(sorted(ENDINGS))})")
    return [
        Comparison(
            f"Whisper, {name}, beam {sizes.beam}, {sizes.precision}",
            partial(sides_of, sizes, tasks),
            THEIRS,
            {OURS: goal},
            check=partial(same_texts, sizes),
        )
        for name, tasks, goal in (
            ("a transcript", ("asr",), 1.0),
            ("transcript and translation", ("asr", "st"), 1 / 1.6),
        )
    ]


def sides_of(sizes: Sizes, tasks: tuple[str, ...]) -> Sides:
    """Both programs; each returns the texts, task by task.

    Args:
        sizes: What is decoded.
        tasks: That are asked for.
    """
    from faster_whisper import WhisperModel

    from espnet_smoe.inference.speech_to_text import SpeechToText

    waves = _waves(sizes)
    int8 = sizes.precision == "int8"
    given = {"beam_size": sizes.beam, "detect_speech": False, "int8": int8}
    ours = SpeechToText.load(sizes.model, **given)
    theirs = WhisperModel(
        sizes.weights,
        device="cpu",
        compute_type=sizes.precision,
        cpu_threads=torch.get_num_threads(),
    )
    return {
        THEIRS: partial(_transcribe, theirs, waves, tasks, sizes),
        OURS: partial(_ours, ours, waves, tasks),
    }


def same_texts(sizes: Sizes, results: Mapping[str, list[str]]) -> str:
    """How many texts are the same, letter by letter."""
    pairs = list(zip(*results.values(), strict=True))
    seconds = sum(len(wave) for wave in _waves(sizes)) / 16000
    return (
        f"{sum(a == b for a, b in pairs)} of {len(pairs)} texts the same, "
        f"{seconds:.0f} s of speech"
    )


def _transcribe(
    model: Callable, waves: list[np.ndarray], tasks: tuple[str, ...], sizes: Sizes
) -> list[str]:
    texts = []
    for task in tasks:
        for wave in waves:
            segments, _ = model.transcribe(
                wave,
                language=sizes.language,
                task=TASKS[task],
                beam_size=sizes.beam,
                temperature=0.0,
                without_timestamps=True,
                condition_on_previous_text=False,
            )
            texts.append(" ".join(segment.text.strip() for segment in segments))
    return texts


def _ours(
    model: Callable, waves: list[np.ndarray], tasks: tuple[str, ...]
) -> list[str]:
    results = [model([wave], tasks)[0] for wave in waves]
    return [result[task].text for task in tasks for result in results]


def _paths(sizes: Sizes) -> list[Path]:
    found = sorted(p for p in Path(sizes.audio).iterdir() if p.suffix in ENDINGS)
    return found[: sizes.recordings]


def _waves(sizes: Sizes) -> list[np.ndarray]:
    return [resample(*read_listed(str(path))) for path in _paths(sizes)]
