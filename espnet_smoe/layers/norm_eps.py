"""The epsilon of layer norms: ESPnet's have 1e-12, most others' 1e-5."""

from torch import nn


def set_norm_eps(part: nn.Module, eps: float) -> None:
    """Give all layer norms of a part, changed in place, an epsilon."""
    for module in part.modules():
        if isinstance(module, nn.LayerNorm):
            module.eps = eps
