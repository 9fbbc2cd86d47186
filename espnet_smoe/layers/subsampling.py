"""S-MoE's convolutional subsampler: two 1-D convolutions with gated linear units."""

import torch
from torch import nn
from torch.nn import functional


class Conv1dGLUSubsampling(nn.Module):
    """Shorten the features to a quarter of their frames.

    Two convolutions over time, kernel 5 and stride 2, each followed by a gated
    linear unit (the layout behind the parameter counts of S-MoE, Section 3.2).
    Frames of padding are zero before each convolution, so that an utterance comes
    out the same in any batch.

    Args:
        input_size: Features a frame.
        output_size: D.
        channels: Channels of each convolution before its gate; even.
        pos_enc: Module that adds positions to ``(B, T, D)``.

    Raises:
        ValueError: An odd number of channels.
    """

    KERNEL, STRIDE = 5, 2

    def __init__(
        self, input_size: int, output_size: int, channels: int, pos_enc: nn.Module
    ):
        super().__init__()
        if channels % 2:
            raise ValueError(f"subsampling_channels must be even, got {channels}")
        widths = [(input_size, channels), (channels // 2, 2 * output_size)]
        self.convs = nn.ModuleList(
            nn.Conv1d(i, o, self.KERNEL, self.STRIDE, self.KERNEL // 2)
            for i, o in widths
        )
        self.pos_enc = pos_enc

    def forward(
        self, x: torch.Tensor, mask: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Subsample by four.

        Args:
            x: ``(B, T, input_size)``.
            mask: ``(B, 1, T)``, true at frames that are not padding.

        Returns:
            ``(B, ceil(ceil(T / 2) / 2), D)`` and its mask ``(B, 1, ...)``.
        """
        x = x.transpose(1, 2)  # (B, input_size, T)
        for conv in self.convs:
            x = functional.glu(conv(x * mask), dim=1)
            mask = mask[:, :, :: self.STRIDE]
        return self.pos_enc(x.transpose(1, 2)), mask
