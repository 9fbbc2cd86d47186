"""``espnet-smoe benchmark wfst``: building a decoding graph, and searching in it.

A lexicon of made-up words over the units of a Mandarin model, and a text in which some
words follow each other more often than others. The time in `comparisons` is without
making these. Utterances are sentences of that text, as a CTC head that is not quite
sure would give them: a unit is one or two frames among blanks, all with noise.
"""

import atexit
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from espnet_smoe.benchmark.comparison import Comparison, option, quick
from espnet_smoe.benchmark.measure import Sides
from espnet_smoe.data.data_dir import write_lines
from espnet_smoe.inference.search.ctc_prefix import greedy, prefix_beam
from espnet_smoe.inference.wfst.decoder import WfstDecoder
from espnet_smoe.inference.wfst.graph import GRAPH, build_graph
from espnet_smoe.lm.arpa import write_arpa
from espnet_smoe.lm.ngram import NGram

ROUNDS = 3
BUILD = "a graph, from lexicon and ARPA file"
GREEDY, PREFIX = "units: greedy", "units: prefix beam"
WORDS, TEN_BEST = "words: best path in the graph", "words: 10 best from a lattice"
BUILD_GOAL, MEMORY_GOAL, RTF_GOAL = 150.0, 3.0, 0.05  # seconds, GB, of real time
FRAME_RATE = 100 / 3  # frames a second
LENGTHS = (0.06, 0.55, 0.27, 0.12)  # shares of words of one, two, ... units
ORDER = 5
PRUNE = 1e-8
PREFIXES = 8  # beam of the prefix search
SENTENCE = 10  # words

Timed = tuple[float, list]  # seconds, what each utterance gave


@dataclass(frozen=True)
class Sizes:
    """What the graph is made of, and what is decoded."""

    words: int = option(100_000, "words of the lexicon", quick=50)
    sentences: int = option(
        500_000, f"sentences of {SENTENCE} words that the 5-gram comes from", quick=200
    )
    vocabulary: int = option(1434, "units, with the blank", quick=20)
    utterances: int = option(20, "sentences to decode", quick=2)
    beam: int = option(15, "of both searches for words")
    max_active: int = option(7000, "paths kept in a frame")


QUICK = quick(Sizes)


def comparisons(sizes: Sizes) -> list[Comparison]:
    """Building and decoding, for which all sides use the files of one folder."""
    folder = Path(tempfile.mkdtemp(prefix="wfst-benchmark-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return [
        Comparison(
            name=f"{sizes.words} words, {ORDER}-gram of {sizes.sentences} sentences",
            build=partial(build_of, sizes, folder),
            baseline=BUILD,
            check=say_build,
        ),
        Comparison(
            name=f"{sizes.utterances} utterances, {sizes.vocabulary} units",
            build=partial(searches_of, sizes, folder),
            baseline=GREEDY,
            check=partial(say_searches, sizes),
        ),
    ]


def build_of(sizes: Sizes, folder: Path) -> Sides:
    """The one side of the first comparison; returns seconds and results."""
    make_language(sizes, folder)

    def run() -> tuple[float, int]:
        return _timed(partial(build_graph, *_parts(folder), folder / "graph"))

    return {BUILD: run}


def searches_of(sizes: Sizes, folder: Path) -> Sides:
    """A side a search; each returns its seconds and its results."""
    make_language(sizes, folder)
    graph = folder / "graph"
    if not (graph / GRAPH).is_file():
        build_graph(*_parts(folder), graph)
    log_probs = [of_one for _, of_one in utterances(sizes)]
    decoder = WfstDecoder(graph, beam=sizes.beam, max_active=sizes.max_active)
    searches: dict[str, Callable] = {
        GREEDY: greedy,
        PREFIX: partial(prefix_beam, beam=PREFIXES),
        WORDS: decoder.decode,
        TEN_BEST: partial(decoder.decode, nbest=10),
    }

    def run(search: Callable) -> Timed:
        return _timed(lambda: [search(of_one) for of_one in log_probs])

    return {name: partial(run, search) for name, search in searches.items()}


def _timed(work: Callable) -> tuple[float, object]:
    begun = time.perf_counter()
    result = work()
    return time.perf_counter() - begun, result


def say_build(results: Mapping[str, tuple]) -> str:
    """How long it took, beside the goal."""
    seconds, facts = results[BUILD]
    return (
        f"{sum(facts.ngrams)} n-grams, {facts.states} states, {seconds:.0f} s; goals: "
        f"{BUILD_GOAL:.0f} s and a peak of {MEMORY_GOAL * 1e9 / 2**20:,.0f} MiB"
    )


def say_searches(sizes: Sizes, results: Mapping[str, Timed]) -> str:
    """Real-time factors, and how many words were found."""
    spoken = utterances(sizes)
    seconds = sum(len(log_probs) for _, log_probs in spoken) / FRAME_RATE
    factors = ", ".join(f"{n} {took / seconds:.4f}" for n, (took, _) in results.items())
    right = sum(
        bool(best) and best[0].words == words
        for best, (words, _) in zip(results[WORDS][1], spoken)
    )
    same = sum(
        [h.words for h in one[:1]] == [h.words for h in ten[:1]]
        for one, ten in zip(results[WORDS][1], results[TEN_BEST][1])
    )
    return (
        f"{seconds:.0f} s of speech; real-time factors (goal of the words: "
        f"{RTF_GOAL}): {factors}; {right} of {len(spoken)} sentences right, "
        f"{same} with the same best words in the lattice"
    )


# -- made-up language ------------------------------------------------------------------


def make_language(sizes: Sizes, folder: Path) -> None:
    """Write ``tokens.txt``, ``lexicon.txt`` and ``lm.arpa``, if not yet there."""
    tokens, lexicon, arpa = _parts(folder)
    if arpa.is_file():
        return
    units = [f"u{i}" for i in range(1, sizes.vocabulary)]
    write_lines(tokens, ["<blank>", *units])
    readings = _readings(sizes)
    lines = (f"w{w} " + " ".join(f"u{u}" for u in r) for w, r in enumerate(readings))
    write_lines(lexicon, lines)
    text = (
        " ".join(f"w{word}" for word in sentence)
        for sentence in _sentences(sizes, sizes.sentences, seed=1).tolist()
    )
    words = [f"w{word}" for word in range(sizes.words)]
    write_arpa(NGram.estimate(text, ORDER, words).prune(PRUNE), arpa)


def utterances(sizes: Sizes) -> list[tuple[tuple[str, ...], np.ndarray]]:
    """Sentences and their log probabilities, float32 ``(T, V)``."""
    rng = np.random.default_rng(2)
    readings = _readings(sizes)
    sentences = _sentences(sizes, sizes.utterances, seed=3).tolist()
    return [
        (
            tuple(f"w{word}" for word in sentence),
            _log_probs_of([u for word in sentence for u in readings[word]], sizes, rng),
        )
        for sentence in sentences
    ]


def _parts(folder: Path) -> tuple[Path, Path, Path]:
    return folder / "tokens.txt", folder / "lexicon.txt", folder / "lm.arpa"


def _readings(sizes: Sizes) -> list[list[int]]:
    """Of each word its units, some of them frequent; many words sound alike."""
    rng = np.random.default_rng(0)
    share = 1 / np.arange(1, sizes.vocabulary) ** 0.8
    units = 1 + rng.choice(
        sizes.vocabulary - 1, (sizes.words, len(LENGTHS)), p=share / share.sum()
    )
    lengths = 1 + rng.choice(len(LENGTHS), sizes.words, p=LENGTHS)
    return [row[:n] for row, n in zip(units.tolist(), lengths.tolist())]


def _sentences(sizes: Sizes, count: int, seed: int) -> np.ndarray:
    """Words ``(count, SENTENCE)``: Zipf's law, and each has 20 usual successors."""
    rng = np.random.default_rng(seed)
    share = np.cumsum(1 / (np.arange(sizes.words) + 10))
    share /= share[-1]
    previous = np.zeros(count, dtype=np.int64)
    columns = []
    for _ in range(SENTENCE):
        rank = (20 * rng.random(count) ** 2).astype(np.int64)
        usual = (previous * 2654435761 + rank * 39571431) % 2**31 / 2**31
        place = np.where(rng.random(count) < 0.7, usual, rng.random(count))
        previous = np.searchsorted(share, place, side="right")
        columns.append(previous)
    return np.stack(columns, axis=1)


def _log_probs_of(
    units: Sequence[int], sizes: Sizes, rng: np.random.Generator
) -> np.ndarray:
    """What an unsure CTC head would say of some units."""
    labels: list[int] = []
    for unit in units:
        before, after = rng.integers(1, 4, size=2)
        labels += [0] * before + [unit] * rng.integers(1, 3) + [0] * after
    logits = rng.normal(0, 2.5, (len(labels), sizes.vocabulary))
    logits[np.arange(len(labels)), labels] += 11
    log_probs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return log_probs.astype(np.float32)
