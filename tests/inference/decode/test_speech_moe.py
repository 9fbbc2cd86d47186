"""Stage 12 of ctc.sh: units and words of every utterance, by each search."""

import json

import pytest
import soundfile

from espnet_smoe.inference.decode.driver import main
from espnet_smoe.inference.wfst.graph import build_graph
from espnet_smoe.lm.arpa import write_arpa
from espnet_smoe.lm.ngram import NGram
from tests.tiny import save_experiment, talk, tiny_ctc_config

TOKENS = ["<blank>", "<unk>", "hao3", "ma5", "ni3", "<sos/eos>"]
UTTERANCES = {f"utt{i}": 0.5 + 0.2 * i for i in range(4)}


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    return save_experiment(tmp_path_factory.mktemp("exp"), tiny_ctc_config(TOKENS))


@pytest.fixture(scope="module")
def graph(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lang")
    (folder / "tokens.txt").write_text("\n".join(TOKENS) + "\n")
    (folder / "lexicon.txt").write_text("你好 ni3 hao3\n好 hao3\n吗 ma5\n你 ni3\n")
    model = NGram.estimate(["你好 吗", "好 吗", "你 好", "吗 你好"], order=2)
    write_arpa(model, folder / "lm.arpa")
    files = (folder / name for name in ("tokens.txt", "lexicon.txt", "lm.arpa"))
    build_graph(*files, folder / "graph")
    return folder / "graph"


@pytest.fixture
def data(tmp_path):
    for i, (name, seconds) in enumerate(UTTERANCES.items()):
        soundfile.write(tmp_path / f"{name}.wav", talk(seconds, seed=i), 16000)
    lines = [f"{name} {tmp_path / name}.wav\n" for name in UTTERANCES]
    (tmp_path / "wav.scp").write_text("".join(lines))
    return tmp_path


def decode(experiment, data, conf, *more):
    (data / "decode.yaml").write_text(conf)
    config, model = map(str, experiment)
    main(
        [
            *("--train-config", config, "--model-file", model),
            *("--data", str(data), "--out", str(data / "out")),
            *("--config", str(data / "decode.yaml"), *more),
        ]
    )
    return data / "out"


def hypotheses(path):
    rows = [line.split(" ", 1) for line in path.read_text().splitlines()]
    return {row[0]: row[1:] for row in rows}


@pytest.mark.parametrize("conf", ["search: greedy\n", "search: prefix_beam\n"])
def test_without_a_graph_there_are_units_in_the_order_of_the_data(
    experiment, data, conf
):
    out = decode(experiment, data, conf)
    assert list(hypotheses(out / "hyp.units")) == list(UTTERANCES)
    assert not (out / "hyp.words").exists()
    summary = json.loads((out / "decode.json").read_text())
    assert summary["tasks"] == ["units"]
    assert summary["audio_seconds"] == pytest.approx(sum(UTTERANCES.values()))
    assert 0 <= summary["search_seconds"] <= summary["compute_seconds"]


def test_the_graph_gives_words_that_the_units_spell(experiment, graph, data):
    out = decode(experiment, data, "search: wfst\n", "--graph", str(graph))
    lexicon = {"你好": "ni3 hao3", "好": "hao3", "吗": "ma5", "你": "ni3"}
    units = hypotheses(out / "hyp.units")
    words = hypotheses(out / "hyp.words")
    assert list(words) == list(UTTERANCES)
    for name, said in words.items():
        spelled = " ".join(lexicon[w] for line in said for w in line.split())
        assert spelled == " ".join(units[name])


def test_batches_make_no_difference(experiment, data):
    one = decode(experiment, data, "search: greedy\nbatch_size: 1\n")
    alone = hypotheses(one / "hyp.units")
    two = decode(experiment, data, "search: greedy\n")
    assert hypotheses(two / "hyp.units") == alone


def test_what_is_missing_or_misspelt_is_named(experiment, data):
    with pytest.raises(ValueError, match="search: wfst needs --graph"):
        decode(experiment, data, "search: wfst\n")
    with pytest.raises(ValueError, match="'gredy' is not one of .* 'greedy'"):
        decode(experiment, data, "search: gredy\n")
    with pytest.raises(ValueError, match="unknown key 'beem', did you mean 'beam'"):
        decode(experiment, data, "beem: 3\n")
    (data / "utt1.wav").write_bytes(b"no sound")
    with pytest.raises(ValueError, match="utterance utt1"):
        decode(experiment, data, "search: greedy\n")
