"""``espnet-smoe benchmark codec``: utterances a second and core through a condition.

A coded utterance costs two starts of FFmpeg, to encode and to decode; these are the
side that the others are compared with.
"""

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from espnet_smoe.benchmark.comparison import Comparison, option, quick
from espnet_smoe.benchmark.measure import Sides
from espnet_smoe.data.speech.codec import CONDITIONS, WIDE_RATE, ffmpeg_path

ROUNDS = 21
STARTS = "two starts of FFmpeg, no audio"


@dataclass(frozen=True)
class Sizes:
    """What passes."""

    seconds: int = option(5, "length of the utterance, s", quick=1)


QUICK = quick(Sizes)


def comparisons(sizes: Sizes) -> list[Comparison]:
    """Every condition in its usual mode, one process at a time."""
    return [
        Comparison(
            name=f"an utterance of {sizes.seconds} s",
            build=partial(conditions_of, sizes),
            baseline=STARTS,
            check=partial(lengths, sizes),
            items=1,
            unit="utterances",
        )
    ]


def conditions_of(sizes: Sizes) -> Sides:
    """A side a condition; each returns what comes out, ``(samples,)``."""
    noise = np.random.default_rng(0).normal(0, 0.1, sizes.seconds * WIDE_RATE)
    sides = {name: partial(kind(), noise) for name, kind in CONDITIONS.items()}
    return {STARTS: start_twice, **sides}


def start_twice() -> None:
    """Start FFmpeg and let it end, twice."""
    for _ in range(2):
        subprocess.run([ffmpeg_path(), "-version"], capture_output=True, check=True)


def lengths(sizes: Sizes, results: Mapping[str, np.ndarray | None]) -> str:
    """Whether each condition kept the length, and how to read the rate."""
    kept = [
        len(r) == sizes.seconds * WIDE_RATE for r in results.values() if r is not None
    ]
    return (
        f"{sum(kept)} of {len(kept)} conditions kept the length; "
        f"1 utterance/s is {sizes.seconds} times real time"
    )
