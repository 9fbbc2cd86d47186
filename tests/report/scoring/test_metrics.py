import random

import jiwer
import numpy as np
import pytest
import sacrebleu

from espnet_smoe.report.scoring.metrics import METRICS

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
        (["a"], [], "1 references but 0 hypotheses"),
        ([], [], "no utterances"),
    ],
)
def test_lists_that_cannot_be_scored_are_refused(refs, hyps, message):
    for metric in METRICS.values():
        with pytest.raises(ValueError, match=message):
            metric.score(refs, hyps)


def test_edits_are_told_by_kind_as_jiwer_counts_them():
    refs, hyps = noisy_corpus(3, error=0.4)
    output = jiwer.process_words(refs, hyps)
    totals = METRICS["wer"].counts(refs, hyps).sum(axis=0)
    kinds = [output.substitutions, output.deletions, output.insertions]
    assert totals.tolist() == [sum(kinds), sum(len(r.split()) for r in refs), *kinds]
    assert min(kinds) > 0


@pytest.mark.parametrize("name", ["wer", "ser", "cer", "cer_no_space"])
def test_words_heard_in_silence_are_insertions(name):
    refs, hyps = ["가 나", "", "", "다"], ["가 나", "라", "", "다"]
    metric = METRICS[name]
    size = sum(len(metric.split(text)) for text in refs)
    counts = metric.counts(refs, hyps)
    assert counts[1].tolist() == [1, 0, 0, 0, 1]  # edits, size, S, D, I
    assert counts[2].tolist() == [0, 0, 0, 0, 0]
    assert metric.score(refs, hyps) == pytest.approx(100 / size)


@pytest.mark.parametrize("name", METRICS)
def test_there_is_no_score_without_any_reference(name):
    assert np.isnan(METRICS[name].score(["", ""], ["a b", ""]))


def test_translations_of_silence_count_as_sacrebleu_counts_them():
    refs, hyps = ["the weather is nice today", ""], ["the weather is nice", "and more"]
    assert METRICS["bleu"].score(refs, hyps) == pytest.approx(
        sacrebleu.corpus_bleu(hyps, [refs]).score
    )
    assert METRICS["chrf"].score(refs, hyps) == pytest.approx(
        sacrebleu.corpus_chrf(hyps, [refs]).score
    )


def test_only_bleu_and_chrf_are_better_where_they_are_higher():
    good = {n: METRICS[n].score(["a b c d e"], ["a b c d e"]) for n in METRICS}
    bad = {n: METRICS[n].score(["a b c d e"], ["x a y b z"]) for n in METRICS}
    for name, metric in METRICS.items():
        assert (good[name] > bad[name]) == metric.higher_is_better
    assert {n for n, m in METRICS.items() if m.higher_is_better} == {"bleu", "chrf"}


@pytest.mark.parametrize("hypothesis", ["a", "b", "ab", ""])
def test_the_shortest_reference_is_scored_as_the_libraries_score_it(hypothesis):
    refs, hyps = ["a"], [hypothesis]
    expected = {
        "wer": 100 * jiwer.wer(refs, hyps),
        "cer": 100 * jiwer.cer(refs, hyps),
        "bleu": sacrebleu.corpus_bleu(hyps, [refs]).score,
        "chrf": sacrebleu.corpus_chrf(hyps, [refs]).score,
    }
    found = {name: METRICS[name].score(refs, hyps) for name in expected}
    assert found == pytest.approx(expected)


@pytest.mark.parametrize(
    ("language", "tokenize", "texts"),
    [
        ("zh", "zh", ["今天天气很好，我们去公园。", "他在银行工作了3年"]),
        ("ja", "char", ["今日はいい天気です。", "三年間銀行で働きました"]),
        ("en", "13a", ["the weather is nice today.", "he worked at a bank"]),
    ],
)
def test_bleu_counts_the_words_of_the_language(language, tokenize, texts):
    hypotheses = [text[:-2] + text[0] for text in texts]
    metric = METRICS["bleu"]
    totals = metric.counts(texts, hypotheses, language).sum(axis=0, keepdims=True)
    expected = sacrebleu.corpus_bleu(hypotheses, [texts], tokenize=tokenize).score
    assert metric.formula(totals)[0] == pytest.approx(expected)
    assert expected > 50


def test_the_error_rate_of_letters_does_not_see_punctuation_and_case():
    refs, hyps = ["다시 한 번 OK", "3시"], ["다시 한번, 'ok'!", "4시."]
    assert METRICS["cer_letters"].score(refs, hyps) == pytest.approx(100 * 1 / 8)
    assert METRICS["cer_no_space"].score(refs, hyps) > 50
