"""The benchmark of decoding graphs runs, and its sides find what was said."""

import json

import numpy as np
import torch

from espnet_smoe.benchmark import wfst
from espnet_smoe.benchmark.__main__ import main


def test_all_sides_decode_the_same_utterances(tmp_path):
    results = {
        name: run() for name, run in wfst.searches_of(wfst.QUICK, tmp_path).items()
    }
    assert set(results) == {wfst.GREEDY, wfst.PREFIX, wfst.WORDS, wfst.TEN_BEST}
    for seconds, found in results.values():
        assert seconds > 0 and len(found) == wfst.QUICK.utterances
    for one, ten in zip(results[wfst.WORDS][1], results[wfst.TEN_BEST][1]):
        assert one[0].words == ten[0].words and len(ten) > 1
    said = wfst.say_searches(wfst.QUICK, results)
    assert "real-time factors" in said and "2 with the same best words" in said


def test_the_words_that_were_said_are_what_is_scored(tmp_path):
    results = {
        name: run() for name, run in wfst.searches_of(wfst.QUICK, tmp_path).items()
    }
    seconds, found = results[wfst.WORDS]
    spoken = [words for words, _ in wfst.utterances(wfst.QUICK)]
    right = sum(best[0].words == words for best, words in zip(found, spoken))
    assert f"{right} of 2 sentences right" in wfst.say_searches(wfst.QUICK, results)
    results[wfst.WORDS] = seconds, [[] for _ in found]
    assert "0 of 2 sentences right" in wfst.say_searches(wfst.QUICK, results)


def test_an_utterance_has_a_distribution_a_frame():
    for words, heard in wfst.utterances(wfst.QUICK):
        assert len(words) == wfst.SENTENCE
        assert heard.shape[1] == wfst.QUICK.vocabulary and heard.dtype == np.float32
        np.testing.assert_allclose(np.exp(heard).sum(axis=1), 1, rtol=1e-4)


def test_the_goals_are_set_for_100000_words_of_a_mandarin_model():
    sizes = wfst.Sizes()
    assert (sizes.words, sizes.vocabulary, wfst.ORDER) == (100_000, 1434, 5)


def test_it_runs_as_a_command(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(
        "espnet_smoe.benchmark.comparison.peak_memory", lambda *_: 2**20
    )
    threads = str(torch.get_num_threads())
    out = tmp_path / "figures.json"
    argv = ["wfst", "--quick", "--rounds", "1", "--threads", threads]
    main([*argv, "--json", str(out)])
    content = json.loads(out.read_text())
    sides = [row["side"] for row in content["rows"]]
    assert sides == [
        wfst.BUILD,
        wfst.GREEDY,
        wfst.PREFIX,
        wfst.WORDS,
        wfst.TEN_BEST,
    ]
    assert "n-grams" in content["notes"][0]
    assert all(note in capsys.readouterr().out for note in content["notes"][:1])
