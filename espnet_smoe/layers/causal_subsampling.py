"""Causal two-dimensional convolutions that shorten features."""

import torch
from torch import nn
from torch.nn import functional

from espnet_smoe.moe.dense_dispatch import traced

# input layers of ESPnet's Conformer: kernel and stride of each convolution
INPUT_LAYERS: dict[str, tuple[tuple[int, int], ...]] = {
    "conv2d2": ((3, 2), (3, 1)),
    "conv2d": ((3, 2), (3, 2)),
    "conv2d6": ((3, 2), (5, 3)),
    "conv2d8": ((3, 2), (3, 2), (3, 2)),
}


class CausalConv2dSubsampling(nn.Module):
    """ESPnet's convolutional input layers, aligned with the last frame they see.

    Zeros stand before the first frame, as many as an output frame sees beyond its own
    stride (`overlap`). So T frames give ``T // stride`` outputs, the output t sees
    nothing after frame ``stride * (t + 1) - 1``, and every chunk of a stream is as long
    as the first: a stream keeps the last `overlap` frames and no output waits for a
    frame of the next chunk. The parameters are ESPnet's.

    With ``lookahead`` no zeros stand there, as in ESPnet and WeNet: the first `overlap`
    frames are what stands before the others, so there is an output for each whole
    stride of these.

    Args:
        input_size: Features a frame, F.
        output_size: D.
        input_layer: A key of `INPUT_LAYERS`.
        lookahead: Begin with frames instead of zeros.

    Attributes:
        stride: Frames an output frame.
        overlap: Frames that two neighbouring outputs see both.
        lookahead: Frames at the beginning that have no output: `overlap` or 0.

    Raises:
        ValueError: Unknown input layer, or too few features for its convolutions.

    Example:
        >>> layer = CausalConv2dSubsampling(20, 8, "conv2d")
        >>> layer.stride, layer.overlap, layer(torch.zeros(1, 9, 20)).shape
        (4, 3, torch.Size([1, 2, 8]))
    """

    def __init__(
        self,
        input_size: int,
        output_size: int,
        input_layer: str,
        lookahead: bool = False,
    ):
        super().__init__()
        if input_layer not in INPUT_LAYERS:
            raise ValueError(
                f"encoder_conf.input_layer: '{input_layer}' is not one of "
                f"{', '.join(INPUT_LAYERS)}"
            )
        layers: list[nn.Module] = []
        width, channels = input_size, 1
        self.stride, receptive_field = 1, 1  # frames
        for kernel, stride in INPUT_LAYERS[input_layer]:
            layers += [nn.Conv2d(channels, output_size, kernel, stride), nn.ReLU()]
            channels, width = output_size, (width - kernel) // stride + 1
            receptive_field += (kernel - 1) * self.stride
            self.stride *= stride
        if width < 1:
            raise ValueError(
                f"encoder_conf.input_layer: {input_layer} needs more than {input_size} "
                "features a frame; take more mel channels or a layer of smaller stride"
            )
        self.overlap = receptive_field - self.stride
        self.lookahead = self.overlap if lookahead else 0
        self.conv = nn.Sequential(*layers)
        self.out = nn.Sequential(nn.Linear(output_size * width, output_size))

    def forward(
        self, x: torch.Tensor, before: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Shorten ``(B, T, F)`` to ``(B, T // stride, D)``.

        Args:
            x: ``(B, T, F)``, at least one stride long.
            before: ``(B, overlap, F)`` the frames before; None at the start, where T is
                less by `lookahead`.
        """
        if before is not None:
            x = torch.cat((before, x), dim=1)  # (B, overlap + T, F)
        elif not self.lookahead:
            x = functional.pad(x, (0, 0, self.overlap, 0))
        x = x.unsqueeze(1)  # (B, 1, T, F)
        if x.device.type == "cpu" and not torch.is_grad_enabled() and not traced():
            # channels last: half the time; slower where weights have gradients
            x = x.contiguous()[:, 0, :, :, None].permute(0, 3, 1, 2)
        x = self.conv(x)  # (B, D, T', F')
        return self.out(x.transpose(1, 2).flatten(2))  # (B, T', D)

    def output_lengths(self, lengths: torch.Tensor) -> torch.Tensor:
        """Output frames of ``(B,)`` frames from the start."""
        return (lengths - self.lookahead).clamp(min=0) // self.stride
