"""The graph holds what lexicon and language model share; faults are named."""

import gzip
import json
import logging
import sys

import pytest

from espnet_smoe.inference.wfst import graph
from espnet_smoe.inference.wfst import lexicon_fst as fst
from espnet_smoe.inference.wfst.decoder import WfstDecoder
from espnet_smoe.inference.wfst.graph import (
    build_graph,
    main,
    read_lexicon,
    read_tokens,
)
from espnet_smoe.inference.wfst.lexicon_fst import disambiguate
from tests.inference.toy_graph import LEXICON, TOKENS, Toy, ToyModel, frames_of


@pytest.fixture
def toy(tmp_path):
    toy = Toy(tmp_path, ToyModel.random(0), LEXICON)
    assert toy.graph.is_dir()
    return toy


def parts(toy):
    """Tokens, lexicon and language model of a toy."""
    return [toy.folder / name for name in ("tokens.txt", "lexicon.txt", "lm.arpa")]


def test_homophones_and_beginnings_of_words_are_told_apart():
    readings = [(1, (5, 6)), (2, (5, 6)), (3, (5,)), (4, (7,)), (5, (5,)), (6, (6, 5))]
    numbers = disambiguate(readings)
    assert numbers == [1, 2, 1, 0, 2, 0]
    marked = {(units, number) for (_, units), number in zip(readings, numbers)}
    assert len(marked) == len(readings)


def test_the_folder_holds_what_decoding_needs(toy):
    assert {path.name for path in toy.graph.iterdir()} == {
        "TLG.fst",
        "words.txt",
        "tokens.txt",
        "graph.json",
    }
    assert tuple(read_tokens(toy.graph / "tokens.txt")) == TOKENS
    words = (toy.graph / "words.txt").read_text().splitlines()
    assert [line.split()[0] for line in words] == ["<eps>", *LEXICON, "#0"]
    assert [int(line.split()[1]) for line in words] == list(range(len(LEXICON) + 2))
    facts = json.loads((toy.graph / "graph.json").read_text())
    assert (facts["words"], facts["readings"]) == (6, 7)
    assert facts["ngrams"][0] == len(LEXICON) + 3  # with the three marks
    assert facts["arpa"].endswith("lm.arpa") and facts["states"] > 10


def test_words_of_one_side_alone_are_counted_and_named(tmp_path, caplog):
    lexicon = {word: LEXICON[word] for word in ("ab", "a", "b")} | {"zz": ["c c"]}
    toy = Toy(tmp_path, ToyModel.random(0), lexicon)
    with caplog.at_level(logging.WARNING):
        decoder = WfstDecoder(toy.graph, beam=100)
    said = " ".join(caplog.messages)
    assert "without a reading" in said and ": 3, which cannot be" in said
    assert "recognised: AB aa bc" in said
    assert "does not know: 1, which cannot be recognised: zz" in said
    facts = json.loads((toy.graph / "graph.json").read_text())
    assert (facts["words"], facts["no_reading"], facts["no_ngram"]) == (3, 3, 1)
    found = decoder.decode(frames_of("a", "b"), nbest=9)
    assert {word for h in found for word in h.words} == {"ab", "a", "b"}


def test_n_grams_with_dropped_words_leave_the_others_as_they_are(tmp_path):
    lexicon = {word: LEXICON[word] for word in ("ab", "a", "b")}
    toy = Toy(tmp_path, ToyModel.random(5), lexicon)
    heard = frames_of("a", "b", "-", "a", sure=0.5)
    expected = toy.scores(heard)
    for h in WfstDecoder(toy.graph, beam=100, lattice_beam=100).decode(heard, nbest=20):
        assert h.score == pytest.approx(expected[h.words], abs=0.02)


def test_a_compressed_model_makes_the_same_graph(toy):
    tokens, lexicon, arpa = parts(toy)
    packed = toy.folder / "lm.arpa.gz"
    packed.write_bytes(gzip.compress(arpa.read_bytes()))
    build_graph(tokens, lexicon, packed, toy.folder / "again")
    first, again = ((toy.folder / d / "TLG.fst") for d in ("graph", "again"))
    assert first.read_bytes() == again.read_bytes()


def test_a_line_that_stands_twice_counts_once(toy):
    tokens, lexicon, arpa = parts(toy)
    lexicon.write_text(lexicon.read_text() + "\nab a b\n<unk> c\n")
    assert build_graph(tokens, lexicon, arpa, toy.folder / "again").readings == 7


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "lexicon.txt: no words in it. Write a lexicon"),
        ("<unk> a\n", "lexicon.txt: no words in it"),
        ("ab a b\nbad\n", "lexicon.txt:2: 'bad' has no units. Add a reading"),
        ("ab a b\nbad a q9\n", "lexicon.txt:2: 'bad' has unit 'q9', which tokens.txt"),
        ("bad <blank>\n", "lexicon.txt:1: 'bad' has unit '<blank>'"),
        ("other a b\n", "have no word in common. Segment"),
    ],
)
def test_a_faulty_lexicon_is_named(toy, text, message):
    tokens, lexicon, arpa = parts(toy)
    lexicon.write_text(text)
    with pytest.raises(ValueError) as error:
        build_graph(tokens, lexicon, arpa, toy.folder / "again")
    assert message in str(error.value)
    assert not (toy.folder / "again").exists()


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "tokens.txt: no <blank>"),
        ("a\nb\n", "tokens.txt: no <blank>"),
        ("<blank>\na\na\n", "tokens.txt:3: 'a' stands in line 2, too"),
        ("<blank>\n\na\n", "tokens.txt:2: empty"),
    ],
)
def test_a_faulty_list_of_units_is_named(tmp_path, text, message):
    (tmp_path / "tokens.txt").write_text(text)
    with pytest.raises(ValueError) as error:
        read_tokens(tmp_path / "tokens.txt")
    assert message in str(error.value)


def test_a_text_in_another_encoding_is_named(toy):
    tokens, lexicon, arpa = parts(toy)
    lexicon.write_bytes("\u4e2d a b\n".encode("gb18030"))
    with pytest.raises(ValueError, match="lexicon.txt: not UTF-8"):
        build_graph(tokens, lexicon, arpa, toy.folder / "again")


def test_missing_files_are_named(toy):
    tokens, lexicon, arpa = parts(toy)
    for missing in (tokens, lexicon, arpa):
        content = missing.read_bytes()
        missing.unlink()
        with pytest.raises(ValueError, match=f"{missing.name} does not exist"):
            build_graph(tokens, lexicon, arpa, toy.folder / "again")
        missing.write_bytes(content)


def test_an_empty_model_is_named(toy):
    tokens, lexicon, arpa = parts(toy)
    arpa.write_text("")
    with pytest.raises(ValueError, match="lm.arpa:0: the file is empty"):
        build_graph(tokens, lexicon, arpa, toy.folder / "again")


def test_readings_keep_the_order_of_the_file(tmp_path):
    (tmp_path / "lexicon.txt").write_text("w b a\n\nv c\nw a\n")
    assert read_lexicon(tmp_path / "lexicon.txt", TOKENS) == {
        "w": [("b", "a"), ("a",)],
        "v": [("c",)],
    }


def test_the_command_says_what_it_made_and_what_is_wrong(toy, capsys):
    tokens, lexicon, arpa = parts(toy)
    argv = ["--tokens", str(tokens), "--lexicon", str(lexicon), "--arpa", str(arpa)]
    main([*argv, "--out", str(toy.folder / "again")])
    assert "6 words, 7 readings" in capsys.readouterr().out
    lexicon.write_text("")
    with pytest.raises(ValueError, match=".*no words in it"):
        main([*argv, "--out", str(toy.folder / "again")])


def test_without_kaldifst_the_extra_is_named(toy, monkeypatch):
    monkeypatch.setitem(sys.modules, "kaldifst", None)
    with pytest.raises(ModuleNotFoundError, match=r"espnet_smoe\[wfst\]"):
        build_graph(*parts(toy), toy.folder / "again")


def test_a_failed_build_leaves_no_old_graph_beside_new_words(toy, monkeypatch):
    class Full:
        num_states = 1

        def write(self, name):
            return False

    monkeypatch.setattr(graph, "_compose", lambda *_: Full())
    with pytest.raises(ValueError, match="Is the disk full"):
        build_graph(*parts(toy), toy.graph)
    assert not (toy.graph / "TLG.fst").exists()


def test_the_topology_reads_any_number_of_frames_a_unit():
    kaldifst = fst.import_kaldifst()
    frames = fst.topology(blank=1, units=[2, 3], symbols=[9])

    def said(*labels):
        linear = kaldifst.make_linear_acceptor(list(labels))
        path = kaldifst.shortest_path(kaldifst.compose(linear, frames))
        _, read, units, _ = kaldifst.get_linear_symbol_sequence(path)
        return units if read == list(labels) else None

    assert said(1, 2, 2, 1, 2, 3, 3, 1, 1) == [2, 2, 3]
    assert said(1, 1) == []
    assert said(2, 4) is None
