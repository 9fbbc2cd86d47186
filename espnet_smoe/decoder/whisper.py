"""Decoder `smoe_whisper`: Whisper's, whose feed-forward blocks may be experts."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from espnet_smoe.config.options import options_of
from espnet_smoe.config.typed import Count, Rate
from espnet_smoe.decoder.transformer import SMoETransformerDecoder, Tokens
from espnet_smoe.layers.whisper import (
    LearnedPositions,
    TiedEmbedding,
    compute_as_whisper,
)


class SMoEOpenAIDecoder(SMoETransformerDecoder):
    """Whisper's decoder with supervised experts.

    Positions are learned, and the output layer is the embedding of the tokens. (Of the
    bias of keys see `espnet_smoe.encoder.whisper`.)

    Args:
        vocab_size: V.
        encoder_output_size: D.
        attention_heads: Heads of both attentions.
        linear_units: F, the hidden width of a block or of each expert.
        num_blocks: Layers.
        dropout_rate: Dropout of blocks and residuals.
        self_attention_dropout_rate: Dropout of the self-attention weights.
        src_attention_dropout_rate: Dropout of the cross-attention weights.
        max_length: Positions, those of the prompt among them. A search writes half as
            many tokens at most, as Whisper's does: it was trained on texts behind the
            text before them, which has the other half.
        suppress_tokens: Ids that a search never chooses, such as music signs;
            ``[first, last]`` for all from the first to the last.
        begin_suppress_tokens: Ids that it does not choose at first.
        gradient_checkpoint_layers: Layers, from 1, recomputed in the backward pass.
        moe: Mixture options (`MoEOptions`); None for a dense decoder. Its labels are
            tokens of the prompt, such as ``<|translate|>``.

    Raises:
        ValueError: Unknown option or value, an id that is none.

    Example:
        >>> import torch
        >>> decoder = SMoEOpenAIDecoder(10, 16, 2, 32, 2)
        >>> memory, lengths = torch.zeros(1, 7, 16), torch.tensor([7])
        >>> tokens = torch.tensor([[1, 2, 3]])
        >>> decoder(memory, lengths, tokens, torch.tensor([3]))[0].shape
        torch.Size([1, 3, 10])
    """

    # It would find repetitions if it went on: they are long, and each of their tokens
    # is likely.
    normalize_length = True
    searched_as_whisper = True
    shares_suppressed = True

    @options_of("decoder_conf")
    def __init__(
        self,
        vocab_size: int,
        encoder_output_size: int,
        attention_heads: Count = 8,
        linear_units: Count = 2048,
        num_blocks: Count = 6,
        dropout_rate: Rate = 0.0,
        self_attention_dropout_rate: Rate = 0.0,
        src_attention_dropout_rate: Rate = 0.0,
        max_length: Count = 448,
        suppress_tokens: Sequence[Tokens] = (),
        begin_suppress_tokens: Sequence[Tokens] = (),
        gradient_checkpoint_layers: Sequence[Count] = (),
        moe: Mapping[str, Any] | None = None,
    ):
        super().__init__(
            vocab_size,
            encoder_output_size,
            attention_heads,
            linear_units,
            num_blocks,
            dropout_rate,
            self_attention_dropout_rate=self_attention_dropout_rate,
            src_attention_dropout_rate=src_attention_dropout_rate,
            use_output_layer=False,
            gradient_checkpoint_layers=gradient_checkpoint_layers,
            suppress_tokens=suppress_tokens,
            moe=moe,
        )
        self.max_length = max_length
        self.longest_text = max_length // 2
        self.suppressed_first = self.suppressed + self.ids_of(begin_suppress_tokens)
        positions = LearnedPositions(max_length, encoder_output_size)
        embedding = TiedEmbedding(vocab_size, encoder_output_size)
        self.embed = nn.Sequential(embedding, positions)
        self.output_layer = nn.Linear(encoder_output_size, vocab_size, bias=False)
        self.output_layer.weight = embedding.weight
        compute_as_whisper(self)
