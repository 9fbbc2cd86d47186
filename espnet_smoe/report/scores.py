"""Corpus-level scores: WER, SER, CER with and without spaces, BLEU and chrF.

Every metric is split in two: counts per utterance, and the formula on summed
counts. Summing over the corpus gives the score that jiwer and sacrebleu give;
summing over resampled utterances gives the bootstrap (``bootstrap.py``) without
counting anything twice.

All values are in percent points: WER 3.93 means 3.93 %, BLEU 34.3 is BLEU 34.3.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jiwer
import numpy as np
from sacrebleu.metrics import BLEU
from sacrebleu.metrics.helpers import extract_all_char_ngrams

BLEU_ORDER = 4
CHRF_ORDER = 6
CHRF_BETA = 2

_CHARACTERS_WITHOUT_SPACES = jiwer.Compose(
    [jiwer.RemoveWhiteSpace(), jiwer.ReduceToListOfListOfChars()]
)


@dataclass(frozen=True)
class Metric:
    """One metric as counts per utterance and a formula on their sums.

    Attributes:
        name: Key in ``scores.json``.
        label: Heading in tables.
        higher_is_better: True for BLEU and chrF.
        count: (references, hypotheses) of N utterances -> counts (N, K).
        formula: Summed counts (R, K) -> scores (R,).
    """

    name: str
    label: str
    higher_is_better: bool
    count: Callable[[Sequence[str], Sequence[str]], np.ndarray]
    formula: Callable[[np.ndarray], np.ndarray]

    def counts(self, references: Sequence[str], hypotheses: Sequence[str]):
        """Sufficient statistics of each utterance.

        Args:
            references: N reference texts.
            hypotheses: N hypotheses in the same order; an empty one counts as
                a deletion of its whole reference.

        Returns:
            Array (N, K) of float64 counts.

        Raises:
            ValueError: No utterances, different lengths, or an empty reference.
        """
        check_parallel(references, hypotheses)
        return np.asarray(self.count(references, hypotheses), dtype=np.float64)

    def score(self, references: Sequence[str], hypotheses: Sequence[str]) -> float:
        """Corpus-level score of parallel lists.

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
    empty = [i for i, text in enumerate(references) if not text.strip()]
    if empty:
        raise ValueError(f"empty reference at position(s) {empty[:5]}: remove it")


def _edits(output: jiwer.WordOutput | jiwer.CharacterOutput) -> list[list[int]]:
    """Edits and reference length of each utterance, (N, 2)."""
    return [
        [
            sum(
                max(c.ref_end_idx - c.ref_start_idx, c.hyp_end_idx - c.hyp_start_idx)
                for c in chunks
                if c.type != "equal"
            ),
            len(reference),
        ]
        for chunks, reference in zip(output.alignments, output.references)
    ]


def _count_words(references: Sequence[str], hypotheses: Sequence[str]):
    return _edits(jiwer.process_words(list(references), list(hypotheses)))


def _count_characters(references: Sequence[str], hypotheses: Sequence[str]):
    return _edits(jiwer.process_characters(list(references), list(hypotheses)))


def _count_characters_without_spaces(
    references: Sequence[str], hypotheses: Sequence[str]
):
    return _edits(
        jiwer.process_characters(
            list(references),
            list(hypotheses),
            reference_transform=_CHARACTERS_WITHOUT_SPACES,
            hypothesis_transform=_CHARACTERS_WITHOUT_SPACES,
        )
    )


def _error_rate(totals: np.ndarray) -> np.ndarray:
    """Edits over reference length; (R, 2) -> (R,)."""
    return 100 * totals[:, 0] / totals[:, 1]


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
    """Sacrebleu's own formula on each row; (R, 10) -> (R,)."""
    return np.array(
        [
            BLEU.compute_bleu(
                correct=row[2 : 2 + BLEU_ORDER],
                total=row[2 + BLEU_ORDER :],
                sys_len=row[0],
                ref_len=row[1],
                smooth_method="exp",  # the default of sacrebleu's corpus score
            ).score
            for row in totals.astype(int).tolist()  # it prints them as integers
        ]
    )


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
        out=np.zeros_like(precision),
        where=precision + recall > 0,
    )


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("wer", "WER %", False, _count_words, _error_rate),
        # the error rate of modelling units, such as syllables
        Metric("ser", "SER %", False, _count_words, _error_rate),
        Metric("cer", "CER %", False, _count_characters, _error_rate),
        Metric(
            "cer_no_space",
            "CER % without spaces",
            False,
            _count_characters_without_spaces,
            _error_rate,
        ),
        Metric("bleu", "BLEU", True, _count_word_ngrams, _bleu),
        Metric("chrf", "chrF", True, _count_character_ngrams, _chrf),
    )
}
