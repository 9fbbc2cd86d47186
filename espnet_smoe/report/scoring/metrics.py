"""Corpus-level scores: WER, SER, CER with and without spaces, BLEU and chrF.

Every metric is split in two: counts per utterance, and the formula on summed
counts. Summing over the corpus gives the score that jiwer and sacrebleu give;
summing over resampled utterances gives the bootstrap (``bootstrap.py``) without
counting anything twice.

All values are in percent points: WER 3.93 means 3.93 %, BLEU 34.3 is BLEU 34.3.
"""

import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jiwer
import numpy as np
from sacrebleu.metrics import BLEU
from sacrebleu.metrics.helpers import extract_all_char_ngrams
from sacrebleu.tokenizers.tokenizer_char import TokenizerChar
from sacrebleu.tokenizers.tokenizer_zh import TokenizerZh

from espnet_smoe.data.task_table import UNSPACED

# Every metric counts the size of the reference (words, characters) in this column:
# without any there is no score.
REFERENCE_SIZE = 1
BLEU_ORDER = 4
CHRF_ORDER = 6
CHRF_BETA = 2

EDITS = ("substitute", "delete", "insert")  # their counts follow the reference's size


Splitter = Callable[[str], list[str]]


@dataclass(frozen=True)
class Metric:
    """One metric as counts per utterance and a formula on their sums.

    Attributes:
        name: Key in ``scores.json``.
        label: Heading in tables.
        higher_is_better: True for BLEU and chrF.
        count: (references, hypotheses) of N utterances -> counts (N, K); column
            `REFERENCE_SIZE` is the size of the reference.
        formula: Summed counts (R, K) -> scores (R,); NaN without a reference.
        split: Of an error rate: makes of a text the units that it counts.
    """

    name: str
    label: str
    higher_is_better: bool
    count: Callable[[Sequence[str], Sequence[str]], np.ndarray]
    formula: Callable[[np.ndarray], np.ndarray]
    split: Splitter | None = None

    def counts(
        self, references: Sequence[str], hypotheses: Sequence[str], language: str = ""
    ):
        """Sufficient statistics of each utterance.

        Args:
            references: N reference texts; with an empty one, as of silence, all words
                of the hypothesis are insertions.
            hypotheses: N hypotheses in the same order; an empty one counts as
                a deletion of its whole reference.
            language: Code of theirs. BLEU counts characters, as sacrebleu does with
                ``zh`` and ``char``, where no spaces stand between words.

        Returns:
            Array (N, K) of float64 counts.

        Raises:
            ValueError: No utterances or different lengths.
        """
        check_parallel(references, hypotheses)
        if self.name == "bleu" and language in UNSPACED:
            tokenizer = TokenizerZh() if language in ("zh", "yue") else TokenizerChar()
            references = [tokenizer(text) for text in references]
            hypotheses = [tokenizer(text) for text in hypotheses]
        return np.asarray(self.count(references, hypotheses), dtype=np.float64)

    def score(self, references: Sequence[str], hypotheses: Sequence[str]) -> float:
        """Corpus-level score of parallel lists; NaN where all references are empty.

        Example:
            >>> METRICS["wer"].score(["a b c d"], ["a x c d"])
            25.0
        """
        totals = self.counts(references, hypotheses).sum(axis=0, keepdims=True)
        return float(self.formula(totals)[0])


def check_parallel(references: Sequence[str], hypotheses: Sequence[str]) -> None:
    """Raise ValueError unless the two lists can be scored against each other."""
    if len(references) != len(hypotheses):
        raise ValueError(
            f"{len(references)} references but {len(hypotheses)} hypotheses: "
            "give one hypothesis (it may be empty) for each reference"
        )
    if not references:
        raise ValueError("no utterances to score")


def split_words(text: str) -> list[str]:
    """Words, as WER counts them."""
    return text.split()


def split_characters(text: str) -> list[str]:
    """Characters with single spaces between words, as CER counts them."""
    return list(" ".join(text.split()))


def split_characters_without_spaces(text: str) -> list[str]:
    """Characters without spaces."""
    return list("".join(text.split()))


def split_letters(text: str) -> list[str]:
    """Letters and digits in one case, without spaces and punctuation.

    For models that write what the references leave out, as Whisper does.

    Example:
        >>> split_letters("네, OK.")
        ['네', 'o', 'k']
    """
    return [c for c in text.casefold() if unicodedata.category(c)[0] in "LMN"]


def align_units(
    references: Sequence[str], hypotheses: Sequence[str], split: Splitter
) -> jiwer.WordOutput:
    """Units of each utterance and the edits between them, as jiwer finds them.

    Args:
        references: N texts, which may be empty.
        hypotheses: N texts.
        split: Makes of a text the units that count.
    """

    def units(texts: list[str]) -> list[list[str]]:
        return [split(text) for text in texts]

    return jiwer.process_words(list(references), list(hypotheses), units, units)


def _edit_counter(split: Splitter):
    """Counts of an error rate: edits, reference size, then the edits by kind."""

    def count(references: Sequence[str], hypotheses: Sequence[str]) -> list[list[int]]:
        output = align_units(references, hypotheses, split)
        rows = []
        for chunks, reference in zip(output.alignments, output.references):
            of = dict.fromkeys(EDITS, 0)
            for c in chunks:
                if c.type != "equal":
                    of[c.type] += max(
                        c.ref_end_idx - c.ref_start_idx, c.hyp_end_idx - c.hyp_start_idx
                    )
            rows.append([sum(of.values()), len(reference), *of.values()])
        return rows

    return count


def _error_rate(totals: np.ndarray) -> np.ndarray:
    """Edits over reference size; (R, K) -> (R,), NaN where there is no reference."""
    edits, size = totals[:, 0], totals[:, REFERENCE_SIZE]
    unknown = np.full(len(totals), np.nan)
    return np.divide(100 * edits, size, out=unknown, where=size > 0)


def _count_word_ngrams(references: Sequence[str], hypotheses: Sequence[str]):
    """Lengths, matched and all n-grams of each utterance, (N, 2 + 4 + 4)."""
    # effective_order only silences the warning about single sentences; the
    # counts are the same.
    bleu = BLEU(tokenize="13a", effective_order=True)
    rows = []
    for reference, hypothesis in zip(references, hypotheses):
        s = bleu.sentence_score(hypothesis, [reference])
        rows.append([s.sys_len, s.ref_len, *s.counts, *s.totals])
    return rows


def _bleu(totals: np.ndarray) -> np.ndarray:
    """BLEU with sacrebleu's default smoothing on each row; (R, 10) -> (R,).

    Thousands of resamples are scored at once, so the formula is written for arrays.
    """
    sys_len, ref_len = totals[:, 0], totals[:, REFERENCE_SIZE]
    correct, total = totals[:, 2 : 2 + BLEU_ORDER], totals[:, 2 + BLEU_ORDER :]
    # "exp": the k-th order without a match counts as 1 / 2^k of one (Chen and Cherry
    # 2014, method 3).
    smoothed = np.where(correct > 0, correct, 0.5 ** np.cumsum(correct == 0, axis=1))
    scored = correct.any(axis=1) & total.all(axis=1)
    precision = np.divide(
        smoothed, total, out=np.ones_like(total), where=scored[:, None]
    )
    brevity = np.divide(ref_len, sys_len, out=np.ones_like(ref_len), where=scored)
    penalty = np.exp(np.minimum(0, 1 - brevity))
    bleu = 100 * penalty * np.exp(np.log(precision).mean(axis=1))
    return np.where(scored, bleu, np.where(ref_len > 0, 0.0, np.nan))


def _count_character_ngrams(references: Sequence[str], hypotheses: Sequence[str]):
    """Hypothesis, reference and matched n-grams of each order, (N, 6 * 3)."""
    rows = []
    for reference, hypothesis in zip(references, hypotheses):
        row: list[int] = []
        for h, r in zip(
            extract_all_char_ngrams(hypothesis, CHRF_ORDER, False),
            extract_all_char_ngrams(reference, CHRF_ORDER, False),
        ):
            # As sacrebleu: an order that the reference is too short for does
            # not count against the hypothesis.
            row += [h.total() if r else 0, r.total(), (h & r).total()]
        rows.append(row)
    return rows


def _chrf(totals: np.ndarray) -> np.ndarray:
    """F2 of the mean precision and recall over the orders; (R, 18) -> (R,)."""
    hyp, ref, match = totals.reshape(-1, CHRF_ORDER, 3).transpose(2, 0, 1)
    used = (hyp > 0) & (ref > 0)  # (R, 6)
    orders = np.maximum(used.sum(axis=1), 1)
    precision = np.divide(match, hyp, out=np.zeros_like(match), where=used)
    recall = np.divide(match, ref, out=np.zeros_like(match), where=used)
    precision, recall = precision.sum(1) / orders, recall.sum(1) / orders  # (R,)
    weight = CHRF_BETA**2
    return np.divide(
        100 * (1 + weight) * precision * recall,
        weight * precision + recall,
        out=np.where(ref[:, 0] > 0, 0.0, np.nan),
        where=precision + recall > 0,
    )


def _error_metric(name: str, label: str, split: Splitter) -> Metric:
    return Metric(name, label, False, _edit_counter(split), _error_rate, split)


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        _error_metric("wer", "WER %", split_words),
        # the error rate of modelling units, such as syllables
        _error_metric("ser", "SER %", split_words),
        _error_metric("cer", "CER %", split_characters),
        _error_metric(
            "cer_no_space", "CER % without spaces", split_characters_without_spaces
        ),
        _error_metric("cer_letters", "CER % of letters", split_letters),
        Metric("bleu", "BLEU", True, _count_word_ngrams, _bleu),
        Metric("chrf", "chrF", True, _count_character_ngrams, _chrf),
    )
}
