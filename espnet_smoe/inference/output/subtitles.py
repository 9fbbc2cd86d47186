"""Texts in blocks that a person can read: two lines of 42 characters, 7 seconds.

The limits are those of broadcasters' guidelines for subtitles; a character of Chinese,
Japanese or Korean is twice as wide.
"""

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from espnet_smoe.inference.long_form.long_audio import Piece
from espnet_smoe.inference.result import Result

LINE_WIDTH = 42
LINES = 2
LONGEST_SECONDS = 7.0
WIDE = 0x1100  # the first characters that are


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
    """The subtitles of a recording.

    Of several tasks each has a line of its own in every block.

    Args:
        pieces: Of the recording.
    """
    for piece in pieces:
        results = [result for result in piece.results.values() if result.text]
        if results:
            yield from _blocks_of_piece(piece, results)


def _blocks_of_piece(piece: Piece, results: Sequence[Result]) -> Iterator[Block]:
    rows = LINES if len(results) == 1 else 1
    seconds = piece.end - piece.start
    count = max(1, -(-int(seconds * 1000) // int(LONGEST_SECONDS * 1000)))
    while None in (texts := [split_text(r.text, count, rows) for r in results]):
        count += 1
    clock = next((r for r in results if r.timed), results[0])
    times = _times(piece, clock, texts[results.index(clock)])
    for i, (start, end) in enumerate(zip(times, times[1:])):
        lines = [line for parts in texts for line in wrapped(parts[i])]
        if lines:
            yield from _not_too_long(Block(start, end, tuple(lines)))


def _not_too_long(block: Block) -> Iterator[Block]:
    """A block whose words are far apart is shown no longer than is allowed."""
    yield Block(block.start, min(block.end, block.start + LONGEST_SECONDS), block.lines)


def _times(piece: Piece, result: Result, parts: Sequence[str]) -> list[float]:
    """Where each part begins, and the end; by its tokens, or else by its share."""
    whole = sum(map(width_of, parts)) or 1
    shares, times = 0, [piece.start]
    for part in parts[:-1]:
        shares += width_of(part)
        time = (piece.end - piece.start) * shares / whole
        if result.timed:
            time = _time_of_share(result, shares / whole)
        times.append(max(times[-1], min(piece.start + time, piece.end)))
    return [*times, piece.end]


def _time_of_share(result: Result, share: float) -> float:
    """When the token begins before which so much of the text is."""
    sizes = [len(token.token) for token in result.timed]
    before = 0
    for token, size in zip(result.timed, sizes):
        if before + size / 2 >= share * sum(sizes):
            return token.start
        before += size
    return result.timed[-1].end


def split_text(text: str, count: int, rows: int) -> list[str] | None:
    """A text in parts of about the same width, each of which fits into its lines.

    Args:
        text: On one line.
        count: Of parts; the last ones are empty where the text has too few words.
        rows: Lines of a part.

    Returns:
        None where so many parts do not hold it.
    """
    total = width_of(text)
    for limit in range(max(1, -(-total // count)), total + 2):
        parts = [""]
        for word in _words(text):
            longer = parts[-1] + word
            if parts[-1].strip() and width_of(longer.strip()) > limit:
                parts.append(word)
            else:
                parts[-1] = longer
        parts = [part.strip() for part in parts]
        if any(len(wrapped(part)) > rows for part in parts):
            return None
        if len(parts) <= count:
            return parts + [""] * (count - len(parts))
    return None


def wrapped(text: str) -> list[str]:
    """Lines no wider than `LINE_WIDTH`; the upper one is no longer than it has to be.

    Example:
        >>> wrapped("aaaa " * 10)
        ['aaaa aaaa aaaa aaaa aaaa', 'aaaa aaaa aaaa aaaa aaaa']
    """
    rows = _filled(text, LINE_WIDTH)
    for width in range(-(-width_of(text) // max(1, len(rows))), LINE_WIDTH):
        even = _filled(text, width)
        if len(even) <= len(rows) and all(width_of(r) <= LINE_WIDTH for r in even):
            return even
    return rows


def _filled(text: str, width: int) -> list[str]:
    rows: list[str] = []
    for word in _words(text):
        if rows and width_of((rows[-1] + word).strip()) <= width:
            rows[-1] += word
        else:
            rows.append(word)
    return [row.strip() for row in rows if row.strip()]


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
    part = ""
    for character in word:
        wide = width_of(character) == 2
        if part and (wide or width_of(part + character) > LINE_WIDTH):
            yield part
            part = ""
        part += character
    yield part


def width_of(text: str) -> int:
    """Columns that a text fills.

    Example:
        >>> width_of("abc"), width_of("가나다")
        (3, 6)
    """
    return sum(
        0
        if unicodedata.combining(c)
        else 1 + (ord(c) >= WIDE and unicodedata.east_asian_width(c) in "WF")
        for c in text
    )
