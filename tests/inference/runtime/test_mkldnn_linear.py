"""Linear layers laid out for few rows give the same numbers."""

import pytest
import torch

from espnet_smoe.inference.runtime.mkldnn_linear import MKLDNNLinear, convert_to_mkldnn
from espnet_smoe.moe import FeedForward, MoEFeedForward, MoEOptions, Routing, build_gate


@pytest.mark.parametrize("top_k", [1, 2])
@torch.inference_mode()
def test_a_mixture_whose_router_is_packed_too_computes_the_same(top_k):
    torch.manual_seed(0)
    gate = build_gate(MoEOptions("topk", num_experts=3, top_k=top_k), 8)
    mixture = MoEFeedForward(gate, lambda: FeedForward(8, 16), "0").eval()
    x, lengths = torch.randn(2, 5, 8), torch.tensor([5, 3])
    expected = mixture(x, Routing(lengths))
    convert_to_mkldnn(mixture, least_weights=0)
    assert isinstance(mixture.gate.router, MKLDNNLinear)
    torch.testing.assert_close(mixture(x, Routing(lengths)), expected)
