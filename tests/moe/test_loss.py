"""Auxiliary losses against their formulae, in float64."""

import pytest
import torch

from espnet_smoe.moe.loss import balance_loss, z_loss


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
