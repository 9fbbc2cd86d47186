"""Pieces of several sentences whose text ends before the speech does.

A decoder that was trained on single sentences, or on segments of which only a part was
written down, may take the end of the first sentence for the end of the piece: whole
sentences are lost, and the score does not tell (Whisper-base: the end has a probability
of 0.4 to 0.99 then, as anywhere). The length of the text does. Such a piece is parted
at its longest pause, and both parts are decoded.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import batched
from typing import Protocol

import numpy as np

from espnet_smoe.inference.audio import SAMPLE_RATE
from espnet_smoe.inference.long_form.segmentation import Cut
from espnet_smoe.inference.result import Result, join_results

# A second of speech has 3 to 6 tokens: pieces of words, characters or syllables. With
# fewer a piece is decoded in parts; their text is taken if it is so many times longer.
FEW_TOKENS = 2.5
MORE = 1.3


class PieceRecognizer(Protocol):
    """What of `SpeechToText` decodes pieces."""

    lead_seconds: float | None
    tail_seconds: float | None

    def recognize(
        self,
        waves: Sequence[np.ndarray],
        labels: Sequence[str],
        tasks: Sequence[str],
        names: Sequence[str],
    ) -> list[dict[str, Result]]:
        """Decode pieces as they are."""


def recognize_cuts(
    speech_to_text: PieceRecognizer,
    cuts: Sequence[Cut],
    waves: Sequence[np.ndarray],
    labels: Sequence[str],
    tasks: Sequence[str],
    names: Sequence[str],
) -> list[dict[str, Result]]:
    """Decode pieces of recordings, those in parts whose text ends early.

    Args:
        speech_to_text: The model.
        cuts: Where each piece is.
        waves: ``(samples,)`` each, at 16 kHz.
        labels: Bandwidth of each.
        tasks: Names.
        names: Of their recordings, for messages.

    Returns:
        Of each piece, by task; times count from its start.
    """
    found = list(speech_to_text.recognize(waves, labels, tasks, names))
    early = {
        i: halves
        for i, cut in enumerate(cuts)
        if _ends_early(cut, found[i]) and (halves := cut.at_longest_pause())
    }
    if not early:
        return found
    margins = speech_to_text.lead_seconds, speech_to_text.tail_seconds
    parts, heard = [], []
    for i, halves in early.items():
        first = cuts[i].start
        for part in halves:
            own = part.of(waves[i][part.start - first : part.end - first], *margins)
            parts.append(own)
            heard.append(waves[i][own.start - first : own.end - first])
    again = recognize_cuts(
        speech_to_text,
        parts,
        heard,
        [labels[i] for i in early for _ in "ab"],
        tasks,
        [names[i] for i in early for _ in "ab"],
    )
    for i, pair, results in zip(early, batched(parts, 2), batched(again, 2)):
        starts = [(part.start - cuts[i].start) / SAMPLE_RATE for part in pair]
        found[i] = {
            task: _longer(whole, [result[task] for result in results], starts)
            for task, whole in found[i].items()
        }
    return found


def _ends_early(cut: Cut, found: dict[str, Result]) -> bool:
    seconds = (cut.speech.end - cut.speech.start) / SAMPLE_RATE
    # no text at all is no sentence that ended: parts of a noise would be read as words
    counts = [len(result.tokens) for result in found.values() if result.tokens]
    return bool(counts) and min(counts) < FEW_TOKENS * seconds


def _longer(whole: Result, parts: Sequence[Result], starts: Sequence[float]) -> Result:
    most = MORE * len(whole.tokens)
    if not whole.tokens or sum(len(part.tokens) for part in parts) < most:
        return whole
    return replace(join_results(parts, starts), experts=whole.experts)
