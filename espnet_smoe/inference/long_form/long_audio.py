"""Recordings of any length: in pieces through the model, and joined again."""

import logging
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from espnet_smoe.inference.audio import SAMPLE_RATE
from espnet_smoe.inference.long_form.detectors import Detector, new_activity
from espnet_smoe.inference.long_form.early_ends import PieceRecognizer, recognize_cuts
from espnet_smoe.inference.long_form.seams import Join, without_overlaps
from espnet_smoe.inference.long_form.segmentation import (
    OVERLAP_SECONDS,
    Cut,
    cut_at_pauses,
    cut_in_parts,
)
from espnet_smoe.inference.long_form.speech_activity import SpeechActivity
from espnet_smoe.inference.result import Piece


class Recognizer(PieceRecognizer, Protocol):
    """What of `SpeechToText` is needed here."""

    longest_seconds: float
    longest_utterance: float
    detect_speech: bool
    vad: Detector
    join: Join

    def tells_times(self, tasks: Sequence[str]) -> bool:
        """Whether words of all these tasks have times."""


def decode_long(
    speech_to_text: Recognizer,
    waves: Sequence[np.ndarray],
    tasks: Sequence[str],
    bandwidths: Sequence[str],
    names: Sequence[str],
    utterances: bool = False,
) -> list[list[Piece]]:
    """Decode recordings of any length, cut in their pauses.

    Args:
        speech_to_text: The model.
        waves: ``(samples,)`` each, at 16 kHz.
        tasks: Names.
        bandwidths: One for each.
        names: Of the recordings, for messages.
        utterances: They have been cut already: only those that are longer than
            ``longest_utterance`` are cut again.

    Returns:
        Of each recording its pieces; none where nobody speaks.
    """
    cuts = [
        pieces_of(speech_to_text, wave, tasks, name, utterances)
        for wave, name in zip(waves, names)
    ]
    found = iter(
        recognize_cuts(
            speech_to_text,
            [c for cut in cuts for c in cut],
            [wave[c.start : c.end] for wave, cut in zip(waves, cuts) for c in cut],
            [label for label, cut in zip(bandwidths, cuts) for _ in cut],
            tasks,
            [name for name, cut in zip(names, cuts) for _ in cut],
        )
    )
    pieces = [
        [Piece(c.start / SAMPLE_RATE, c.end / SAMPLE_RATE, next(found)) for c in cut]
        for cut in cuts
    ]
    return [list(without_overlaps(cut, speech_to_text.join)) for cut in pieces]


def pieces_of(
    speech_to_text: Recognizer,
    wave: np.ndarray,
    tasks: Sequence[str],
    name: str,
    utterance: bool = False,
) -> list[Cut]:
    """What of a wave ``(samples,)`` at 16 kHz to decode, piece by piece."""
    activity = new_activity(speech_to_text.vad)
    activity.accept(wave)
    if utterance and len(wave) <= speech_to_text.longest_utterance * SAMPLE_RATE:
        if not speech_to_text.detect_speech or activity.spans():
            return [Cut(0, len(wave))]
        return _nobody_speaks(name)
    cuts = cuts_of(speech_to_text, activity, tasks, name)
    margins = speech_to_text.lead_seconds, speech_to_text.tail_seconds
    return [cut.of(wave[cut.start : cut.end], *margins) for cut in cuts]


def cuts_of(
    speech_to_text: Recognizer,
    activity: SpeechActivity,
    tasks: Sequence[str],
    name: str,
) -> list[Cut]:
    """What of a recording to decode, piece by piece; a warning where it has no pause.

    Args:
        speech_to_text: Knows the longest piece, and whether silence is left out.
        activity: Of the whole recording.
        tasks: Names. Pieces overlap only where all of them have times of words:
            without, what both pieces have is not found well enough.
        name: Of the recording.
    """
    longest = speech_to_text.longest_seconds
    overlap = OVERLAP_SECONDS if speech_to_text.tells_times(tasks) else 0.0
    cuts = cut_at_pauses(activity, longest, overlap)
    if not cuts and not speech_to_text.detect_speech:
        cuts = cut_in_parts(activity, 0, activity.samples, longest)
    if not cuts:
        return _nobody_speaks(name)
    without = [cut for cut in cuts if cut.in_speech]
    if without:
        logging.warning(
            "%s: at %s s speech goes on for more than %.1f s without a pause, longer "
            "than any in training, and was cut where it is quietest; words there may "
            "be wrong",
            name,
            ", ".join(f"{c.start / SAMPLE_RATE:.1f}" for c in without[:5])
            + (f" and {len(without) - 5} more" if len(without) > 5 else ""),
            longest,
        )
    return cuts


def _nobody_speaks(name: str) -> list[Cut]:
    logging.info("%s: nobody speaks", name)
    return []


def joined(task: str, pieces: Sequence[Piece]) -> str:
    """The text of a task over all pieces."""
    texts = (piece.results[task].text for piece in pieces)
    return " ".join(text for text in texts if text)
