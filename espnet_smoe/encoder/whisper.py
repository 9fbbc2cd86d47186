"""Encoder `smoe_whisper`: Whisper's, whose feed-forward blocks may be experts."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from espnet_smoe.config.options import options_of
from espnet_smoe.config.typed import Count, Rate
from espnet_smoe.encoder.transformer import SMoETransformerEncoder
from espnet_smoe.layers.whisper import WhisperSubsampling, compute_as_whisper


class SMoEOpenAIEncoder(SMoETransformerEncoder):
    """Whisper's encoder with supervised experts.

    Its keys have a bias, which Whisper's lack: attention does not depend on it (the
    softmax cancels it), and one of zero it is. The class has no Whisper in its name, as
    ESPnet's models then expect an encoder that makes its features itself.

    Args:
        input_size: Features a frame.
        output_size: D.
        attention_heads: Heads of the self-attention.
        linear_units: F, the hidden width of a block or of each expert.
        num_blocks: Layers.
        dropout_rate: Dropout of blocks and residuals.
        attention_dropout_rate: Dropout of the attention weights.
        gradient_checkpoint_layers: Layers, from 1, recomputed in the backward pass.
        moe: Mixture options (`MoEOptions`); None for a dense encoder.

    Raises:
        ValueError: Unknown option or value.

    Example:
        >>> encoder = SMoEOpenAIEncoder(80, 16, 2, 32, 2)
        >>> out, lengths, _ = encoder(torch.zeros(1, 40, 80), torch.tensor([40]))
        >>> out.shape, lengths
        (torch.Size([1, 20, 16]), tensor([20]))
    """

    @options_of("encoder_conf")
    def __init__(
        self,
        input_size: int,
        output_size: Count = 512,
        attention_heads: Count = 8,
        linear_units: Count = 2048,
        num_blocks: Count = 6,
        dropout_rate: Rate = 0.0,
        attention_dropout_rate: Rate = 0.0,
        gradient_checkpoint_layers: Sequence[Count] = (),
        moe: Mapping[str, Any] | None = None,
    ):
        super().__init__(
            input_size,
            output_size,
            attention_heads,
            linear_units,
            num_blocks,
            dropout_rate,
            attention_dropout_rate=attention_dropout_rate,
            input_layer="linear",
            gradient_checkpoint_layers=gradient_checkpoint_layers,
            use_sdpa=True,
            moe=moe,
        )
        self.embed = WhisperSubsampling(input_size, output_size)
        compute_as_whisper(self)

    def _embed(
        self, x: torch.Tensor, mask: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        return self.embed(x, mask)
