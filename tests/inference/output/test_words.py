"""Words of a text have the times of their tokens, whatever the tokens are."""

import pytest

from espnet_smoe.inference.output.words import words_of
from espnet_smoe.inference.streaming.events import TimedToken


def timed(tokens):
    """A second each, one after another, surer and surer."""
    return [TimedToken(t, i, i + 1, i / 10) for i, t in enumerate(tokens)]


def pieces(tokens):
    return "".join(tokens).replace("_", " ").strip()


def told(tokens, join=pieces):
    return [(w.text, w.start, w.end) for w in words_of(timed(tokens), join)]


@pytest.mark.parametrize(
    ("tokens", "words"),
    [
        (["_good", "_morning"], [("good", 0, 1), ("morning", 1, 2)]),
        (["_go", "od", "_mor", "ning"], [("good", 0, 2), ("morning", 2, 4)]),
        (["_", "good", "_", "day"], [("good", 1, 2), ("day", 3, 4)]),
        (["good_mor", "ning"], [("good", 0, 1), ("morning", 0, 2)]),
        ([], []),
        (["_"], []),
    ],
)
def test_a_word_lasts_from_its_first_token_to_its_last(tokens, words):
    assert told(tokens) == words


def test_characters_of_several_tokens_are_whole():
    letters = "날씨 좋다".encode()

    def join(tokens):
        return bytes(map(int, tokens)).decode(errors="ignore")

    words = told([str(byte) for byte in letters], join)
    assert words == [("날씨", 0, 6), ("좋다", 7, 13)]


def test_characters_of_a_script_without_spaces_are_words():
    assert told(list("你好ab世")) == [
        ("你", 0, 1),
        ("好", 1, 2),
        ("ab", 2, 4),
        ("世", 4, 5),
    ]


def test_a_word_is_as_sure_as_its_tokens():
    (word, other) = words_of(timed(["_a", "b", "_c"]), pieces)
    assert (word.confidence, other.confidence) == (0.05, 0.2)
