"""Attention over kept keys and values: masks, dropout, ESPnet's numbers."""

import pytest
import torch
from espnet2.legacy.nets.pytorch_backend.transformer.attention import (
    MultiHeadedAttention,
)

from espnet_smoe.layers.attention import CachedAttention


def make(dropout_rate: float = 0.0) -> CachedAttention:
    torch.manual_seed(0)
    return CachedAttention(2, 8, dropout_rate, False)


@pytest.mark.parametrize("gradient", [True, False])
def test_a_mask_of_each_query_is_espnets(gradient):
    ours = make().eval()
    theirs = MultiHeadedAttention(2, 8, 0.0).eval()
    theirs.load_state_dict(ours.state_dict())
    x, memory = torch.randn(3, 4, 8), torch.randn(3, 6, 8)
    mask = torch.rand(3, 4, 6) < 0.6
    mask[..., 0] = True  # a query that sees nothing is another matter
    with torch.set_grad_enabled(gradient):
        out = ours.attend(x, ours.keys_values(memory), mask)
    torch.testing.assert_close(out, theirs(x, memory, memory, mask))


def test_attention_weights_drop_out_in_training_alone():
    attention = make(dropout_rate=0.5)
    x = torch.randn(1, 5, 8)
    once, again = (attention.attend(x, attention.keys_values(x)) for _ in range(2))
    assert not torch.equal(once, again)
    attention.eval()
    once, again = (attention.attend(x, attention.keys_values(x)) for _ in range(2))
    assert torch.equal(once, again)
    torch.testing.assert_close(once, make().eval().attend(x, attention.keys_values(x)))
