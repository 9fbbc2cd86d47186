"""Texts in blocks that a person can read: two lines of 42 characters, 7 seconds.

The limits are those of broadcasters' guidelines for subtitles; a character of Chinese,
Japanese or Korean is twice as wide.
"""

import math
import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from espnet_smoe.inference.output.words import Word
from espnet_smoe.inference.result import Piece, Result

LINE_WIDTH = 42
LINES = 2
LONGEST_SECONDS = 7.0
SHORTEST_SECONDS = 1.0  # that a block is shown, and that it takes to read a full line
LINGER_SECONDS = 0.5  # that it stays behind its last word
GAP_SECONDS = 1.0  # shorter ones between blocks are closed
WIDE = 0x1100  # the first characters that are
CLOSING, OPENING = ("Pe", "Pf", "Po"), ("Ps", "Pi")  # categories of marks
NO_WIDTH = ("Mn", "Me", "Cf")  # marks on or in another character, and what joins them


@dataclass(frozen=True)
class Block:
    """What is shown together.

    Attributes:
        start: Seconds of the recording.
        end: Seconds of the recording.
        lines: Of text.
    """

    start: float
    end: float
    lines: tuple[str, ...]


def blocks_of(pieces: Sequence[Piece]) -> Iterator[Block]:
    """The subtitles of a recording, none before the one above it has gone.

    Of several tasks each has a line of its own in every block.

    Args:
        pieces: Of the recording.
    """
    said = [
        (piece, blocks)
        for piece in sorted(pieces, key=lambda piece: piece.start)
        if (blocks := list(_said(piece)))
    ]
    begins = [piece.start for piece, _ in said[1:]] + [math.inf]
    free = 0.0  # a recording has no time before
    for (piece, blocks), following in zip(said, begins):
        for block in _shown(blocks, piece, free, following):
            yield block
            free = block.end


def _said(piece: Piece) -> Iterator[Block]:
    """The blocks of a piece, from the first word of each to its last."""
    results = [result for result in piece.results.values() if result.text]
    if not results:
        return
    rows = LINES if len(results) == 1 else 1
    seconds = piece.end - piece.start
    count = max(1, -(-int(seconds * 1000) // int(LONGEST_SECONDS * 1000)))
    clock = next((r for r in results if r.words), results[0])
    most = 2 * count  # with more of them, who speaks slowly gets a block a word
    while True:
        texts = [split_text(r.text, count, rows) for r in results]
        if None not in texts:
            spoken = _times(piece, clock, texts[results.index(clock)])
            short = all(end - start <= LONGEST_SECONDS for start, end in spoken)
            if short or count >= most:
                break
        count += 1
    for i, (start, end) in enumerate(spoken):
        lines = [line for parts in texts for line in wrapped(parts[i])]
        if lines:
            yield Block(start, end, tuple(lines))


def _shown(
    said: Sequence[Block], piece: Piece, free: float, following: float
) -> Iterator[Block]:
    """The blocks of a piece as long as they are shown: that they can be read.

    They begin with their words, but where these leave no time to read, as where all
    have the same time, a block begins earlier or later.

    Args:
        said: From `_said`.
        piece: Theirs.
        free: When the last block of the pieces before is gone.
        following: When the next piece begins.
    """
    first = max(free, piece.start)
    reading = [_reading_seconds(block.lines) for block in said]
    room = max(0.0, following - first) / sum(reading)
    reading = [max(SHORTEST_SECONDS, min(1.0, room) * time) for time in reading]
    limit, left = min(piece.end, following), sum(reading)
    begins = [first]
    for block, time in zip(said, reading):
        begins[-1] = max(begins[-1], min(block.start, limit - left))
        begins.append(begins[-1] + time)
        left -= time
    begins[-1] = max(begins[-1], limit)
    for block, time, start, next_one in zip(said, reading, begins, begins[1:]):
        end = max(block.end + LINGER_SECONDS, start + time)
        if next_one - end < GAP_SECONDS:
            end = next_one
        yield Block(start, min(end, next_one, start + LONGEST_SECONDS), block.lines)


def _reading_seconds(lines: Sequence[str]) -> float:
    """How long it takes to read a block: of full lines `SHORTEST_SECONDS` each."""
    return SHORTEST_SECONDS * max(1.0, sum(map(width_of, lines)) / LINE_WIDTH)


def _times(
    piece: Piece, result: Result, parts: Sequence[str]
) -> list[tuple[float, float]]:
    """When each part is said: by its words, or else by its share of the text."""
    if result.words:
        return _times_of_words(piece, result.words, parts)
    whole = sum(map(width_of, parts)) or 1
    shares, times = 0, [piece.start]
    for part in parts:
        shares += width_of(part)
        times.append(piece.start + (piece.end - piece.start) * shares / whole)
    return list(zip(times, times[1:]))


def _times_of_words(
    piece: Piece, words: Sequence[Word], parts: Sequence[str]
) -> list[tuple[float, float]]:
    """From the first word of each part to its last; of an empty one, its place."""
    # how many letters there are by the end of each word
    ends = list(accumulate(len(word.text) for word in words))

    def time_of(number: int, letters: int) -> float:
        """When so many letters have been said, within a word by its share."""
        number = min(number, len(words) - 1)
        word = words[number]
        left = max(0, ends[number] - letters) / len(word.text)
        return piece.start + word.end - left * (word.end - word.start)

    times, letters, last = [], 0, piece.start
    for part in parts:
        begin = letters
        letters += len("".join(part.split()))
        start = last
        if letters > begin:
            first, end = bisect_right(ends, begin), bisect_left(ends, letters)
            start = max(last, min(time_of(first, begin), piece.end))
            last = max(start, min(time_of(end, letters), piece.end))
        times.append((start, last))
    return times


def split_text(text: str, count: int, rows: int) -> list[str] | None:
    """A text in parts of about the same width, each of which fits into its lines.

    Args:
        text: On one line.
        count: Of parts; the last ones are empty where the text has too few words.
        rows: Lines of a part.

    Returns:
        None where so many parts do not hold it.
    """
    widest = rows * (LINE_WIDTH + 1)  # with the space between two lines
    limits = range(max(1, -(-width_of(text) // count)), widest + 1)
    words = list(_words(text)) if limits else []
    # the wider the parts, the fewer they are
    few = bisect_left(limits, True, key=lambda n: len(_filled(words, n)) <= count)
    if few == len(limits):  # none of them
        return None
    parts = _filled(words, limits[few])
    if any(len(_filled(list(_words(part)), LINE_WIDTH)) > rows for part in parts):
        return None
    return parts + [""] * (count - len(parts))


def wrapped(text: str) -> list[str]:
    """Lines no wider than `LINE_WIDTH`; the upper one is no longer than it has to be.

    Example:
        >>> wrapped("aaaa " * 10)
        ['aaaa aaaa aaaa aaaa aaaa', 'aaaa aaaa aaaa aaaa aaaa']
    """
    words = list(_words(text))
    rows = _filled(words, LINE_WIDTH)
    for width in range(-(-width_of(text) // max(1, len(rows))), LINE_WIDTH):
        even = _filled(words, width)
        if len(even) <= len(rows) and all(width_of(r) <= LINE_WIDTH for r in even):
            return even
    return rows


def _filled(words: Sequence[str], width: int) -> list[str]:
    """Rows of that width, each as full as can be; a wider word has one of its own."""
    rows: list[list[str]] = []
    used = 0
    for word in words:
        more = width_of(word)
        if rows and used + more <= width:
            rows[-1].append(word)
            used += more
        else:
            rows.append([word.lstrip()])
            used = width_of(rows[-1][0])
    return ["".join(row) for row in rows]


def _words(text: str) -> Iterator[str]:
    """Pieces between which a line may end, each with the space before it.

    Those are words, the characters of scripts without spaces, and parts of words that
    fill a line.
    """
    for number, word in enumerate(text.split()):
        space = " " if number else ""
        for part in _parts_of_word(word):
            yield space + part
            space = ""


def _parts_of_word(word: str) -> Iterator[str]:
    if width_of(word) <= LINE_WIDTH // 2:
        yield word
        return
    part, used = "", 0
    for character in word:
        more = width_of(character)
        if part and (_may_part(part[-1], character) or used + more > LINE_WIDTH):
            yield part
            part, used = "", 0
        part += character
        used += more
    yield part


def _may_part(before: str, after: str) -> bool:
    """Whether a line may end between two characters without a space between them.

    Between those of scripts without spaces, but no line begins with a mark that closes,
    or ends with one that opens.
    """
    closes = unicodedata.category(after) in CLOSING
    opens = unicodedata.category(before) in OPENING
    return width_of(after) == 2 and not closes and not opens


def width_of(text: str) -> int:
    """Columns that a text fills.

    Example:
        >>> width_of("abc"), width_of("가나다")
        (3, 6)
    """
    return sum(
        0
        if unicodedata.category(c) in NO_WIDTH
        else 1 + (ord(c) >= WIDE and unicodedata.east_asian_width(c) in "WF")
        for c in text
    )
