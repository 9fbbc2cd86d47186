"""Two pieces that overlap, where speech had no pause to cut in, become neighbors.

What both have read is kept once. Their words in the overlap are aligned: behind the
longest run of words that both have, the later piece goes on. A word that a cut has torn
stands at the end of the earlier piece or at the beginning of the later one, outside of
that run, and is dropped.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from difflib import SequenceMatcher

from espnet_smoe.inference.confidence import confidence_of_tokens
from espnet_smoe.inference.output.words import token_ranges
from espnet_smoe.inference.result import Piece, Result

Join = Callable[[Sequence[str]], str]
APART = 0.4  # seconds between the times that two pieces give a word
MORE_WORDS = 2  # of a text without times may be in the overlap than its share is


def without_overlaps(pieces: Iterable[Piece], join: Join) -> Iterator[Piece]:
    """Pieces of a recording in their order, what overlaps merged.

    Args:
        pieces: One overlaps the next, or does not.
        join: Tokens to text.
    """
    held = None
    for piece in pieces:
        if held is not None:
            held, piece = neighbors(held, piece, join)
            yield held
        held = piece
    if held is not None:
        yield held


def neighbors(left: Piece, right: Piece, join: Join) -> tuple[Piece, Piece]:
    """Two pieces without what the other one has; the same where they do not overlap."""
    if left.end <= right.start:
        return left, right
    middle = (left.end + right.start) / 2
    lefts, rights = {}, {}
    for task in left.results:
        pair = _Side(left, task, join), _Side(right, task, join)
        keep, skip = _seam(*pair, middle)
        lefts[task] = pair[0].part(0, keep)
        rest = pair[1].part(skip, len(pair[1].words))
        rights[task] = rest.shifted(right.start - middle)
    return (
        replace(left, end=middle, results=lefts),
        replace(right, start=middle, results=rights),
    )


class _Side:
    """The words of one piece.

    Attributes:
        words: Each with its first token and the one behind its last.
        times: Start and end of each in the recording; empty where nobody knows.
    """

    def __init__(self, piece: Piece, task: str, join: Join):
        self.piece, self.join = piece, join
        self.result = piece.results[task]
        self.words = token_ranges(self.result.tokens, join)
        own = [(w.start, w.end) for w in self.result.words]
        known = own if len(own) == len(self.words) else []
        self.times = [(piece.start + a, piece.start + b) for a, b in known]

    def count_within(self, seconds: float) -> int:
        """How many words may be in an overlap of so many seconds."""
        share = seconds / (self.piece.end - self.piece.start)
        return min(len(self.words), math.ceil(share * len(self.words)) + MORE_WORDS)

    def part(self, first: int, last: int) -> Result:
        """The result with some of its words."""
        found, count = self.result, len(self.words)
        if (first, last) == (0, count):
            return found
        begin = self.words[first][1] if first < last else 0
        end = self.words[last - 1][2] if first < last else 0
        tokens, timed = found.tokens[begin:end], found.timed[begin:end]
        text = self.join(tokens)
        sure = confidence_of_tokens(timed) if timed else found.confidence
        return replace(
            found,
            text=text,
            tokens=tokens,
            nbest=((text, found.score),),
            timed=timed,
            words=found.words[first:last],
            confidence=sure if text else None,
        )


def _seam(left: _Side, right: _Side, middle: float) -> tuple[int, int]:
    """How many words of the earlier piece stay, and how many of the later one go."""
    if not left.words or not right.words:
        return len(left.words), 0
    overlap = left.piece.end - right.piece.start
    tail = len(left.words) - left.count_within(overlap)
    head = right.count_within(overlap)
    if left.times and right.times:
        from_, to = right.piece.start - APART, left.piece.end + APART
        tail = sum(end <= from_ for _, end in left.times)
        head = sum(start < to for start, _ in right.times)
    ours = [word for word, _, _ in left.words[tail:]]
    theirs = [word for word, _, _ in right.words[:head]]
    for a, b, size in _common_runs(ours, theirs):
        if not (left.times and right.times) or all(
            abs(left.times[tail + a + i][0] - right.times[b + i][0]) < APART
            for i in range(size)
        ):
            return tail + a + size, b + size
    if left.times and right.times:
        return (
            sum(sum(times) / 2 < middle for times in left.times),
            sum(sum(times) / 2 < middle for times in right.times),
        )
    half = overlap / 2  # words are about as long as each other
    return (
        round(len(left.words) * (1 - half / (left.piece.end - left.piece.start))),
        round(len(right.words) * half / (right.piece.end - right.piece.start)),
    )


def _common_runs(
    ours: Sequence[str], theirs: Sequence[str]
) -> list[tuple[int, int, int]]:
    """Runs of the same words, the longest first: starts in both, and how many."""
    matcher = SequenceMatcher(None, ours, theirs, autojunk=False)
    runs = [tuple(block) for block in matcher.get_matching_blocks() if block.size]
    return sorted(runs, key=lambda run: -run[2])
