"""A Conformer layer that can go on where the last chunk ended (Gulati et al. 2020)."""

import torch
from torch import nn
from torch.nn import functional

from espnet_smoe.compat import LayerNorm
from espnet_smoe.layers.attention import KeysValues
from espnet_smoe.moe import Routing

ACTIVATIONS = {
    "swish": nn.SiLU,
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "tanh": nn.Tanh,
    "selu": nn.SELU,
    "hardtanh": nn.Hardtanh,
}


class ConvolutionModule(nn.Module):
    """Pointwise convolution and gate, depthwise convolution over time, and back.

    The parameters are those of ESPnet's module, except that frames are normalised
    one by one (layer normalisation): they may not depend on what comes later.

    Args:
        size: D.
        kernel_size: K, frames a depthwise kernel sees.
        activation: After the normalisation.
        causal: It sees this frame and K - 1 before; else as many on each side.
        gate_padding: Padding is zeros before the gate and not behind it, as in WeNet.

    Raises:
        ValueError: An even kernel that sees both sides.
    """

    def __init__(
        self,
        size: int,
        kernel_size: int,
        activation: nn.Module,
        causal: bool = True,
        gate_padding: bool = False,
    ):
        super().__init__()
        if kernel_size % 2 == 0 and not causal:
            raise ValueError(
                "encoder_conf.cnn_module_kernel must be odd where 'causal' is false, "
                f"got {kernel_size}"
            )
        self.gate_padding = gate_padding
        self.pointwise_conv1 = nn.Conv1d(size, 2 * size, 1)
        self.depthwise_conv = nn.Conv1d(size, size, kernel_size, groups=size)
        self.norm = LayerNorm(size)
        self.pointwise_conv2 = nn.Conv1d(size, size, 1)
        self.activation = activation
        self.left = kernel_size - 1 if causal else kernel_size // 2
        self.right = kernel_size - 1 - self.left

    def forward(
        self, x: torch.Tensor, cache: torch.Tensor | None, valid: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Convolve T frames.

        Args:
            x: ``(B, T, D)``.
            cache: ``(B, D, K - 1)`` gated frames before, less what the gate makes of
                padding; zeros at the start.
            valid: ``(B, T)``, false at padding.

        Returns:
            ``(B, T, D)``; the last K - 1 gated frames, for the next chunk.
        """
        x = functional.glu(self.pointwise_conv1(x.transpose(1, 2)), dim=1)  # (B, D, T)
        if self.gate_padding:  # then padding is zeros here, too
            padding = functional.glu(self.pointwise_conv1.bias, dim=0)[:, None]
            x = x - padding
        x = x.masked_fill(~valid.unsqueeze(1), 0.0)
        if cache is None:
            x = functional.pad(x, (self.left, self.right))
        else:
            x = torch.cat((cache, x), dim=2)
        last = x[:, :, x.size(2) - self.left :]
        if self.gate_padding:
            x = x + padding
        x = self.depthwise_conv(x).transpose(1, 2)  # (B, T, D)
        x = self.activation(self.norm(x))
        return self.pointwise_conv2(x.transpose(1, 2)).transpose(1, 2), last


class ConformerLayer(nn.Module):
    """Half a feed-forward block, attention, convolution, and the other half.

    Each is normalised before and has a residual; ESPnet's parameters under ESPnet's
    names.

    Args:
        size: D.
        self_attn: One of `ATTENTIONS`.
        feed_forward: The last block, dense or a mixture.
        feed_forward_macaron: The first, or None for a layer that has only the last.
        conv_module: `ConvolutionModule`, or None.
        dropout_rate: Dropout of the residuals.
    """

    def __init__(
        self,
        size: int,
        self_attn: nn.Module,
        feed_forward: nn.Module,
        feed_forward_macaron: nn.Module | None,
        conv_module: ConvolutionModule | None,
        dropout_rate: float,
    ):
        super().__init__()
        self.self_attn = self_attn
        self.feed_forward = feed_forward
        self.feed_forward_macaron = feed_forward_macaron
        self.conv_module = conv_module
        self.norm_ff = LayerNorm(size)
        self.norm_mha = LayerNorm(size)
        self.ff_scale = 1.0
        if feed_forward_macaron is not None:
            self.norm_ff_macaron = LayerNorm(size)
            self.ff_scale = 0.5
        if conv_module is not None:
            self.norm_conv = LayerNorm(size)
            self.norm_final = LayerNorm(size)
        self.dropout = nn.Dropout(dropout_rate)

    def forward(
        self,
        x: torch.Tensor,
        bias: torch.Tensor,
        valid: torch.Tensor,
        positions: torch.Tensor,
        routing: Routing,
        kv_cache: KeysValues | None = None,
        conv_cache: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, KeysValues, torch.Tensor | None]:
        """Encode T frames.

        Args:
            x: ``(B, T, D)``.
            bias: ``(B or 1, 1, T, S)`` what the attention adds to its scores.
            valid: ``(B, T)``, false at padding.
            positions: For this layer's attention, see `ChunkAttention.attend_chunk`.
            routing: Of this pass.
            kv_cache: Keys and values of the S - T frames before; None at the start.
            conv_cache: ``(B, D, K - 1)`` of the convolution; None at the start.

        Returns:
            ``(B, T, D)``; keys and values of all S; the convolution's next cache.
        """
        if self.feed_forward_macaron is not None:
            h = self.feed_forward_macaron(self.norm_ff_macaron(x), routing)
            x = x + self.ff_scale * self.dropout(h)
        h = self.norm_mha(x)
        h, keys_values = self.self_attn.attend_chunk(h, kv_cache, bias, positions)
        x = x + self.dropout(h)
        if self.conv_module is not None:
            h, conv_cache = self.conv_module(self.norm_conv(x), conv_cache, valid)
            x = x + self.dropout(h)
        h = self.feed_forward(self.norm_ff(x), routing)
        x = x + self.ff_scale * self.dropout(h)
        x = x if self.conv_module is None else self.norm_final(x)
        return x, keys_values, conv_cache
