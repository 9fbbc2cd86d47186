"""Decoder `u2pp_transformer`: one from left to right, one from right to left (U2++).

The first is a decoder like any other and serves every search; the second reads the text
from its end, in training and when hypotheses are rescored.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from espnet_smoe.config.options import options_of
from espnet_smoe.config.typed import Above0, Count, Natural, Rate
from espnet_smoe.decoder.transformer import SMoETransformerDecoder
from espnet_smoe.layers.norm_eps import set_norm_eps
from espnet_smoe.moe import MoEOptions
from espnet_smoe.moe.topk_gate import U2PP_DEFAULTS


class U2PPTransformerDecoder(SMoETransformerDecoder):
    """Two Transformer decoders whose feed-forward blocks may be mixtures.

    Args:
        vocab_size: V.
        encoder_output_size: D.
        attention_heads: Heads of both attentions.
        linear_units: Hidden width of a block or of each expert.
        num_blocks: Layers from left to right.
        r_num_blocks: Layers from right to left; 0 for no such decoder.
        dropout_rate: Dropout of blocks and residuals.
        positional_dropout_rate: Dropout after the positions are added.
        self_attention_dropout_rate: Dropout of the self-attention weights.
        src_attention_dropout_rate: Dropout of the cross-attention weights.
        norm_eps: What layer norms add to a variance.
        moe: Mixture options (`MoEOptions`), by default 8 experts and ``top_k: 2`` by a
            router; None for dense decoders.

    Attributes:
        right: The decoder from right to left, which takes ``<sos>`` and the text
            from its end; None without one.

    Raises:
        ValueError: Unknown option or value.

    Example:
        >>> import torch
        >>> decoder = U2PPTransformerDecoder(10, 16, 2, 32, 1, 1, moe={})
        >>> memory, lengths = torch.zeros(1, 7, 16), torch.tensor([7])
        >>> tokens = torch.tensor([[9, 2, 3]])
        >>> decoder.right(memory, lengths, tokens, torch.tensor([3]))[0].shape
        torch.Size([1, 3, 10])
    """

    @options_of("decoder_conf")
    def __init__(
        self,
        vocab_size: int,
        encoder_output_size: int,
        attention_heads: Count = 4,
        linear_units: Count = 2048,
        num_blocks: Count = 3,
        r_num_blocks: Natural = 3,
        dropout_rate: Rate = 0.1,
        positional_dropout_rate: Rate = 0.1,
        self_attention_dropout_rate: Rate = 0.0,
        src_attention_dropout_rate: Rate = 0.0,
        norm_eps: Above0 = 1e-12,
        moe: Mapping[str, Any] | None = None,
    ):
        options = MoEOptions.parse(moe, "decoder_conf.moe", **U2PP_DEFAULTS)
        sizes: dict[str, Any] = {
            "attention_heads": attention_heads,
            "linear_units": linear_units,
            "dropout_rate": dropout_rate,
            "positional_dropout_rate": positional_dropout_rate,
            "self_attention_dropout_rate": self_attention_dropout_rate,
            "src_attention_dropout_rate": src_attention_dropout_rate,
            "moe": asdict(options) if options else None,
        }
        given = vocab_size, encoder_output_size
        super().__init__(*given, num_blocks=num_blocks, **sizes)
        self.right = None
        if r_num_blocks:
            self.right = SMoETransformerDecoder(
                *given, num_blocks=r_num_blocks, **sizes
            )
        set_norm_eps(self, norm_eps)
