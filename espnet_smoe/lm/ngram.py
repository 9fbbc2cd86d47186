"""An n-gram language model over words."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from espnet_smoe.lm import kneser_ney, prune
from espnet_smoe.lm.text import SPECIAL, encode
from espnet_smoe.lm.trie import Trie

HIGHEST_ORDER = 10


@dataclass(frozen=True)
class Perplexity:
    """The perplexity of a model on a text.

    Words that the model does not know are not scored, but stand in the contexts of
    the words after them; so do those of SRILM's ``ngram -ppl``.

    Attributes:
        ppl: Perplexity by known words and sentence ends.
        ppl1: The same log probability shared by the known words alone; NaN where
            there are none.
        oov: Words that the model does not know.
        tokens: Known words and sentence ends.
    """

    ppl: float
    ppl1: float
    oov: int
    tokens: int


@dataclass
class NGram:
    """Backing-off model.

    Attributes:
        words: By id; ``<unk>``, ``<s>`` and ``</s>`` are the first three.
        trie: The n-grams.

    Example:
        >>> model = NGram.estimate(["a b c", "a b", "a c"], order=3)
        >>> model.counts
        [6, 6, 6]
        >>> round(model.log_prob("b", ["<s>", "a"]), 4)
        -0.2974
        >>> model.perplexity(["a b", "x"]).oov
        1
    """

    words: list[str]
    trie: Trie

    @classmethod
    def estimate(
        cls,
        sentences: Iterable[str],
        order: int = 5,
        vocabulary: Iterable[str] | None = None,
    ) -> "NGram":
        """Estimate with interpolated modified Kneser-Ney smoothing, as lmplz does.

        Args:
            sentences: Words separated by spaces; blank ones are left out.
            order: Of the longest n-grams. Where no sentence is as long, it is lower.
            vocabulary: Words that the model shall know, in the text or not; all others
                count as ``<unk>``. Without it, the words of the text, and the
                probability of ``<unk>`` is that of a word never seen.

        Raises:
            ValueError: The order is below 1, there is no word, or a sentence holds
                ``<s>`` or ``</s>``.
        """
        if not 1 <= order <= HIGHEST_ORDER:
            raise ValueError(
                f"the order of an n-gram model must be 1 to {HIGHEST_ORDER}, got "
                f"{order}; 3 to 5 are usual"
            )
        index = {word: i for i, word in enumerate(SPECIAL)}
        if vocabulary is None:
            ids = encode(sentences, lambda word: index.setdefault(word, len(index)))
        else:
            for word in vocabulary:
                index.setdefault(word, len(index))
            ids = encode(sentences, lambda word: index.get(word, 0))
        return cls(list(index), kneser_ney.estimate(ids, len(index), order))

    @property
    def order(self) -> int:
        """Words in the longest n-grams."""
        return len(self.trie.levels)

    @property
    def counts(self) -> list[int]:
        """Number of n-grams of order 1, 2, ..."""
        return [len(level.key) for level in self.trie.levels]

    def log_prob(self, word: str, history: Sequence[str] = ()) -> float:
        """Log10 probability of a word after others; unknown ones are ``<unk>``."""
        index = {known: i for i, known in enumerate(self.words)}
        ids = np.array([[index.get(each, 0) for each in [*history, word]]])
        return float(self.trie.log_prob(ids)[0])

    def prune(self, threshold: float) -> "NGram":
        """Leave out n-grams by relative entropy: :func:`espnet_smoe.lm.prune.prune`."""
        return NGram(self.words, prune.prune(self.trie, threshold))

    def perplexity(self, sentences: Iterable[str]) -> Perplexity:
        """Score sentences, each from ``<s>`` to ``</s>``.

        Raises:
            ValueError: There is no word, or a sentence holds ``<s>`` or ``</s>``.
        """
        index = {word: i for i, word in enumerate(self.words)}
        ids = encode(sentences, lambda word: index.get(word, 0))
        oov = int((ids == 0).sum())
        total = self._scores(ids)[ids != 0].sum()
        ends = int((ids == kneser_ney.END).sum())
        tokens = len(ids) - ends - oov  # starts are as many as ends
        known = tokens - ends
        return Perplexity(
            ppl=float(10 ** (-total / tokens)),
            ppl1=float(10 ** (-total / known)) if known else math.nan,
            oov=oov,
            tokens=tokens,
        )

    def _scores(self, ids: np.ndarray) -> np.ndarray:
        """``(T,)`` log10 probability of each word in its sentence; 0 of starts."""
        scores = np.zeros(len(ids))
        starts = np.flatnonzero(ids == kneser_ney.START)
        first = np.repeat(starts, np.diff(starts, append=len(ids)))
        before = np.arange(len(ids)) - first  # (T,) words before it, the start included
        for length in range(1, self.order + 1):
            longest = length == self.order
            at = np.flatnonzero(
                before >= length - 1 if longest else before == length - 1
            )
            ngrams = ids[at[:, None] + np.arange(1 - length, 1)]
            scores[at] = self.trie.log_prob(ngrams)
        scores[starts] = 0.0
        return scores
