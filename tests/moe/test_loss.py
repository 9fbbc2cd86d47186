"""Auxiliary losses against their formulae, in float64."""

import pytest
import torch

from espnet_smoe.moe.loss import (
    balance_loss,
    importance_loss,
    sparsity_loss,
    z_loss,
)


def test_balance_is_one_when_even_and_e_when_one_takes_all():
    even = torch.full((4, 4), 0.25, dtype=torch.double)
    assert balance_loss(even, torch.tensor([[0], [1], [2], [3]])).item() == 1
    one = torch.eye(4, dtype=torch.double)[[0, 0, 0, 0]]
    assert balance_loss(one, torch.zeros(4, 1, dtype=torch.long)).item() == 4


def test_balance_equals_its_formula_term_by_term():
    torch.manual_seed(0)
    probabilities = torch.randn(6, 3, dtype=torch.double).softmax(1)
    chosen = probabilities.topk(2, dim=1).indices
    expected = 0.0
    for i in range(3):
        s_i = sum(i in row for row in chosen.tolist()) / 12
        expected += 3 * s_i * sum(p[i].item() for p in probabilities) / 6
    assert balance_loss(probabilities, chosen).item() == pytest.approx(expected)


def test_z_loss_is_the_mean_squared_log_partition():
    logits = torch.tensor([[0.0, 0.0], [1.0, 1.0]], dtype=torch.double)
    log2 = torch.log(torch.tensor(2.0, dtype=torch.double))
    expected = (log2**2 + (1 + log2) ** 2) / 2
    torch.testing.assert_close(z_loss(logits), expected)


def test_importance_equals_its_formula_and_is_least_when_even():
    """SpeechMoE, Eq. 10-11."""
    torch.manual_seed(0)
    probabilities = torch.randn(6, 3, dtype=torch.double).softmax(1)
    importance = [sum(p[j].item() for p in probabilities) / 6 for j in range(3)]
    expected = 3 * sum(i**2 for i in importance)
    assert importance_loss(probabilities).item() == pytest.approx(expected)
    assert expected > 1
    even = torch.full((6, 3), 1 / 3, dtype=torch.double)
    assert importance_loss(even).item() == pytest.approx(1)
    one = torch.eye(3, dtype=torch.double)[[0] * 6]
    assert importance_loss(one).item() == pytest.approx(3)


def test_sparsity_equals_its_formula_and_is_least_when_sure():
    """SpeechMoE, Eq. 9."""
    torch.manual_seed(0)
    probabilities = torch.randn(6, 3, dtype=torch.double).softmax(1)
    expected = 0.0
    for p in probabilities.tolist():
        expected += sum(p) / sum(v**2 for v in p) ** 0.5 / 6
    assert sparsity_loss(probabilities).item() == pytest.approx(expected)
    sure = torch.eye(3, dtype=torch.double)[[0, 1, 2, 0]]
    assert sparsity_loss(sure).item() == pytest.approx(1)
    even = torch.full((6, 3), 1 / 3, dtype=torch.double)
    assert sparsity_loss(even).item() == pytest.approx(3**0.5)


@pytest.mark.parametrize("loss", [importance_loss, sparsity_loss, z_loss])
def test_gradients_are_those_of_finite_differences(loss):
    torch.manual_seed(0)
    x = torch.randn(4, 3, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: loss(x.softmax(1)), x)
