"""A recording in pieces that a model can take, cut in the pauses of the speech."""

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from espnet_smoe.inference.audio import SAMPLE_RATE
from espnet_smoe.inference.long_form.speech_activity import Span, SpeechActivity, onset

LONGEST_SECONDS = 30.0  # where the training does not tell (S-MoE, Section 3.2)
SHORTEST_LONGEST = 1.0  # seconds; less is no piece to recognise
# Between sentences: what spans, a little wider than the speech, leave of 0.3 s.
PAUSE_SECONDS = 0.24
PAUSE_SHARE = 0.5  # of the longest piece, at most, holds such a pause
# The longest piece that keeps a pause, times the pause, in seconds squared. A sentence
# torn at its commas is read worse; of several, a model may read the first alone.
KEPT_PAUSE = 2.4
SHORTEST_PAUSE_SECONDS = 0.05  # shorter ones are within words
SHORTEST_PART_SECONDS = 0.75  # of speech; less is read as something else
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
        sentences: Speech between its longer pauses.
    """

    speech: Span = Span(0, 0)
    in_speech: bool = False
    goes_on: bool = False
    sentences: tuple[Span, ...] = ()

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

    def at_longest_pause(self) -> "tuple[Cut, ...]":
        """The same in two pieces; none where no pause leaves enough on both sides."""
        least = int(SHORTEST_PART_SECONDS * SAMPLE_RATE)
        pauses = {
            number: after.start - before.end
            for number, (before, after) in enumerate(pairwise(self.sentences), 1)
            if before.end - self.speech.start >= least
            and self.speech.end - after.start >= least
        }
        if not pauses:
            return ()
        count = max(pauses, key=pauses.__getitem__)
        before, after = self.sentences[count - 1 : count + 1]
        margin = min(int(MARGIN_SECONDS * SAMPLE_RATE), pauses[count] // 2)
        first = replace(
            self,
            end=before.end + margin,
            speech=Span(self.speech.start, before.end),
            goes_on=False,
            sentences=self.sentences[:count],
        )
        second = replace(
            self,
            start=after.start - margin,
            speech=Span(after.start, self.speech.end),
            in_speech=False,
            sentences=self.sentences[count:],
        )
        return first, second


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
    for together in _grouped(activity.spans(), longest_seconds):
        start, end = together[0].start, together[-1].end
        if end - start > longest:
            pieces += _overlapping(activity, start, end, longest, overlap // 2)
        else:
            pieces.append(
                Cut(start, end, Span(start, end), sentences=_parted(together))
            )
    return _with_margins(pieces, activity.samples, longest)


def check_longest(seconds: float) -> None:
    """Refuse pieces too short to be recognised."""
    if not seconds >= SHORTEST_LONGEST:
        raise ValueError(
            f"the longest piece must be at least {SHORTEST_LONGEST:g} s, got {seconds}"
        )


def _grouped(spans: Sequence[Span], longest_seconds: float) -> list[list[Span]]:
    """Close the pauses, the shortest first, wherever a piece may keep them."""
    borders = list(range(len(spans) + 1))  # of groups; all but the ends are pauses
    pauses = [(b.start - a.end) / SAMPLE_RATE for a, b in pairwise(spans)]
    for i in sorted(range(1, len(spans)), key=lambda i: pauses[i - 1]):
        here = bisect_left(borders, i)
        first, behind = spans[borders[here - 1]], spans[borders[here + 1] - 1]
        seconds = (behind.end - first.start) / SAMPLE_RATE
        if seconds <= _longest_with(pauses[i - 1], longest_seconds):
            del borders[here]
    return [list(spans[a:b]) for a, b in zip(borders, borders[1:])]


def _parted(spans: Sequence[Span]) -> tuple[Span, ...]:
    """Speech between the pauses that may be between sentences."""
    borders = [
        number
        for number, (before, after) in enumerate(pairwise(spans), 1)
        if after.start - before.end >= PAUSE_SECONDS * SAMPLE_RATE
    ]
    return tuple(
        Span(spans[a].start, spans[b - 1].end)
        for a, b in pairwise([0, *borders, len(spans)])
    )


def _longest_with(pause: float, longest: float) -> float:
    """Seconds of the longest piece that keeps a pause of so many seconds."""
    if pause < SHORTEST_PAUSE_SECONDS:
        return math.inf
    share = 1.0 if pause < PAUSE_SECONDS else PAUSE_SHARE
    return min(share * longest, KEPT_PAUSE / pause)


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
