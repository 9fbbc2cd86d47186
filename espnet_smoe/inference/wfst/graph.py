"""Build the graph that a CTC model is decoded with, T o L o G (stage 8).

    python3 -m espnet_smoe.inference.wfst.graph --tokens data/lang/tokens.txt \\
        --lexicon data/lang/lexicon.txt --arpa data/lang/lm.arpa --out data/lang/graph

T is the CTC topology, L the lexicon, G the language model. The folder then holds
``TLG.fst``, ``words.txt`` (words and their labels), a copy of ``tokens.txt``, which
decoding compares with the model's units, and ``graph.json``, what all was made of.
"""

import argparse
import json
import logging
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from espnet_smoe.command import new_parser, run_command
from espnet_smoe.data.data_dir import write_lines
from espnet_smoe.data.text.tokens import BLANK
from espnet_smoe.data.text.unicode_text import normalize_unicode
from espnet_smoe.inference.wfst.grammar_fst import grammar_fst
from espnet_smoe.inference.wfst.lexicon_fst import (
    EPSILON,
    Reading,
    disambiguate,
    import_kaldifst,
    lexicon_fst,
    topology,
)
from espnet_smoe.lm.arpa import read_arpa
from espnet_smoe.lm.ngram import NGram
from espnet_smoe.lm.text import SPECIAL

GRAPH, WORDS, TOKENS, FACTS = "TLG.fst", "words.txt", "tokens.txt", "graph.json"
NAMED = 10  # words that a report names


@dataclass(frozen=True)
class Facts:
    """What a graph was made of, and what became of it.

    Attributes:
        tokens: The list of units.
        lexicon: The lexicon.
        arpa: The language model.
        words: Words that can be recognised.
        readings: Their readings.
        symbols: Symbols needed to tell homophones and prefixes apart.
        ngrams: N-grams of each order, from 1, in the language model.
        no_reading: Words of the language model without a line in the lexicon.
        no_ngram: Words of the lexicon that the language model does not know.
        states: States of the graph.
    """

    tokens: str
    lexicon: str
    arpa: str
    words: int
    readings: int
    symbols: int
    ngrams: list[int]
    no_reading: int
    no_ngram: int
    states: int


def read_tokens(path: Path) -> list[str]:
    """Read the units of a model, one a line.

    Raises:
        ValueError: The file is missing, a unit stands there twice, or the blank does
            not.
    """
    lines = _read_lines(path)
    tokens = lines[:-1] if lines[-1] == "" else lines
    first: dict[str, int] = {}
    for number, token in enumerate(tokens, 1):
        if not token or first.setdefault(token, number) != number:
            what = f"{token!r} stands in line {first[token]}, too" if token else "empty"
            raise ValueError(f"{path}:{number}: {what}. Write each unit once.")
    if BLANK not in first:
        raise ValueError(f"{path}: no {BLANK}. Give the list the model learned from.")
    return tokens


def read_lexicon(path: Path, tokens: Sequence[str]) -> dict[str, list[tuple[str, ...]]]:
    """Read words and their readings, ``word unit unit ...`` a line.

    Args:
        path: The file.
        tokens: All units of the model.

    Returns:
        Of each word its readings, in the order of the file; doubled lines count once.

    Raises:
        ValueError: The file is missing or empty, a word has no units or an unknown
            unit.
    """
    known = set(tokens) - {BLANK}
    lexicon: dict[str, dict[tuple[str, ...], None]] = {}
    for number, line in enumerate(_read_lines(path), 1):
        if not (fields := normalize_unicode(line).split()):
            continue
        word, units = fields[0], tuple(fields[1:])
        if not units:
            raise ValueError(
                f"{path}:{number}: {word!r} has no units. Add a reading, or take the "
                "line out."
            )
        if unknown := sorted(set(units) - known):
            raise ValueError(
                f"{path}:{number}: {word!r} has unit {unknown[0]!r}, which tokens.txt "
                "lacks. Correct the reading, or write both files anew (stage 5)."
            )
        lexicon.setdefault(word, {})[units] = None
    for mark in [word for word in lexicon if word.lower() in SPECIAL]:
        del lexicon[mark]  # no word that can be said
    if not lexicon:
        raise ValueError(f"{path}: no words in it. Write a lexicon (stage 5).")
    return {word: list(readings) for word, readings in lexicon.items()}


def _read_lines(path: Path) -> list[str]:
    if not path.is_file():
        raise ValueError(f"{path} does not exist; stage 5 writes it.")
    try:
        return path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8. Convert the file with iconv.") from error


def build_graph(tokens: Path, lexicon: Path, arpa: Path, out_dir: Path) -> Facts:
    """Build a decoding graph.

    Args:
        tokens: Units of the model, one a line, in the order of its outputs.
        lexicon: Words and their units.
        arpa: Language model, an ARPA file, which may be compressed by gzip.
        out_dir: Folder to write.

    Returns:
        What it was made of.

    Raises:
        ValueError: A file is missing, empty or faulty, or language model and lexicon
            have no word in common; says in which line, and what to do.
        ModuleNotFoundError: kaldifst is not installed.

    Example:
        >>> import tempfile
        >>> lang = Path(tempfile.mkdtemp())
        >>> _ = (lang / "tokens.txt").write_text("<blank>\\nni3\\nhao3\\n")
        >>> _ = (lang / "lexicon.txt").write_text("a ni3 hao3\\n")
        >>> from espnet_smoe.lm.arpa import write_arpa
        >>> logging.disable()  # so small a text makes the estimator warn
        >>> write_arpa(NGram.estimate(["a a"], order=1), lang / "lm.arpa")
        >>> parts = lang / "tokens.txt", lang / "lexicon.txt", lang / "lm.arpa"
        >>> build_graph(*parts, lang / "graph").words
        1
    """
    import_kaldifst()  # before any work
    units = read_tokens(tokens)
    pronounced = read_lexicon(lexicon, units)
    model = read_arpa(arpa)
    words, no_reading, no_ngram = _shared_words(model, pronounced)
    if not words:
        raise ValueError(
            f"{arpa} and {lexicon} have no word in common. Segment the text of the "
            "language model into the words of the lexicon."
        )
    _report(f"words of {arpa} without a reading in {lexicon}", no_reading)
    _report(f"words of {lexicon} that {arpa} does not know", no_ngram)
    labels = {word: label for label, word in enumerate(words, 1)}
    unit_labels = {unit: label for label, unit in enumerate(units, 1)}
    readings = [
        (labels[word], tuple(unit_labels[unit] for unit in reading))
        for word in words
        for reading in pronounced[word]
    ]
    numbers = disambiguate(readings)
    grammar_labels = np.array([labels.get(word, EPSILON) for word in model.words])
    graph = _compose(readings, numbers, model, grammar_labels, unit_labels)
    facts = Facts(
        tokens=str(tokens),
        lexicon=str(lexicon),
        arpa=str(arpa),
        words=len(words),
        readings=len(readings),
        symbols=max(numbers),
        ngrams=model.counts,
        no_reading=len(no_reading),
        no_ngram=len(no_ngram),
        states=graph.num_states,
    )
    _write(out_dir, graph, ["<eps>", *words, "#0"], units, facts)
    return facts


def _shared_words(
    model: NGram, lexicon: Iterable[str]
) -> tuple[list[str], list[str], list[str]]:
    """Words of both, of the language model alone, of the lexicon alone."""
    spoken = [word for word in model.words if word not in SPECIAL]
    there, pronounced = set(spoken), set(lexicon)
    return (
        [word for word in lexicon if word in there],
        [word for word in spoken if word not in pronounced],
        [word for word in lexicon if word not in there],
    )


def _report(what: str, words: Sequence[str]) -> None:
    if words:
        names = " ".join(words[:NAMED]) + (" ..." if len(words) > NAMED else "")
        logging.warning(f"{what}: {len(words)}, which cannot be recognised: {names}")


def _compose(
    readings: Sequence[Reading],
    numbers: Sequence[int],
    model: NGram,
    grammar_labels: np.ndarray,
    unit_labels: dict[str, int],
) -> Any:
    """T o det(L o G), as ``kaldifst.StdConstFst``.

    It is not minimised: with 100,000 words and 3 million n-grams that took a quarter
    of all the time, spared 7 % of the states, and rounded the costs.
    """
    kaldifst = import_kaldifst()
    first = len(unit_labels) + 1  # label of #0 among the units
    backoff = int(grammar_labels.max()) + 1  # and among the words
    lexicon = lexicon_fst(readings, numbers, first, backoff)
    grammar = grammar_fst(model, grammar_labels, backoff)
    graph = kaldifst.compose(lexicon, grammar)
    del lexicon, grammar
    # in the log semiring a common beginning costs what its words cost together
    kaldifst.determinize_star(graph, use_log=True)
    kaldifst.arcsort(graph, sort_type="ilabel")
    used = sorted({unit for _, units in readings for unit in units})
    symbols = range(first, first + max(numbers) + 1)
    frames = topology(unit_labels[BLANK], used, symbols)
    # nothing to connect: T leads from every state of L o G to its end
    return kaldifst.StdConstFst(kaldifst.compose(frames, graph, connect=False))


def _write(
    out: Path, graph: Any, words: Sequence[str], units: Sequence[str], facts: Facts
) -> None:
    """Write a graph's folder; the graph itself comes last, and whole."""
    out.mkdir(parents=True, exist_ok=True)
    (out / GRAPH).unlink(missing_ok=True)  # it would not fit the new words
    write_lines(out / WORDS, (f"{word} {label}" for label, word in enumerate(words)))
    write_lines(out / TOKENS, units)
    write_lines(out / FACTS, [json.dumps(asdict(facts), indent=1, ensure_ascii=False)])
    partial = out / f"{GRAPH}.part"
    if not graph.write(str(partial)):
        raise ValueError(f"{partial} could not be written. Is the disk full?")
    os.replace(partial, out / GRAPH)


def get_parser() -> argparse.ArgumentParser:
    """Options of the command."""
    parser = new_parser("python3 -m espnet_smoe.inference.wfst.graph", __doc__)
    add = parser.add_argument
    add("--tokens", type=Path, required=True, help="units of the model, one a line")
    add("--lexicon", type=Path, required=True, help="'word unit unit ...' a line")
    add("--arpa", type=Path, required=True, help="language model (or .gz)")
    add("--out", type=Path, required=True, help="folder to write")
    return parser


def main(argv: list[str] | None = None) -> None:
    """Run the command."""
    logging.basicConfig(format="%(levelname)s: %(message)s")
    args = get_parser().parse_args(argv)
    facts = build_graph(args.tokens, args.lexicon, args.arpa, args.out)
    print(
        f"{args.out / GRAPH}: {facts.words} words, {facts.readings} readings, "
        f"{sum(facts.ngrams)} n-grams, {facts.states} states"
    )


if __name__ == "__main__":
    sys.exit(run_command(main))
