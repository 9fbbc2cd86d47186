"""The sides of the rescoring benchmark do the same work on lists like real ones."""

import json

import pytest
import torch

from espnet_smoe.benchmark import rescore
from espnet_smoe.benchmark.__main__ import main
from espnet_smoe.inference.search.ctc_prefix import prefix_beam
from espnet_smoe.inference.search.hypothesis import Hypothesis

MIXTURE = {"num_experts": 4, "top_k": 2}


@pytest.mark.parametrize("moe", [MIXTURE, None])
def test_all_sides_give_the_same_order(moe):
    found = {n: run() for n, run in rescore.sides_of(rescore.QUICK, moe).items()}
    assert [len(nbest) for nbest in found[rescore.TREES]] == [3, 3]
    rows = found[rescore.ROWS]
    for other in (found[rescore.LOOP], found[rescore.TREES]):
        assert "2 of 2" in rescore.same_nbests(
            {rescore.LOOP: rows, rescore.TREES: other}
        )
        scores = [h.score for nbest in other for h in nbest]
        wanted = [h.score for nbest in rows for h in nbest]
        assert scores == pytest.approx(wanted, abs=1e-4)


def test_lists_in_another_order_and_other_scores_are_noticed():
    good = [[Hypothesis((1,), -1.0), Hypothesis((2,), -2.0)], [Hypothesis((3,), -1.0)]]
    bad = [[Hypothesis((2,), -1.0), Hypothesis((1,), -2.0)], [Hypothesis((3,), -1.5)]]
    said = rescore.same_nbests({rescore.LOOP: good, rescore.TREES: bad})
    assert said.startswith("1 of 2") and "5.0e-01" in said


def test_hypotheses_are_as_long_as_asked_for_and_mostly_alike():
    sizes = rescore.Sizes(vocabulary=300, utterances=1)
    for log_probs in rescore.posteriors(sizes):
        nbest = prefix_beam(log_probs, beam=sizes.hypotheses)
        assert len(nbest) == len({h.tokens for h in nbest}) == sizes.hypotheses
        best = nbest[0].tokens
        assert len(best) == sizes.tokens
        for h in nbest[1:]:
            changed = sum(a != b for a, b in zip(h.tokens, best))
            assert 0 < changed + abs(len(h.tokens) - len(best)) < sizes.tokens / 2


def test_the_command_writes_its_figures(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(
        "espnet_smoe.benchmark.comparison.peak_memory", lambda *_: 2**20
    )
    figures = tmp_path / "figures.json"
    threads = str(torch.get_num_threads())
    argv = ["rescore", "--quick", "--rounds", "1", "--threads", threads]
    main([*argv, "--json", str(figures)])
    rows = json.loads(figures.read_text())["rows"]
    assert [row["side"] for row in rows] == 2 * [
        rescore.LOOP,
        rescore.ROWS,
        rescore.TREES,
    ]
    assert "2 of 2 n-best lists in the same order" in capsys.readouterr().out
