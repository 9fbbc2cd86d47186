"""Subtitles can be read: two lines of 42 columns, seven seconds."""

from dataclasses import replace

import pytest

from espnet_smoe.inference.long_form.long_audio import Piece
from espnet_smoe.inference.output import subtitles
from espnet_smoe.inference.output.formats import Transcript, as_srt, as_vtt
from espnet_smoe.inference.output.subtitles import (
    blocks_of,
    split_text,
    width_of,
    wrapped,
)
from espnet_smoe.inference.output.words import Word
from espnet_smoe.inference.result import Result
from espnet_smoe.inference.streaming.events import TimedToken

ENGLISH = "the quick brown fox jumps over the lazy dog " * 8
KOREAN = "아침에 의사는 열쇠를 찾아요 나중에 어머니는 극장에 올 거예요 " * 5
CHINESE = "今天天气很好我们一起去公园散步吧明天再见" * 5


def result(text, timed=()):
    return Result(" ".join(text.split()), (), -1.0, timed=timed)


@pytest.mark.parametrize("texts", [[ENGLISH], [KOREAN], [CHINESE], [KOREAN, ENGLISH]])
def test_blocks_fit_and_lose_nothing(texts):
    results = {f"task{i}": result(text) for i, text in enumerate(texts)}
    blocks = list(blocks_of([Piece(2.0, 30.0, results)]))
    assert len(blocks) > 3
    for block in blocks:
        assert 1 <= len(block.lines) <= 2
        assert all(width_of(line) <= 42 for line in block.lines)
        assert 0 < block.end - block.start <= 7.0
    assert [b.start for b in blocks] == sorted(b.start for b in blocks)
    assert all(a.end <= b.start for a, b in zip(blocks, blocks[1:]))
    assert (blocks[0].start, blocks[-1].end) == (2.0, pytest.approx(30.0, abs=5))
    shown = "".join("".join(b.lines) for b in blocks).replace(" ", "")
    for text in texts:
        left = iter(shown)
        assert all(character in left for character in text.replace(" ", ""))


def test_short_text_of_a_long_piece_is_not_shown_longer_than_seven_seconds():
    (block, *rest) = blocks_of([Piece(0.0, 20.0, {"asr": result("yes")})])
    assert block.lines == ("yes",) and block.end <= 7.0
    assert not rest


def test_blocks_are_shown_from_their_first_word_to_their_last():
    words = [f"word{i:02d}" for i in range(24)]
    times = [i * 0.2 + (8.0 if i >= 12 else 0.0) for i in range(24)]
    timed = tuple(TimedToken(w, t, t + 0.1, 1.0) for w, t in zip(words, times))
    found = replace(
        result(" ".join(words), timed),
        words=tuple(Word(t.token, t.start, t.end, 1.0) for t in timed),
    )
    blocks = list(blocks_of([Piece(100.0, 113.0, {"asr": found})]))
    for block in blocks:
        first = words.index(block.lines[0].split()[0])
        last = words.index(" ".join(block.lines).split()[-1])
        assert block.start == pytest.approx(100.0 + times[first])
        assert 0.1 <= block.end - (100.0 + times[last]) <= 1.6


def timed(text, times):
    words = [Word(w, *t, 1.0) for w, t in zip(text.split(), times, strict=True)]
    return replace(result(text), words=tuple(words))


def check_readable(blocks):
    """A second for a line, 7 at most, one after another, and none before the start."""
    for block in blocks:
        full = sum(map(width_of, block.lines)) / 42
        assert max(1.0, full) - 1e-6 <= block.end - block.start <= 7.0 + 1e-6
    assert all(a.end <= b.start for a, b in zip(blocks, blocks[1:]))
    assert blocks[0].start >= 0.0


WORDS = len(ENGLISH.split())


@pytest.mark.parametrize(
    "times",
    [
        [(2.0, 2.0)] * WORDS,
        [(0.0, 0.0)] * WORDS,
        [(30.0, 30.0)] * WORDS,
        [(99.0, 99.0)] * WORDS,
        [(29.9 - 0.3 * i, 30.0 - 0.3 * i) for i in range(WORDS)],
        [(i / 25, (i + 1) / 25) for i in range(WORDS)],
    ],
    ids=["one time", "begin", "end", "behind it", "backwards", "fast"],
)
def test_blocks_can_be_read_whatever_times_the_words_have(times):
    blocks = list(blocks_of([Piece(5.0, 35.0, {"asr": timed(ENGLISH, times)})]))
    check_readable(blocks)
    assert 5.0 <= blocks[0].start and blocks[-1].end <= 35.0
    assert " ".join(line for b in blocks for line in b.lines) == ENGLISH.strip()


def test_a_word_longer_than_a_block_is_said_bit_by_bit():
    """As a sentence of a script without spaces that has no dictionary of words."""
    found = timed("x" * 126 + " yes", [(0.0, 12.6), (13.0, 13.5)])
    blocks = list(blocks_of([Piece(1.0, 15.0, {"asr": found})]))
    begin = 0
    for block in blocks:
        assert block.start == pytest.approx(1.0 + begin / 10)
        begin += len("".join(block.lines))


def test_blocks_of_pieces_that_are_short_or_overlap_can_be_read():
    said = [(0.9, 3.0), (-0.5, 0.3), (0.4, 0.4), (3.0, 3.5), (3.2, 9.0), (3600.0, 3601)]
    pieces = [Piece(*s, {"asr": result(f"sentence {s}")}) for s in said]
    blocks = list(blocks_of(pieces))
    check_readable(blocks)
    assert [b.lines[0] for b in blocks] == [f"sentence {s}" for s in sorted(said)]
    assert blocks[-1].start == 3600.0
    (block,) = blocks_of([Piece(1.0, 1.2, {"asr": result("x " * 30)})])
    check_readable([block])


def test_a_time_to_read_takes_none_from_the_pieces_behind_it():
    """A noise that is read as many words does not shift what is said later."""
    noise = Piece(0.0, 1.0, {"asr": result("x " * 200)})
    later = Piece(5.0, 8.0, {"asr": result("hello")})
    blocks = list(blocks_of([noise, later]))
    assert blocks[-1].start == 5.0 == blocks[-2].end
    assert all(b.end - b.start == pytest.approx(1.0) for b in blocks[:-1])


def test_a_text_much_longer_than_its_piece_takes_no_search_of_every_width(monkeypatch):
    """As of a decoder that repeats itself: a minute of work for 20 blocks."""
    calls = []
    filled = subtitles._filled

    def counted(words, width):
        calls.append(width)
        return filled(words, width)

    monkeypatch.setattr(subtitles, "_filled", counted)
    found = result(("x" * 60 + " ") * 20)
    blocks = list(blocks_of([Piece(0.0, 3.0, {"asr": found})]))
    assert len(blocks) == 20 and len(calls) < 50 * len(blocks)


def test_lines_of_a_block_are_about_as_wide():
    upper, lower = wrapped("a sentence that is just a little wider than a line")
    assert abs(width_of(upper) - width_of(lower)) < 12


def test_a_word_wider_than_a_line_is_broken():
    assert "".join(wrapped("x" * 100)) == "x" * 100
    assert max(map(len, wrapped("x" * 100))) <= 42
    assert split_text("", 3, 2) == ["", "", ""]


def test_no_line_begins_with_a_mark_that_closes_or_ends_with_one_that_opens():
    text = "今天天气很好。「我们一起去公园散步吧。」明天再见、" * 6
    blocks = list(blocks_of([Piece(0, 40, {"asr": result(text)})]))
    lines = [line for block in blocks for line in block.lines]
    assert "".join(lines) == text and all(width_of(line) <= 42 for line in lines)
    assert not any(line[0] in "。」、" or line[-1] == "「" for line in lines)
    marks = wrapped("。" * 60)  # cut all the same
    assert "".join(marks) == "。" * 60 and max(map(width_of, marks)) <= 42


def test_marks_within_a_character_take_no_room():
    assert width_of("ที่") == 1 and width_of("e\u0301") == 1 and width_of("कि") == 2


def test_srt_and_vtt_are_what_players_read():
    pieces = [Piece(0.0, 1.5, {"asr": result("a < b & c")})]
    found = Transcript("x.wav", 2.0, "wb", ["asr"], pieces)
    assert as_srt(found) == "1\n00:00:00,000 --> 00:00:01,500\na < b & c\n"
    assert as_vtt(found) == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:01.500\na &lt; b &amp; c\n"
    )
    assert as_srt(Transcript("x.wav", 2.0, "wb", ["asr"], [])) == ""
