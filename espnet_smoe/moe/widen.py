"""A feed-forward block with more hidden units that computes the same.

Each new unit is a copy of one of the old: its row of the first matrix. What the second
matrix makes of a unit is split among its copies, each entry by shares of its own, so
that the sum is what it was (after Net2Net, Chen et al. 2016). With equal shares, or one
share a unit, the copies would have gradients of one direction and stay copies.
"""

from collections.abc import Sequence

import torch

# Tensors of `FeedForward`, and which of their dimensions counts hidden units.
HIDDEN = {"w_1.weight": 0, "w_1.bias": 0, "w_2.weight": 1}


def grows_to(name: str, shape: Sequence[int], wanted: Sequence[int]) -> bool:
    """Whether a tensor of a block is one with more hidden units, else the same.

    Example:
        >>> grows_to("0.w_1.weight", (8, 4), (16, 4))
        True
    """
    dim = _hidden_dim(name)
    if dim is None or len(shape) != len(wanted) or len(shape) > 2:
        return False
    others = [i for i in range(len(shape)) if i != dim]
    return wanted[dim] > shape[dim] and all(shape[i] == wanted[i] for i in others)


def widen(
    name: str, tensor: torch.Tensor, wanted: Sequence[int], random: torch.Generator
) -> torch.Tensor:
    """A tensor of a block with more hidden units; any other as it is.

    Args:
        name: Ends as in `HIDDEN`.
        tensor: Of the trained block.
        wanted: Shape of the wider one.
        random: For the shares of copies.
    """
    if not grows_to(name, tensor.shape, wanted):
        return tensor
    dim = _hidden_dim(name)
    units = tensor.size(dim)
    copy_of = torch.arange(wanted[dim]) % units
    wide = tensor.index_select(dim, copy_of)
    if not name.endswith("w_2.weight"):
        return wide
    shares = torch.rand(wide.shape, generator=random) + 0.01  # (D, F')
    sums = shares.new_zeros(tensor.shape).index_add_(1, copy_of, shares)
    return wide * (shares / sums.index_select(1, copy_of)).to(wide.dtype)


def _hidden_dim(name: str) -> int | None:
    return HIDDEN.get(".".join(name.split(".")[-2:]))
