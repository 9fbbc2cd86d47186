"""The search stops where ESPnet's end detection stops."""

import random

from espnet2.legacy.nets.e2e_asr_common import end_detect

from espnet_smoe.inference.search.hypothesis import FinishedHypotheses


def test_end_detection_is_espnets():
    rng = random.Random(0)
    answers = set()
    for _ in range(300):
        ended = FinishedHypotheses()
        for _ in range(rng.randint(0, 12)):
            ended.add(range(rng.randint(0, 6)), rng.choice([-1.0, -8.0, -12.0, -30.0]))
        # ESPnet counts the start and the end of a hypothesis too
        theirs = [
            {"yseq": [0] * (len(h.tokens) + 2), "score": h.score}
            for h in ended.hypotheses
        ]
        for step in range(12):
            expected = end_detect(theirs, step)
            assert ended.end_detect(step) == expected
            answers.add(expected)
    assert answers == {True, False}


def test_best_comes_first():
    ended = FinishedHypotheses()
    for score in (-3.0, -1.0, -2.0):
        ended.add([1], score)
    assert [h.score for h in ended.nbest()] == [-1.0, -2.0, -3.0]


def test_by_score_over_length_a_longer_text_may_be_the_best():
    ended = FinishedHypotheses()
    ended.add([1], -2.0)
    ended.add([1, 2, 3, 4, 5], -3.0)
    assert [len(h.tokens) for h in ended.nbest()] == [1, 5]
    assert [len(h.tokens) for h in ended.nbest(prompt_length=1)] == [5, 1]
    assert [len(h.tokens) for h in ended.nbest(prompt_length=8)] == [1, 5]  # 9, 13
