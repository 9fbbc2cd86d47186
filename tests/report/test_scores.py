import random

import jiwer
import pytest
import sacrebleu

from espnet_smoe.report.scores import METRICS

WORDS = "오늘 날씨 정말 좋네요 meet me at the station, please . ! don't".split()


def noisy_corpus(seed: int, utterances: int = 30, error: float = 0.3):
    rng = random.Random(seed)
    references = [rng.choices(WORDS, k=rng.randint(1, 9)) for _ in range(utterances)]
    hypotheses = []
    for words in references:
        kept = [rng.choice(WORDS) if rng.random() < error else w for w in words]
        hypotheses.append(kept[rng.randint(0, 1) :] * rng.choice([1, 1, 1, 2]))
    return [" ".join(r) for r in references], [" ".join(h) for h in hypotheses]


def without_spaces(texts: list[str]) -> list[str]:
    return [t.replace(" ", "") for t in texts]


@pytest.mark.parametrize("seed", range(5))
def test_error_rates_equal_jiwer(seed):
    refs, hyps = noisy_corpus(seed)
    assert METRICS["wer"].score(refs, hyps) == pytest.approx(
        100 * jiwer.wer(refs, hyps)
    )
    assert METRICS["cer"].score(refs, hyps) == pytest.approx(
        100 * jiwer.cer(refs, hyps)
    )
    assert METRICS["cer_no_space"].score(refs, hyps) == pytest.approx(
        100 * jiwer.cer(without_spaces(refs), without_spaces(hyps))
    )


@pytest.mark.parametrize("utterances", [1, 2, 30])
@pytest.mark.parametrize("error", [0, 0.3, 0.8, 1])
@pytest.mark.parametrize("seed", range(3))
def test_bleu_and_chrf_equal_sacrebleu(seed, error, utterances):
    refs, hyps = noisy_corpus(seed, utterances, error)
    assert METRICS["bleu"].score(refs, hyps) == pytest.approx(
        sacrebleu.corpus_bleu(hyps, [refs], tokenize="13a").score
    )
    assert METRICS["chrf"].score(refs, hyps) == pytest.approx(
        sacrebleu.corpus_chrf(hyps, [refs]).score
    )


def test_spacing_counts_in_cer_but_not_in_cer_without_spaces():
    refs, hyps = ["안녕 하세요"], ["안녕하세요"]
    assert METRICS["cer"].score(refs, hyps) == pytest.approx(100 / 6)
    assert METRICS["cer_no_space"].score(refs, hyps) == 0


@pytest.mark.parametrize("name", ["wer", "cer", "cer_no_space"])
def test_empty_hypothesis_counts_as_deletion_of_the_whole_reference(name):
    assert METRICS[name].score(["가 나 다 라"], [""]) == 100
    half = METRICS[name].score(["가 나", "다 라"], ["가 나", ""])
    assert half == pytest.approx(50)


@pytest.mark.parametrize("name", ["bleu", "chrf"])
def test_empty_hypotheses_translate_nothing(name):
    assert METRICS[name].score(["a b c d e"], [""]) == 0


def test_scores_are_of_the_corpus_not_means_of_utterances():
    assert METRICS["wer"].score(["a", "b c d"], ["x", "b c d"]) == 25


@pytest.mark.parametrize(
    "refs, hyps, message",
    [
        (["a", " "], ["a", "b"], r"empty reference at position\(s\) \[1\]"),
        (["a"], [], "1 references but 0 hypotheses"),
        ([], [], "no utterances"),
    ],
)
def test_lists_that_cannot_be_scored_are_refused(refs, hyps, message):
    for metric in METRICS.values():
        with pytest.raises(ValueError, match=message):
            metric.score(refs, hyps)
