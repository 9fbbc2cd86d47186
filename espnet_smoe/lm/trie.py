"""N-grams as a trie of sorted arrays: a level an order, an n-gram under its context.

The n-gram ``w_1 .. w_n`` has the key ``context * V + w_n``, where ``context`` is the
place of ``w_1 .. w_{n-1}`` in the level above and V the number of words. Every context
is thus an n-gram itself, and finding many n-grams is one binary search a word.
"""

from dataclasses import dataclass

import numpy as np

NEVER = -99.0  # log10 of a probability of nothing, as ARPA files write it
ABSENT = -1


@dataclass
class Level:
    """The M n-grams of one order.

    Attributes:
        key: ``(M,)`` int64, rising.
        log_prob: ``(M,)`` log10 of the last word's probability after the others.
        backoff: ``(M,)`` log10 of the weight that shorter contexts have where a word
            never followed this n-gram.
    """

    key: np.ndarray
    log_prob: np.ndarray
    backoff: np.ndarray

    def find(self, keys: np.ndarray) -> np.ndarray:
        """Places of keys in the level; :data:`ABSENT` where it lacks one."""
        if len(self.key) == 0:
            return np.full(len(keys), ABSENT)
        place = np.searchsorted(self.key, keys)
        place[place == len(self.key)] = 0
        return np.where(self.key[place] == keys, place, ABSENT)


@dataclass
class Trie:
    """Levels of order 1 to N over V words.

    Attributes:
        levels: The first holds every word, in the order of the words' ids. The last
            are not empty: see :meth:`of`.
        size: V.
    """

    levels: list[Level]
    size: int

    @classmethod
    def of(cls, levels: list[Level], size: int) -> "Trie":
        """A trie whose order is that of the longest n-grams there are."""
        order = max(n for n, level in enumerate(levels, 1) if len(level.key))
        return cls(levels[:order], size)

    def context(self, order: int) -> np.ndarray:
        """``(M,)`` place of each n-gram's context in the level above."""
        return self.levels[order - 1].key // self.size

    def word(self, order: int) -> np.ndarray:
        """``(M,)`` id of each n-gram's last word."""
        return self.levels[order - 1].key % self.size

    def ngrams(self, order: int, places: np.ndarray) -> np.ndarray:
        """Word ids ``(len(places), order)`` of the n-grams at some places."""
        columns = []
        for level in reversed(self.levels[:order]):
            places, word = np.divmod(level.key[places], self.size)
            columns.append(word)
        return np.stack(columns[::-1], axis=1)

    def log_prob(self, ngrams: np.ndarray) -> np.ndarray:
        """Log10 probability of the last word after the others, backing off.

        Args:
            ngrams: ``(M, n)`` word ids; of a context longer than the model's the
                words next to the last one count.

        Returns:
            ``(M,)``.
        """
        result = self.levels[0].log_prob[ngrams[:, -1]]
        for order in range(2, min(ngrams.shape[1], len(self.levels)) + 1):
            level, above = self.levels[order - 1], self.levels[order - 2]
            context = self.find(ngrams[:, -order:-1])
            place = level.find(context * self.size + ngrams[:, -1])
            weight = np.where(context == ABSENT, 0.0, above.backoff[context])
            seen = level.log_prob[place]
            result = np.where(place == ABSENT, weight + result, seen)
        return result

    def find(self, ngrams: np.ndarray) -> np.ndarray:
        """Places ``(M,)`` of n-grams ``(M, n)`` in the level of their order."""
        place = ngrams[:, 0]
        for level, word in zip(self.levels[1:], ngrams[:, 1:].T):
            # below an absent one the key is negative, and so is absent itself
            place = level.find(place * self.size + word)
        return place

    def suffixes(self) -> list[np.ndarray]:
        """Of each order, the place of ``w_2 .. w_n`` in the level above, or ABSENT."""
        links = [np.zeros(self.size, dtype=np.int64)]
        for order in range(2, len(self.levels) + 1):
            context = links[-1][self.context(order)]
            keys = context * self.size + self.word(order)
            links.append(self.levels[order - 2].find(keys))
        return links

    def lower(self, order: int, suffix: np.ndarray) -> np.ndarray:
        """Log10 probability of each n-gram's last word after a context one shorter.

        Args:
            order: At least 2.
            suffix: ``(M,)`` of that order, from :meth:`suffixes`.
        """
        result = self.levels[order - 2].log_prob[suffix]
        absent = np.flatnonzero(suffix == ABSENT)
        result[absent] = self.log_prob(self.ngrams(order, absent)[:, 1:])
        return result
