"""The searches of this package, beside sums over the frames."""

from types import SimpleNamespace

import numpy as np
import pytest

from espnet_smoe.inference.search.searches import greedy_search


def test_greedy_has_the_probability_of_its_path():
    p = np.array([[0.1, 0.2, 0.7], [0.2, 0.3, 0.5], [0.6, 0.3, 0.1], [0.2, 0.4, 0.4]])
    log_probs = [np.log(p[:3]), np.log(p[2:3])]
    search = greedy_search(SimpleNamespace(blank_id=0), None)
    first, second = search(SimpleNamespace(log_probs=log_probs))
    assert [h.tokens for h in (*first, *second)] == [(2,), ()]
    assert np.exp(first[0].score) == pytest.approx(0.7 * 0.5 * 0.6)
    assert np.exp(second[0].score) == pytest.approx(0.6)
