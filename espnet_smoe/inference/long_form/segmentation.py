"""A recording in pieces that a model can take, cut in the pauses of the speech."""

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from espnet_smoe.inference.audio import SAMPLE_RATE
from espnet_smoe.inference.long_form.speech_activity import Span, SpeechActivity, onset

LONGEST_SECONDS = 30.0  # where the training does not tell (S-MoE, Section 3.2)
SHORTEST_LONGEST = 1.0  # seconds; less is no piece to recognise
# Parts sentences, though both would fit into one piece: what spans, which are a little
# wider than the speech, leave of 0.3 s.
PAUSE_SECONDS = 0.24
SHORTEST_PAUSE_SECONDS = 0.05  # shorter ones are within words
MARGIN_SECONDS = 0.2  # of pause kept on both sides of a piece
# Pieces overlap where they part speech, so that each word is whole in one of them.
OVERLAP_SECONDS = 1.0
OVERLAP_SHARE = 0.2  # of the longest piece, at most


@dataclass(frozen=True)
class Cut(Span):
    """A piece of a recording.

    Attributes:
        speech: The speech in it; around it are margins.
        in_speech: It begins in the middle of speech that has no pause; it may overlap
            the one before.
        goes_on: It ends in the middle of such speech.
    """

    speech: Span = Span(0, 0)
    in_speech: bool = False
    goes_on: bool = False

    def of(
        self, wave: np.ndarray, lead_seconds: float | None, tail_seconds: float | None
    ) -> "Cut":
        """The same piece with margins as there were in training.

        Args:
            wave: ``(samples,)`` of this piece.
            lead_seconds: Before the speech; None leaves the margin as it is.
            tail_seconds: Behind it.
        """
        start, end = self.start, self.end
        within = self.speech.start > start and not self.in_speech
        if lead_seconds is not None and within:
            begins = start + onset(wave, self.speech.start - start)
            start = max(start, begins - int(lead_seconds * SAMPLE_RATE))
        if tail_seconds is not None and not self.goes_on:
            tail = max(tail_seconds, SHORTEST_PAUSE_SECONDS)
            end = min(end, self.speech.end + int(tail * SAMPLE_RATE))
        return replace(self, start=start, end=end)


def cut_at_pauses(
    activity: SpeechActivity,
    longest_seconds: float = LONGEST_SECONDS,
    overlap_seconds: float = OVERLAP_SECONDS,
) -> list[Cut]:
    """Cut a recording into pieces of speech.

    Args:
        activity: Of the whole recording.
        longest_seconds: Longest piece.
        overlap_seconds: Of pieces that part speech without a pause.

    Returns:
        Pieces in their order. All speech is in one of them; what is between them is
        pause or noise. They overlap where they part speech without a pause.

    Raises:
        ValueError: The longest piece is shorter than a second.

    Example:
        >>> cut_at_pauses(SpeechActivity())
        []
    """
    check_longest(longest_seconds)
    longest = int(longest_seconds * SAMPLE_RATE)
    overlap = int(min(overlap_seconds, OVERLAP_SHARE * longest_seconds) * SAMPLE_RATE)
    pieces: list[Cut] = []
    for sentence in _parted(activity.spans(), int(PAUSE_SECONDS * SAMPLE_RATE)):
        for together in _at_longest_pauses(sentence, longest):
            pieces += _overlapping(
                activity, together[0].start, together[-1].end, longest, overlap // 2
            )
    return _with_margins(pieces, activity.samples, longest)


def check_longest(seconds: float) -> None:
    """Refuse pieces too short to be recognised."""
    if not seconds >= SHORTEST_LONGEST:
        raise ValueError(
            f"the longest piece must be at least {SHORTEST_LONGEST:g} s, got {seconds}"
        )


def _parted(spans: Sequence[Span], pause: int) -> list[list[Span]]:
    """Spans with shorter pauses between them together."""
    groups: list[list[Span]] = []
    for span in spans:
        if groups and span.start - groups[-1][-1].end < pause:
            groups[-1].append(span)
        else:
            groups.append([span])
    return groups


def _at_longest_pauses(spans: list[Span], longest: int) -> list[list[Span]]:
    """Close the pauses, the shortest first, wherever what they part fits together."""
    borders = list(range(len(spans) + 1))  # of groups; all but the ends are pauses
    pauses = [after.start - before.end for before, after in zip(spans, spans[1:])]
    for i in sorted(range(1, len(spans)), key=lambda i: pauses[i - 1]):
        here = bisect_left(borders, i)
        first, behind = borders[here - 1], borders[here + 1]
        within_word = pauses[i - 1] < SHORTEST_PAUSE_SECONDS * SAMPLE_RATE
        if within_word or spans[behind - 1].end - spans[first].start <= longest:
            del borders[here]
    return [spans[a:b] for a, b in zip(borders, borders[1:])]


def cut_in_parts(
    activity: SpeechActivity, start: int, end: int, longest_seconds: float
) -> list[Cut]:
    """Cut a stretch where it is quietest, speech or not.

    Args:
        activity: Of the whole recording.
        start: First sample.
        end: Sample behind the last.
        longest_seconds: Longest piece.
    """
    check_longest(longest_seconds)
    return _in_parts(activity, start, end, int(longest_seconds * SAMPLE_RATE))


def _in_parts(
    activity: SpeechActivity, start: int, end: int, longest: int
) -> list[Cut]:
    """Speech without a pause in parts of about one length, cut where it is quietest."""
    parts = []
    while end - start > longest:
        count = math.ceil((end - start) / longest)
        ideal = (end - start) / count
        first = max(start + int(0.7 * ideal), end - (count - 1) * longest)
        last = min(start + int(1.3 * ideal), start + longest)
        cut = min(max(activity.quietest(first, last), first), last)
        parts.append(Cut(start, cut, Span(start, cut), bool(parts)))
        start = cut
    return [*parts, Cut(start, end, Span(start, end), bool(parts))]


def _overlapping(
    activity: SpeechActivity, start: int, end: int, longest: int, half: int
) -> list[Cut]:
    """The same, each part with so much of its neighbors."""
    if end - start <= longest:
        return [Cut(start, end, Span(start, end))]
    parts = _in_parts(activity, start, end, longest - 2 * half)
    wide = []
    for part in parts:
        first = part.start - half * (part.start > start)
        last = part.end + half * (part.end < end)
        wide.append(Cut(first, last, part.speech, part.start > start, part.end < end))
    return wide


def _with_margins(pieces: Sequence[Cut], samples: int, longest: int) -> list[Cut]:
    """Each piece with some of the pauses around it, at most half of each."""
    margin = int(MARGIN_SECONDS * SAMPLE_RATE)
    borders = [0, *(x for p in pieces for x in (p.start, p.end)), samples]
    wide = []
    for i, piece in enumerate(pieces):
        spare = (longest - (piece.end - piece.start)) // 2
        before, after = piece.start - borders[2 * i], borders[2 * i + 3] - piece.end
        before = max(0, before if i == 0 else before // 2)
        after = max(0, after if i == len(pieces) - 1 else after // 2)
        start = piece.start - min(margin, spare, before)
        end = piece.end + min(margin, spare, after)
        wide.append(replace(piece, start=start, end=end))
    return wide
