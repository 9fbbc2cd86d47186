"""Where pieces overlap, each word is kept once."""

import pytest

from espnet_smoe.inference.long_form.seams import without_overlaps
from espnet_smoe.inference.output.words import words_of
from espnet_smoe.inference.result import Piece, Result, join_results
from espnet_smoe.inference.streaming.events import TimedToken

SPOKEN = [f"w{i}" for i in range(40)]  # half a second each


def join(tokens):
    return "".join(tokens).replace("_", " ").strip()


def piece(start, end, words, first, timed=True):
    """A piece whose words are said from word `first` of the recording on."""
    tokens = tuple(f"_{word}" for word in words)
    times = [(first + i) / 2 - start for i in range(len(tokens))]
    clock = tuple(TimedToken(t, at, at + 0.3, 0.5) for t, at in zip(tokens, times))
    clock = clock if timed else ()
    text = join(tokens)
    pairs = ((text, -1.0),)
    words = tuple(words_of(clock, join))
    found = Result(text, tokens, -1.0, pairs, clock, 0.5, words=words)
    return Piece(start, end, {"asr": found})


def texts(*pieces):
    found = list(without_overlaps(pieces, join))
    for one, other in zip(found, found[1:]):
        assert one.end <= other.start
    for of_one in found:
        result = of_one.results["asr"]
        assert result.text == join(result.tokens) == result.nbest[0][0]
        if result.words:
            assert " ".join(word.text for word in result.words) == result.text
    return [of_one.results["asr"].text.split() for of_one in found]


@pytest.mark.parametrize("timed", [True, False], ids=["times", "no times"])
def test_words_of_both_pieces_are_kept_once(timed):
    left = piece(0, 5, SPOKEN[:10], 0, timed)
    right = piece(4, 9, SPOKEN[8:18], 8, timed)
    assert sum(texts(left, right), []) == SPOKEN[:18]


@pytest.mark.parametrize("timed", [True, False], ids=["times", "no times"])
def test_a_word_that_a_cut_has_torn_is_dropped(timed):
    left = piece(0, 5.1, [*SPOKEN[:10], "to"], 0, timed)
    right = piece(4, 9, ["rn", *SPOKEN[9:18]], 8, timed)
    assert sum(texts(left, right), []) == SPOKEN[:18]


def test_words_that_differ_are_parted_by_their_times():
    left = piece(0, 5, [*SPOKEN[:8], "x", "y"], 0)
    right = piece(4, 9, ["a", "b", *SPOKEN[10:18]], 8)
    assert sum(texts(left, right), []) == [*SPOKEN[:8], "x", "b", *SPOKEN[10:18]]


def test_words_that_differ_are_parted_by_their_share_without_times():
    left = piece(0, 5, [*SPOKEN[:8], "x", "y"], 0, timed=False)
    right = piece(4, 9, ["a", "b", *SPOKEN[10:18]], 8, timed=False)
    assert sum(texts(left, right), []) == [*SPOKEN[:8], "x", "b", *SPOKEN[10:18]]


def test_the_same_word_said_twice_is_no_overlap():
    """The first of them is said too early to be the second."""
    left = piece(0, 5, ["no", *["a", "b", "c", "d", "e", "f", "no", "x", "y"]], 0)
    right = piece(4, 9, ["x", "y", "no"], 8)
    assert sum(texts(left, right), []) == "no a b c d e f no x y no".split()


def test_pieces_that_do_not_overlap_stay_as_they_are():
    pieces = [piece(0, 5, SPOKEN[:10], 0), piece(5, 9, SPOKEN[10:18], 10)]
    assert list(without_overlaps(pieces, join)) == pieces


def test_a_piece_of_one_word_overlaps_on_both_sides():
    pieces = [
        piece(0, 2, SPOKEN[:4], 0),
        piece(1.5, 2.5, SPOKEN[3:5], 3),
        piece(2, 4, SPOKEN[4:8], 4),
    ]
    assert sum(texts(*pieces), []) == SPOKEN[:8]


def test_times_stay_those_of_the_recording():
    pieces = [piece(0, 5, SPOKEN[:10], 0), piece(4, 9, SPOKEN[8:18], 8)]
    found = list(without_overlaps(pieces, join))
    whole = join_results([p.results["asr"] for p in found], [p.start for p in found])
    assert [w.start for w in whole.words] == pytest.approx([i / 2 for i in range(18)])
    assert [t.start for t in whole.timed] == [w.start for w in whole.words]


def test_a_silent_neighbor_takes_nothing_away():
    silent = Piece(4, 9, {"asr": Result("", (), 0.0, (("", 0.0),))})
    assert texts(piece(0, 5, SPOKEN[:10], 0), silent) == [SPOKEN[:10], []]
