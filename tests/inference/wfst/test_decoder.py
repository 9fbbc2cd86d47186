"""The decoder finds the words with the best path, and says what it cannot find."""

import gc
import sys

import numpy as np
import pytest

from espnet_smoe.inference.wfst.decoder import WfstDecoder
from tests.inference.toy_graph import LEXICON, TOKENS, Toy, ToyModel, frames_of

WIDE = {"beam": 1000.0, "lattice_beam": 1000.0}
TOLERANCE = 0.005  # nats; costs that differ less are one when a graph is determinised


def random_frames(seed: int, frames: int = 4) -> np.ndarray:
    logits = 2 * np.random.default_rng(seed).normal(size=(frames, len(TOKENS)))
    log_probs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return log_probs.astype(np.float32)


def unigrams(**log_probs: float) -> ToyModel:
    ngrams = {(word,): value for word, value in log_probs.items()}
    return ToyModel({("<s>",): -99.0, ("</s>",): -0.5, **ngrams}, {})


@pytest.fixture
def toy(tmp_path):
    return Toy(tmp_path, ToyModel.random(0), LEXICON)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("scale", [1.0, 0.4])
def test_the_best_words_are_those_of_a_search_through_all(tmp_path, seed, scale):
    toy = Toy(tmp_path, ToyModel.random(seed), LEXICON)
    decoder = WfstDecoder(toy.graph, acoustic_scale=scale, **WIDE)
    for utterance in range(3):
        log_probs = random_frames(100 * seed + utterance)
        expected = toy.scores(log_probs, scale)
        best = max(expected, key=expected.__getitem__)
        (found,) = decoder.decode(log_probs)
        assert found.score == pytest.approx(expected[best], abs=TOLERANCE)
        assert expected[found.words] == pytest.approx(expected[best], abs=TOLERANCE)
        assert found.complete


@pytest.mark.parametrize("seed", range(4))
def test_several_hypotheses_are_the_best_different_ones(tmp_path, seed):
    toy = Toy(tmp_path, ToyModel.random(seed), LEXICON)
    log_probs = random_frames(seed)
    expected = toy.scores(log_probs)
    found = WfstDecoder(toy.graph, **WIDE).decode(log_probs, nbest=12)
    assert len({h.words for h in found}) == len(found) == 12
    scores = [h.score for h in found]
    assert scores == pytest.approx(sorted(scores, reverse=True))
    best = sorted(expected.values(), reverse=True)[:12]
    assert scores == pytest.approx(best, abs=TOLERANCE)
    for h in found:
        assert h.score == pytest.approx(expected[h.words], abs=TOLERANCE)
        readings = {" ".join(units) for units in readings_of(h.words)}
        assert " ".join(h.units) in readings


def readings_of(words):
    """All sequences of units that say some words."""
    if not words:
        return [()]
    return [
        (*reading.split(), *rest)
        for reading in LEXICON[words[0]]
        for rest in readings_of(words[1:])
    ]


def test_fewer_hypotheses_than_wanted_are_all_there_are(tmp_path):
    toy = Toy(tmp_path, unigrams(a=-0.5), {"a": ["a"]})
    found = WfstDecoder(toy.graph, **WIDE).decode(frames_of("a", "-", "a"), nbest=50)
    assert [h.words for h in found] == [("a", "a"), ("a",), ()]


def test_the_language_model_decides_between_homophones(tmp_path):
    lexicon = {"ab": ["a b"], "AB": ["a b"]}
    heard = frames_of("a", "a", "-", "b")
    for winner, loser in (("ab", "AB"), ("AB", "ab")):
        (folder := tmp_path / winner).mkdir()
        toy = Toy(folder, unigrams(**{winner: -0.5, loser: -1.5}), lexicon)
        found = WfstDecoder(toy.graph).decode(heard, nbest=2)
        assert [h.words for h in found] == [(winner,), (loser,)]
        assert found[0].units == found[1].units == ("a", "b")
        assert found[0].score - found[1].score == pytest.approx(np.log(10), abs=0.01)


def test_two_equal_units_need_a_blank_between_them(tmp_path):
    toy = Toy(tmp_path, unigrams(a=-3.0, aa=-0.1), {"a": ["a"], "aa": ["a a"]})
    decoder = WfstDecoder(toy.graph)
    (once,), (twice,) = (
        decoder.decode(frames_of("a", *between, "a", sure=0.999))
        for between in ([], ["-"])
    )
    assert (once.words, once.units) == (("a",), ("a",))
    assert (twice.words, twice.units) == (("aa",), ("a", "a"))


def test_an_utterance_that_ends_within_a_word_is_marked(tmp_path):
    toy = Toy(tmp_path, unigrams(bc=-0.5), {"bc": ["b c"]})
    heard = frames_of("b", "c", "-", "b", sure=1 - 1e-6)
    decoder = WfstDecoder(toy.graph, beam=8)
    for nbest in (1, 2):
        (found,) = decoder.decode(heard, nbest)
        assert not found.complete
        assert (found.words[0], found.units) == ("bc", ("b", "c", "b"))
    assert decoder.decode(heard[:2])[0].complete


def test_no_frames_or_no_possible_path_give_no_hypothesis(toy):
    decoder = WfstDecoder(toy.graph)
    impossible = np.full((3, len(TOKENS)), -np.inf, dtype=np.float32)
    impossible[:, 1] = 0.0  # <unk> is in no word
    for nbest in (1, 3):
        assert decoder.decode(np.empty((0, len(TOKENS))), nbest) == []
        assert decoder.decode(impossible, nbest) == []
        assert decoder.decode(frames_of("a", "b"), nbest)  # and goes on


def test_an_utterance_is_decoded_alike_whatever_came_before(toy):
    decoders = WfstDecoder(toy.graph, **WIDE), WfstDecoder(toy.graph, **WIDE)
    gc.collect()  # what only a decoder pointed to would be gone
    utterances = [random_frames(seed, frames) for seed, frames in enumerate((4, 2, 6))]
    first = [decoders[0].decode(u, nbest=3) for u in utterances]
    again = [decoders[1].decode(u, nbest=3) for u in utterances[::-1]]
    assert first == again[::-1]
    assert [decoders[0].decode(u)[0].words for u in utterances] == [
        found[0].words for found in first
    ]


def test_the_models_units_must_be_those_of_the_graph(toy):
    WfstDecoder(toy.graph, tokens=list(TOKENS))
    with pytest.raises(
        ValueError, match=r"tokens.txt:4: the graph has 'b' where .*'c'"
    ):
        WfstDecoder(toy.graph, tokens=["<blank>", "<unk>", "a", "c", "b"])
    with pytest.raises(ValueError, match="tokens.txt:6: .*nothing where .*'d'"):
        WfstDecoder(toy.graph, tokens=[*TOKENS, "d"])


@pytest.mark.parametrize(
    "log_probs, message",
    [
        (np.zeros((3, 7)), r"must be \(T, 5\) for the units"),
        (np.zeros(5), r"got \(5,\)"),
        (np.full((1, 5), np.nan), "hold NaN"),
    ],
)
def test_what_is_no_output_of_the_model_is_refused(toy, log_probs, message):
    with pytest.raises(ValueError, match=message):
        WfstDecoder(toy.graph).decode(log_probs)


@pytest.mark.parametrize(
    "options", [{"beam": 0.0}, {"max_active": 1}, {"acoustic_scale": -1.0}]
)
def test_options_that_find_nothing_are_refused(toy, options):
    with pytest.raises(ValueError, match=f"{next(iter(options))} must be"):
        WfstDecoder(toy.graph, **options)


def test_a_missing_or_broken_graph_is_named(toy):
    (toy.graph / "TLG.fst").write_bytes(b"no graph")
    with pytest.raises(ValueError, match="TLG.fst is missing or broken"):
        WfstDecoder(toy.graph)
    (toy.graph / "TLG.fst").unlink()
    with pytest.raises(ValueError, match="TLG.fst is missing or broken"):
        WfstDecoder(toy.graph)
    with pytest.raises(ValueError, match="tokens.txt does not exist"):
        WfstDecoder(toy.folder / "nowhere")


def test_without_kaldi_decoder_the_extra_is_named(toy, monkeypatch):
    graph = toy.graph
    monkeypatch.setitem(sys.modules, "kaldi_decoder", None)
    with pytest.raises(ModuleNotFoundError, match=r"espnet_smoe\[wfst\]"):
        WfstDecoder(graph)
