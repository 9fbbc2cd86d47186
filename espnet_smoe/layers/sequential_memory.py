"""Sequential memory: weighted sums of the frames before and after each frame."""

import torch
from torch import nn
from torch.nn import functional


class SequentialMemory(nn.Module):
    """The memory layer of a DFSMN (SpeechMoE, Section 4.3).

    ``m_t = below_t + p_t + sum_i a_i * p_(t - i s1) + sum_j c_j * p_(t + j s2)`` with
    i = 0..N1, j = 1..N2 and one weight a feature in each a_i and c_j. Frames before
    and after an utterance, padding included, count as zero.

    Args:
        size: D.
        look_back_order: N1, frames that are remembered beside the present one.
        look_ahead_order: N2, frames that are waited for.
        look_back_stride: s1, frames from one remembered frame to the next.
        look_ahead_stride: s2.

    Example:
        >>> memory = SequentialMemory(4, look_back_order=1, look_back_stride=2)
        >>> p, valid = torch.ones(1, 3, 4), torch.ones(1, 3, dtype=torch.bool)
        >>> memory(p, valid).shape
        torch.Size([1, 3, 4])
    """

    def __init__(
        self,
        size: int,
        look_back_order: int = 5,
        look_ahead_order: int = 1,
        look_back_stride: int = 2,
        look_ahead_stride: int = 1,
    ):
        super().__init__()
        back = [-i * look_back_stride for i in range(look_back_order + 1)]
        ahead = [j * look_ahead_stride for j in range(1, look_ahead_order + 1)]
        self.look_back, self.look_ahead = -back[-1], max(ahead, default=0)
        offsets = torch.tensor(back + ahead)
        self.register_buffer("tap_positions", offsets + self.look_back, False)
        # as a depth-wise convolution of as many taps is initialised
        self.taps = nn.Parameter(torch.empty(size, len(offsets)))
        nn.init.uniform_(self.taps, -(len(offsets) ** -0.5), len(offsets) ** -0.5)

    def forward(
        self,
        p: torch.Tensor,
        valid: torch.Tensor,
        below: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Add what is remembered.

        Args:
            p: ``(B, T, D)``, the feed-forward layer's output.
            valid: ``(B, T)``, true at frames that are not padding.
            below: ``(B, T, D)``, the memory of the layer below; None for the first.
        """
        p = p.masked_fill(~valid[..., None], 0)
        # one filter with zeros between the taps: twice as fast as two dilated ones
        width = self.look_back + 1 + self.look_ahead
        weight = self.taps.new_zeros(len(self.taps), width)
        weight = weight.index_copy(1, self.tap_positions, self.taps)  # (D, width)
        x = functional.pad(p.transpose(1, 2), (self.look_back, self.look_ahead))
        x = functional.conv1d(x, weight[:, None], groups=len(weight))  # (B, D, T)
        m = p + x.transpose(1, 2)
        return m if below is None else below + m
