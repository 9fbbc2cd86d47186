"""The quick search for the largest entries is exact."""

import pytest
import torch

from espnet_smoe.inference.search.topk import topk_chunked


@pytest.mark.parametrize("size", [3, 64, 1000, 4096, 40001])
@pytest.mark.parametrize("k", [1, 3])
def test_equals_topk(size, k):
    torch.manual_seed(size)
    x = torch.randn(5, size)
    x[0, -1] = 9  # behind the last whole chunk
    values, ids = topk_chunked(x, k)
    expected = x.topk(k, dim=1)
    assert torch.equal(values, expected[0])
    assert torch.equal(ids, expected[1])
