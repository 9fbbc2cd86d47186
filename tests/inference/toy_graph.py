"""A lexicon and a language model so small that every sentence can be scored."""

from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path

import numpy as np

from espnet_smoe.inference.wfst.graph import build_graph
from espnet_smoe.model.ctc_path import collapse

TOKENS = ("<blank>", "<unk>", "a", "b", "c")
LEXICON = {
    "ab": ["a b"],
    "AB": ["a b", "c"],  # a homophone of the first, and a second reading
    "a": ["a"],  # begins as others do
    "aa": ["a a"],  # sounds as "a" said twice
    "bc": ["b c"],
    "b": ["b"],
}
NATS = np.log(10)
N = tuple[str, ...]


@dataclass
class ToyModel:
    """An n-gram model: log10 probabilities, log10 back-off weights."""

    log_probs: dict[N, float]
    backoffs: dict[N, float]

    @classmethod
    def random(cls, seed: int, words: tuple[str, ...] = tuple(LEXICON)) -> "ToyModel":
        """Trigrams; a third of all n-grams is there, with or without their ends."""
        rng = np.random.default_rng(seed)
        log_probs = {(w,): -rng.uniform(0.2, 2.0) for w in (*words, "</s>")}
        log_probs["<s>",] = -99.0
        for order in (2, 3):
            histories = [n for n in log_probs if len(n) == order - 1]
            for history, word in product(histories, (*words, "</s>")):
                if history[-1] != "</s>" and rng.random() < 0.3:
                    log_probs[*history, word] = -rng.uniform(0.1, 1.5)
        return cls(log_probs, {n: -rng.uniform(0, 1) for n in log_probs if len(n) < 3})

    def write(self, path: Path) -> Path:
        """Write an ARPA file."""
        orders = range(1, max(map(len, self.log_probs)) + 1)
        of_order = {k: [n for n in self.log_probs if len(n) == k] for k in orders}
        lines = ["\\data\\", *(f"ngram {k}={len(v)}" for k, v in of_order.items())]
        for k, ngrams in of_order.items():
            lines += ["", f"\\{k}-grams:"]
            for n in ngrams:
                backoff = f"\t{self.backoffs[n]}" if n in self.backoffs else ""
                lines.append(f"{self.log_probs[n]}\t{' '.join(n)}{backoff}")
        path.write_text("\n".join([*lines, "", "\\end\\", ""]))
        return path

    def score(self, sentence: N) -> float:
        """Log probability of the best way through, in nats.

        A way may back off wherever it likes.
        """
        return NATS * self._score(("<s>",), (*sentence, "</s>"))

    def _score(self, history: N, rest: N) -> float:
        ways = [-np.inf]
        if (ngram := (*history, rest[0])) in self.log_probs:
            after = self._score(ngram, rest[1:]) if len(rest) > 1 else 0.0
            ways.append(self.log_probs[ngram] + after)
        if history:
            tails = (history[k:] for k in range(1, len(history) + 1))
            tail = next(t for t in tails if not t or t in self.log_probs)
            ways.append(self.backoffs.get(history, 0.0) + self._score(tail, rest))
        return max(ways)


@dataclass
class Toy:
    """Files of a toy, and its sentences' scores."""

    folder: Path
    model: ToyModel
    lexicon: dict[str, list[str]]

    @cached_property
    def graph(self) -> Path:
        """Folder of the graph."""
        (self.folder / "tokens.txt").write_text("\n".join([*TOKENS, ""]))
        lines = [f"{w} {r}\n" for w, readings in self.lexicon.items() for r in readings]
        (self.folder / "lexicon.txt").write_text("".join(lines))
        arpa = self.model.write(self.folder / "lm.arpa")
        graph = self.folder / "graph"
        parts = self.folder / "tokens.txt", self.folder / "lexicon.txt", arpa
        build_graph(*parts, graph)
        return graph

    def scores(self, log_probs: np.ndarray, scale: float = 1.0) -> dict[N, float]:
        """Every sentence that fits an utterance, with its best alignment's score."""
        frames, units = log_probs.shape
        acoustic: dict[N, float] = {}
        for labels in product(range(units), repeat=frames):
            key = tuple(TOKENS[i] for i in collapse(labels, 0))
            of_one = scale * log_probs[np.arange(frames), labels].sum()
            acoustic[key] = max(acoustic.get(key, -np.inf), of_one)
        scores: dict[N, float] = {}
        for units, score in acoustic.items():
            for sentence in self._sentences(units):
                total = score + self.model.score(sentence)
                scores[sentence] = max(scores.get(sentence, -np.inf), total)
        return scores

    def _sentences(self, units: N) -> list[N]:
        """All sequences of words that sound like some units."""
        if not units:
            return [()]
        return [
            (word, *rest)
            for word, readings in self.lexicon.items()
            for reading in map(str.split, readings)
            if units[: len(reading)] == tuple(reading)
            for rest in self._sentences(units[len(reading) :])
        ]


def frames_of(*labels: str, sure: float = 0.9) -> np.ndarray:
    """Log probabilities ``(T, V)`` that favour one label a frame; ``-`` is a blank."""
    rest = (1 - sure) / (len(TOKENS) - 1)
    log_probs = np.full((len(labels), len(TOKENS)), np.log(rest), dtype=np.float32)
    for frame, label in zip(log_probs, labels):
        frame[0 if label == "-" else TOKENS.index(label)] = np.log(sure)
    return log_probs
