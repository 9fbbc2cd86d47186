"""Similarity of experts: alike, unlike, and alike in another order."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from espnet_smoe.moe import FeedForward
from espnet_smoe.report.experts.similarity import linear_cka, mean_of_pairs, similarity


def expert(seed: int) -> FeedForward:
    torch.manual_seed(seed)
    return FeedForward(8, 64)


def frames(seed: int = 9) -> torch.Tensor:
    return torch.randn(200, 8, generator=torch.Generator().manual_seed(seed))


def test_copies_are_alike_in_everything():
    for measure, matrix in similarity([expert(0), expert(0)], frames()).items():
        assert matrix == pytest.approx(0 if "diff" in measure else 1, abs=1e-5)


def test_strangers_have_orthogonal_weights():
    found = similarity([expert(0), expert(1)], frames())
    for matrix in ("w_1", "w_2"):
        assert found[f"{matrix} cosine"][0, 1] == pytest.approx(0, abs=0.1)
        assert found[f"{matrix} diff"][0, 1] == pytest.approx(2**0.5, abs=0.1)
    assert found["output CKA"][0, 1] < 0.9 and found["output diff"][0, 1] > 0.5


def test_hidden_units_in_another_order_change_weights_but_no_output():
    one, other = expert(0), expert(0)
    turned = torch.arange(64).roll(1)
    with torch.no_grad():
        other.w_1.weight.copy_(one.w_1.weight[turned])
        other.w_1.bias.copy_(one.w_1.bias[turned])
        other.w_2.weight.copy_(one.w_2.weight[:, turned])
    found = similarity([one, other], frames())
    assert abs(found["w_1 cosine"][0, 1]) < 0.2
    assert found["output cosine"][0, 1] == pytest.approx(1, abs=1e-5)
    assert found["output CKA"][0, 1] == pytest.approx(1, abs=1e-5)
    assert found["output diff"][0, 1] == pytest.approx(0, abs=1e-5)


def test_a_negated_output_is_opposite():
    one, other = expert(0), expert(0)
    with torch.no_grad():
        other.w_2.weight.neg_()
        other.w_2.bias.neg_()
    found = similarity([one, other], frames())
    assert found["w_2 cosine"][0, 1] == pytest.approx(-1)
    assert found["output cosine"][0, 1] == pytest.approx(-1)
    assert found["output diff"][0, 1] == pytest.approx(2)
    assert found["output CKA"][0, 1] == pytest.approx(1)


def test_matrices_hold_each_pair():
    found = similarity([expert(0), expert(1), expert(0)], frames())
    matrix = found["output diff"]
    assert matrix.shape == (3, 3) and (matrix == matrix.T).all()
    assert matrix[0, 2] == 0 and matrix[0, 1] == matrix[1, 2] > 0
    assert mean_of_pairs(matrix) == pytest.approx(2 * matrix[0, 1] / 3)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), scale=st.floats(0.1, 10), shift=st.floats(-5, 5))
def test_cka_does_not_see_turning_scaling_or_shifting(seed, scale, shift):
    x = frames(seed).double()
    turn = torch.linalg.qr(frames(seed + 1)[:8].double()).Q
    assert linear_cka(x, scale * x @ turn + shift) == pytest.approx(1)


def test_cka_of_a_constant_is_no_number():
    assert np.isnan(linear_cka(frames(), torch.ones(200, 8)))
