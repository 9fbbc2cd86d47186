"""Words from the output of a CTC head, by a decoding graph and kaldi-decoder."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from espnet_smoe.data.text.tokens import BLANK
from espnet_smoe.inference.search.hypothesis import WordHypothesis
from espnet_smoe.inference.wfst.graph import GRAPH, TOKENS, WORDS, read_tokens
from espnet_smoe.inference.wfst.lexicon_fst import EPSILON, import_kaldifst
from espnet_smoe.model.ctc_path import collapse
from espnet_smoe.plugins import import_extra


class WfstDecoder:
    """Search the best words in a graph that `build_graph` has written.

    The best one alone comes from a search that `beam` and `max_active` bound, several
    ones from a lattice that `beam` and `lattice_beam` bound; where a model is so unsure
    that this is slow, a smaller beam helps.

    Args:
        graph_dir: Folder of the graph.
        tokens: The V units of the model; they must be those of the graph.
        beam: How much a path may cost more than the best of its frame, in nats.
        max_active: Paths kept in a frame where only the best words are asked for.
        lattice_beam: How much a path of a lattice may cost more than the best.
        acoustic_scale: Weight of the CTC log probabilities beside the graph.

    Raises:
        ValueError: The graph is missing or broken, was built for other units, or an
            option is too small.
        ModuleNotFoundError: kaldi-decoder is not installed.

    Example:
        ``WfstDecoder("data/lang/graph").decode(log_probs, nbest=5)[0].words``
    """

    def __init__(
        self,
        graph_dir: Path | str,
        tokens: Sequence[str] | None = None,
        *,
        beam: float = 15.0,
        max_active: int = 7000,
        lattice_beam: float = 6.0,
        acoustic_scale: float = 1.0,
    ):
        _check_positive(
            beam=beam, lattice_beam=lattice_beam, acoustic_scale=acoustic_scale
        )
        if max_active < 2:  # kaldi-decoder's condition
            raise ValueError(f"max_active must be at least 2, got {max_active}")
        kaldi_decoder = import_extra("kaldi_decoder", "wfst", "decoding by a graph")
        folder = Path(graph_dir)
        self.tokens = read_tokens(folder / TOKENS)
        if tokens is not None:
            _check_tokens(folder, self.tokens, tokens)
        self.blank = self.tokens.index(BLANK)
        self.acoustic_scale = acoustic_scale
        self._words = _read_words(folder / WORDS)
        # the decoders point to the graph, but do not hold it
        self._graph = _read_graph(folder / GRAPH)
        self._decodable = kaldi_decoder.DecodableCtc
        # by default 20 paths stay however bad they are: 50 times slower
        best = kaldi_decoder.FasterDecoderOptions(
            beam=beam, max_active=max_active, min_active=0
        )
        self._best = kaldi_decoder.FasterDecoder(self._graph, best)
        several = kaldi_decoder.LatticeSimpleDecoderConfig(
            beam=beam, lattice_beam=lattice_beam
        )
        self._several = kaldi_decoder.LatticeSimpleDecoder(self._graph, several)

    def decode(self, log_probs: np.ndarray, nbest: int = 1) -> list[WordHypothesis]:
        """Find the best words of one utterance.

        Args:
            log_probs: ``(T, V)`` of the CTC head.
            nbest: Hypotheses wanted.

        Returns:
            At most `nbest` hypotheses with different words, best first; none where
            there are no frames or no path is possible at all.

        Raises:
            ValueError: The shape is not ``(T, V)``, a value is NaN, or `nbest` is not
                positive.
        """
        _check_positive(nbest=nbest)
        log_probs = np.asarray(log_probs, dtype=np.float32)
        self._check(log_probs)
        if len(log_probs) == 0:
            return []
        # two decoders: the one that finds the best path alone makes no lattice
        decodable = self._decodable(self.acoustic_scale * log_probs)
        if nbest == 1:
            return list(self._best_one(decodable))
        return list(self._best_ones(decodable, nbest))

    def _best_one(self, decodable: Any) -> Iterator[WordHypothesis]:
        self._best.decode(decodable)
        found, path = self._best.get_best_path()
        if found:
            yield self._hypothesis(path, self._best.reached_final())

    def _best_ones(self, decodable: Any, nbest: int) -> Iterator[WordHypothesis]:
        """One path for each of the best sequences of words.

        The lattice has many paths with the same words. Determinised over the words
        alone it has one of each, the best; the units are then those of the best path
        through the lattice that says just these words.
        """
        kaldifst = import_kaldifst()
        self._several.decode(decodable)
        found, lattice = self._several.get_raw_lattice()
        if not found:
            return
        complete = bool(np.isfinite(self._several.final_relative_cost()))
        arcs = lattice.to_str(show_weight_one=True)
        words_only = _std_fst(arcs, units=False)
        kaldifst.determinize_star(words_only)
        both = _std_fst(arcs, units=True)
        kaldifst.arcsort(both, sort_type="olabel")
        for path in kaldifst.convert_nbest_to_vector(
            kaldifst.shortest_path(words_only, n=nbest)
        ):
            _, words, _, _ = kaldifst.get_linear_symbol_sequence(path)
            acceptor = kaldifst.make_linear_acceptor(words)
            one = kaldifst.shortest_path(kaldifst.compose(both, acceptor))
            yield self._hypothesis(one, complete)

    def _hypothesis(self, path: Any, complete: bool) -> WordHypothesis:
        kaldifst = import_kaldifst()
        _, frames, words, weight = kaldifst.get_linear_symbol_sequence(path)
        units = collapse(np.array(frames, dtype=np.int64) - 1, self.blank)
        parts = ("value1", "value2") if hasattr(weight, "value1") else ("value",)
        return WordHypothesis(
            tokens=tuple(units),
            words=tuple(self._words[label] for label in words),
            units=tuple(self.tokens[unit] for unit in units),
            score=-sum(getattr(weight, part) for part in parts),
            complete=complete,
        )

    def _check(self, log_probs: np.ndarray) -> None:
        units = len(self.tokens)
        if log_probs.ndim != 2 or log_probs.shape[1] != units:
            raise ValueError(
                f"log_probs must be (T, {units}) for the units of the graph, got "
                f"{log_probs.shape}. Take the graph that was built for the model."
            )
        if np.isnan(log_probs).any():
            raise ValueError("log_probs hold NaN. Check the audio and the model.")


def _check_positive(**options: float) -> None:
    for name, value in options.items():
        if not value > 0:
            raise ValueError(f"{name} must be positive, got {value}")


def _check_tokens(folder: Path, ours: list[str], models: Sequence[str]) -> None:
    """The graph must have been built for the model's units."""
    if ours == list(models):
        return
    pairs = enumerate(zip(ours, models))
    same = min(len(ours), len(models))
    place = next((i for i, (a, b) in pairs if a != b), same)
    both = [
        repr(units[place]) if place < len(units) else "nothing"
        for units in (ours, models)
    ]
    raise ValueError(
        f"{folder / TOKENS}:{place + 1}: the graph has {both[0]} where the model has "
        f"{both[1]}. Build the graph with the model's tokens.txt (stage 8)."
    )


def _read_words(path: Path) -> list[str]:
    """Words by label."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    words = [line.split()[0] for line in lines if line.strip()]
    if not words:
        raise ValueError(f"{path}: no words. Build the graph again (stage 8).")
    return words


def _read_graph(path: Path) -> Any:
    graph = import_kaldifst().StdConstFst.read(str(path)) if path.is_file() else None
    if graph is None:
        raise ValueError(f"{path} is missing or broken. Build the graph (stage 8).")
    return graph


def _std_fst(arcs: str, units: bool) -> Any:
    """A lattice with one cost an arc, from its text.

    Args:
        arcs: Lines with two costs, of the graph and of the acoustics.
        units: Read units and say words; or else read words and say nothing.
    """
    lines = []
    for line in arcs.splitlines():
        *state, costs = line.split()
        cost = sum(map(float, costs.split(",")))
        if len(state) > 1:
            source, target, unit, word = state
            labels = (unit, word) if units else (word, EPSILON)
            lines.append(f"{source} {target} {labels[0]} {labels[1]} {cost:.7g}")
        elif np.isfinite(cost):
            lines.append(f"{state[0]} {cost:.7g}")
    return import_kaldifst().compile("\n".join(lines))
