"""The network under SpeechMoE: feed-forward, memory and self-attention layers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from espnet_smoe.compat import MultiHeadedAttention
from espnet_smoe.config.options import options_of, require_multiple
from espnet_smoe.config.typed import Count, Natural, Rate
from espnet_smoe.layers.sequential_memory import SequentialMemory
from espnet_smoe.moe import Routing


@options_of("encoder_conf")
@dataclass(frozen=True)
class MemoryNetworkOptions:
    """Sizes of a network, those of the paper by default.

    Attributes:
        output_size: D.
        linear_units: F, the hidden width of a feed-forward layer or of each expert.
        num_blocks: Pairs of a feed-forward and a memory layer.
        attention_every: Pairs before each self-attention layer; 0 for none at all.
        attention_heads: Heads of a self-attention layer.
        attention_window: Frames that a frame attends to on its left and on its right;
            None for the whole utterance.
        look_back_order: Frames that a memory layer remembers beside the present one.
        look_back_stride: Frames from one of them to the next.
        look_ahead_order: Frames that a memory layer waits for.
        look_ahead_stride: Frames from one of them to the next.
        layer_norm: Normalise the input of each feed-forward layer but the first, of
            each self-attention layer, and the output.
        dropout_rate: Dropout inside and after feed-forward and self-attention layers.
        attention_dropout_rate: Dropout of the attention weights.
        use_sdpa: PyTorch's fused attention.
    """

    output_size: Count = 512
    linear_units: Count = 1024
    num_blocks: Count = 30
    attention_every: Natural = 10
    attention_heads: Count = 8
    attention_window: tuple[Natural, Natural] | None = None
    look_back_order: Natural = 5
    look_back_stride: Count = 2
    look_ahead_order: Natural = 1
    look_ahead_stride: Count = 1
    layer_norm: bool = True
    dropout_rate: Rate = 0.1
    attention_dropout_rate: Rate = 0.0
    use_sdpa: bool = True

    def check(self, where: str) -> None:
        """Refuse sizes that make no network.

        Args:
            where: The section of the YAML file.

        Raises:
            ValueError: Names the key, what it is and what it may be.
        """
        require_multiple(where, self.output_size, self.attention_heads)

    @property
    def num_attentions(self) -> int:
        """Self-attention layers."""
        return self.num_blocks // self.attention_every if self.attention_every else 0

    @property
    def memory_look_ahead(self) -> int:
        """Frames that the memory layers wait for."""
        return self.num_blocks * self.look_ahead_order * self.look_ahead_stride

    @property
    def attention_look_ahead(self) -> int | None:
        """Frames that the self-attention waits for; None for the whole utterance."""
        if not self.num_attentions:
            return 0
        if self.attention_window is None:
            return None
        return self.num_attentions * self.attention_window[1]


class MemoryBlock(nn.Module):
    """A feed-forward layer and the memory layer on it (`SequentialMemory`).

    The residual is the ``below`` of the memory layer's formula; a block that changes
    the width has none.
    """

    def __init__(
        self,
        input_size: int,
        options: MemoryNetworkOptions,
        feed_forward: nn.Module,
        normalize: bool,
    ):
        super().__init__()
        self.norm = nn.LayerNorm(input_size) if normalize else nn.Identity()
        self.feed_forward = feed_forward
        self.dropout = nn.Dropout(options.dropout_rate)
        self.memory = SequentialMemory(
            options.output_size,
            options.look_back_order,
            options.look_ahead_order,
            options.look_back_stride,
            options.look_ahead_stride,
        )
        self.residual = input_size == options.output_size

    def forward(
        self, x: torch.Tensor, valid: torch.Tensor, routing: Routing
    ) -> torch.Tensor:
        """Map ``(B, T, input_size)`` to ``(B, T, D)``; ``valid`` is ``(B, T)``."""
        p = self.dropout(self.feed_forward(self.norm(x), routing))
        return self.memory(p, valid, x if self.residual else None)


class AttentionLayer(nn.Module):
    """Self-attention with its residual."""

    def __init__(self, options: MemoryNetworkOptions):
        super().__init__()
        size = options.output_size
        self.norm = nn.LayerNorm(size) if options.layer_norm else nn.Identity()
        self.attention = MultiHeadedAttention(
            options.attention_heads,
            size,
            options.attention_dropout_rate,
            use_sdpa=options.use_sdpa,
        )
        self.dropout = nn.Dropout(options.dropout_rate)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Map ``(B, T, D)`` to the same; ``mask`` is ``(B, 1 or T, T)``."""
        h = self.norm(x)
        return x + self.dropout(self.attention(h, h, h, mask))


class MemoryNetwork(nn.Module):
    """Blocks, and a self-attention layer after each so many of them.

    Args:
        input_size: Features a frame.
        options: Sizes.
        feed_forward: Makes a block's feed-forward layer from its number, from 1, and
            the width of its input.
    """

    def __init__(
        self,
        input_size: int,
        options: MemoryNetworkOptions,
        feed_forward: Callable[[int, int], nn.Module],
    ):
        super().__init__()
        self.options = options
        size = options.output_size
        widths = [input_size] + [size] * (options.num_blocks - 1)
        self.blocks = nn.ModuleList(
            MemoryBlock(
                width,
                options,
                feed_forward(number, width),
                normalize=options.layer_norm and number > 1,
            )
            for number, width in enumerate(widths, 1)
        )
        self.attentions = nn.ModuleList(
            AttentionLayer(options) for _ in range(options.num_attentions)
        )
        self.after_norm = nn.LayerNorm(size) if options.layer_norm else nn.Identity()

    def forward(
        self, x: torch.Tensor, valid: torch.Tensor, routing: Routing
    ) -> torch.Tensor:
        """Map ``(B, T, input_size)`` to ``(B, T, D)``; ``valid`` is ``(B, T)``."""
        mask = attention_mask(valid, self.options.attention_window)
        attentions = iter(self.attentions)
        for number, block in enumerate(self.blocks, 1):
            x = block(x, valid, routing)
            if self.attentions and number % self.options.attention_every == 0:
                x = next(attentions)(x, mask)
        return self.after_norm(x)


def attention_mask(
    valid: torch.Tensor, window: Sequence[int] | None = None
) -> torch.Tensor:
    """Which frames a frame attends to.

    Args:
        valid: ``(B, T)``, true at frames that are not padding.
        window: Frames on its left and on its right; None for the whole utterance.

    Returns:
        ``(B, 1, T)``, or ``(B, T, T)`` with a window.

    Example:
        >>> attention_mask(torch.ones(1, 3, dtype=torch.bool), [1, 0]).int()
        tensor([[[1, 0, 0],
                 [1, 1, 0],
                 [0, 1, 1]]], dtype=torch.int32)
    """
    mask = valid[:, None, :]
    if window is None:
        return mask
    left, right = window
    positions = torch.arange(valid.size(1), device=valid.device)
    offset = positions - positions[:, None]  # (T, T), key - query in frames
    near = (offset >= -left) & (offset <= right)
    # padding sees itself: a softmax over nothing is not a number
    return (mask & near) | (offset == 0)
