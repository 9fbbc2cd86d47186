"""Recordings of any length: in pieces through the model, and joined again."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from espnet_smoe.inference.audio import SAMPLE_RATE
from espnet_smoe.inference.speech_to_text import Result, SpeechToText
from espnet_smoe.inference.split import split_audio


@dataclass(frozen=True)
class Piece:
    """A stretch of a recording and what was found in it.

    Attributes:
        start: Seconds.
        end: Seconds.
        results: By task.
    """

    start: float
    end: float
    results: dict[str, Result]


def decode_long(
    speech_to_text: SpeechToText,
    waves: Sequence[np.ndarray],
    tasks: Sequence[str],
    bandwidths: Sequence[str],
    names: Sequence[str],
) -> list[list[Piece]]:
    """Decode recordings; those over 30 s are cut where they are quietest.

    Args:
        speech_to_text: The model.
        waves: ``(samples,)`` each, at 16 kHz.
        tasks: Names.
        bandwidths: One for each.
        names: Of the recordings, for error messages.

    Returns:
        Of each recording its pieces.
    """
    spans = [split_audio(wave) for wave in waves]
    found = iter(
        speech_to_text(
            [wave[a:b] for wave, cuts in zip(waves, spans) for a, b in cuts],
            tasks,
            [label for label, cuts in zip(bandwidths, spans) for _ in cuts],
            names=[name for name, cuts in zip(names, spans) for _ in cuts],
        )
    )
    return [
        [Piece(a / SAMPLE_RATE, b / SAMPLE_RATE, next(found)) for a, b in cuts]
        for cuts in spans
    ]


def joined(task: str, pieces: Sequence[Piece]) -> str:
    """The text of a task over all pieces."""
    texts = (piece.results[task].text for piece in pieces)
    return " ".join(text for text in texts if text)
