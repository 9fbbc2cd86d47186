"""The first pass of U2++ by its searches, beside sums over the frames."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from espnet_smoe.inference.search.u2pp import U2PPDecodeOptions, two_pass


def test_greedy_has_the_probability_of_its_path():
    p = np.array([[0.1, 0.2, 0.7], [0.2, 0.3, 0.5], [0.6, 0.3, 0.1], [0.2, 0.4, 0.4]])
    log_probs = [np.log(p[:3]), np.log(p[2:3])]
    encoder = SimpleNamespace(
        model=SimpleNamespace(blank_id=0), log_probs=lambda *_: log_probs
    )
    nothing = torch.zeros(2, 3, 4), torch.tensor([3, 1])
    first, second = two_pass(encoder, *nothing, U2PPDecodeOptions(search="greedy"))
    assert [h.tokens for h in (*first, *second)] == [(2,), ()]
    assert np.exp(first[0].score) == pytest.approx(0.7 * 0.5 * 0.6)
    assert np.exp(second[0].score) == pytest.approx(0.6)
