"""Widening: the same function with more hidden units, which can all learn."""

import copy

import pytest
import torch

from espnet_smoe.moe import FeedForward
from espnet_smoe.moe.widen import grows_to, widen


def widened(block: FeedForward, hidden: int) -> FeedForward:
    """A block with more hidden units that starts from another."""
    random = torch.Generator().manual_seed(0)
    wide = FeedForward(block.w_1.in_features, hidden)
    state = {
        name: widen(name, tensor, wide.state_dict()[name].shape, random)
        for name, tensor in block.state_dict().items()
    }
    wide.load_state_dict(state)
    return wide


@pytest.mark.parametrize("hidden", [9, 12, 16, 24, 40])
def test_a_wider_block_computes_the_same(hidden):
    block, x = FeedForward(4, 8), torch.randn(20, 4)
    torch.testing.assert_close(widened(block, hidden)(x), block(x))


def test_every_copy_learns_something_else():
    # Adam takes steps of one length: copies would stay copies if their gradients
    # differed in length alone
    torch.manual_seed(0)
    wide = widened(FeedForward(4, 8), 16)
    before = copy.deepcopy(wide.w_1.weight.detach())
    torch.testing.assert_close(before[:8], before[8:])
    optimizer = torch.optim.Adam(wide.parameters(), 0.01)
    x, target = torch.randn(50, 4), torch.randn(50, 4)
    for _ in range(20):
        optimizer.zero_grad()
        torch.nn.functional.mse_loss(wide(x), target).backward()
        optimizer.step()
    after = wide.w_1.weight.detach()
    assert (after - before).abs().amax(1).min() > 1e-3
    assert (after[:8] - after[8:]).abs().amax(1).min() > 1e-3


@pytest.mark.parametrize(
    "name, shape, wanted",
    [
        ("0.w_1.weight", (8, 4), (6, 4)),  # narrower
        ("0.w_1.weight", (8, 4), (8, 6)),  # another width of the model
        ("0.w_2.weight", (4, 8), (6, 16)),
        ("0.w_2.bias", (4,), (8,)),
        ("norm.weight", (4,), (8,)),
        ("0.w_1.weight", (8, 4, 1), (16, 4, 1)),  # a convolution
    ],
)
def test_nothing_else_is_widened(name, shape, wanted):
    assert not grows_to(name, shape, wanted)
    tensor = torch.randn(shape)
    assert widen(name, tensor, wanted, torch.Generator()) is tensor
