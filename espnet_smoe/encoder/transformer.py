"""Encoder `smoe_transformer`: a Transformer whose feed-forward blocks may be experts.

ESPnet's Transformer encoder with two additions: a mixture in place of each
feed-forward block, routed by a label of the utterance (S-MoE, Eq. 2) or by a router,
and the paper's subsampler. Without ``moe`` it has ESPnet's parameters under ESPnet's
names.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated, Any, Literal

import torch
from torch.utils.checkpoint import checkpoint

from espnet_smoe.compat import (
    CTC,
    SUBSAMPLING,
    EncoderLayer,
    MultiHeadedAttention,
    PositionalEncoding,
    TooShortUttError,
    TransformerEncoder,
    check_short_utt,
    repeat,
)
from espnet_smoe.config.options import options_of, require_multiple
from espnet_smoe.config.typed import Count, OneOf, Rate
from espnet_smoe.layers.subsampling import Conv1dGLUSubsampling
from espnet_smoe.moe import (
    BANDWIDTHS,
    MoEOptions,
    Routing,
    build_feed_forward,
    build_labels,
    build_router,
)
from espnet_smoe.moe.routing import own_routing

INPUT_LAYERS = ("conv1d_glu", "conv1d2", "conv2d", "conv2d1", "conv2d2", "conv2d6")
INPUT_LAYERS += ("conv2d8", "embed", "linear")


class SMoEEncoderLayer(EncoderLayer):
    """ESPnet's encoder layer, whose feed-forward block takes a routing."""

    def forward(
        self, x: torch.Tensor, mask: torch.Tensor, routing: Routing
    ) -> torch.Tensor:
        """Map ``(B, T, D)`` to ``(B, T, D)``; ``mask`` is ``(B, 1, T)``."""
        h = self.norm1(x) if self.normalize_before else x
        attended = self.self_attn(h, h, h, mask)
        if self.concat_after:
            x = x + self.concat_linear(torch.cat((h, attended), dim=-1))
        else:
            x = x + self.dropout(attended)
        x = x if self.normalize_before else self.norm1(x)
        h = self.norm2(x) if self.normalize_before else x
        x = x + self.dropout(self.feed_forward(h, routing))
        return x if self.normalize_before else self.norm2(x)


class SMoETransformerEncoder(TransformerEncoder):
    """Transformer encoder whose feed-forward blocks may be mixtures.

    Args:
        input_size: Features a frame.
        output_size: D.
        attention_heads: Heads of the self-attention.
        linear_units: F, the hidden width of a block or of each expert.
        num_blocks: Layers.
        dropout_rate: Dropout of blocks and residuals.
        positional_dropout_rate: Dropout after the positions are added.
        attention_dropout_rate: Dropout of the attention weights.
        input_layer: ``conv1d_glu`` (S-MoE's subsampler, a quarter of the frames) or
            any input layer of ESPnet's Transformer encoder.
        subsampling_channels: Channels of the first ``conv1d_glu`` convolution.
        pos_enc_class: Adds positions, for input layers that take one.
        pos_enc_layer_type: ``abs_pos`` (sinusoidal) or ``conv``.
        normalize_before: Pre-norm when true.
        concat_after: Concatenate the input and the output of the attention.
        padding_idx: Padding of ``input_layer: embed``.
        interctc_layer_idx: Layers, from 1, whose output has a CTC loss.
        interctc_use_conditioning: Feed these CTC outputs back.
        gradient_checkpoint_layers: Layers, from 1, recomputed in the backward pass.
        qk_norm: Normalise queries and keys.
        use_sdpa: PyTorch's fused attention.
        moe: Mixture options (`MoEOptions`); None for a dense encoder. The label
            gate reads ``<wb>`` (expert 0) and ``<nb>`` (expert 1) by default.

    Raises:
        ValueError: Unknown option or value.

    Example:
        >>> encoder = SMoETransformerEncoder(80, 16, 2, 32, 2, input_layer="conv1d_glu")
        >>> out, lengths, _ = encoder(torch.zeros(1, 40, 80), torch.tensor([40]))
        >>> out.shape, lengths
        (torch.Size([1, 10, 16]), tensor([10]))
    """

    @options_of("encoder_conf")
    def __init__(
        self,
        input_size: int,
        output_size: Count = 256,
        attention_heads: Count = 4,
        linear_units: Count = 2048,
        num_blocks: Count = 6,
        dropout_rate: Rate = 0.1,
        positional_dropout_rate: Rate = 0.1,
        attention_dropout_rate: Rate = 0.0,
        input_layer: Annotated[str, OneOf(INPUT_LAYERS)] | None = "conv2d",
        subsampling_channels: Count = 1024,
        pos_enc_class: type = PositionalEncoding,
        pos_enc_layer_type: Literal["abs_pos", "conv"] = "abs_pos",
        normalize_before: bool = True,
        concat_after: bool = False,
        padding_idx: int = -1,
        interctc_layer_idx: Sequence[Count] = (),
        interctc_use_conditioning: bool = False,
        gradient_checkpoint_layers: Sequence[Count] = (),
        qk_norm: bool = False,
        use_sdpa: bool = False,
        moe: Mapping[str, Any] | None = None,
    ):
        require_multiple("encoder_conf", output_size, attention_heads)
        ours = input_layer == "conv1d_glu"
        super().__init__(  # input layer, positions and norm; the layers are ours
            input_size,
            output_size,
            num_blocks=0,
            dropout_rate=dropout_rate,
            positional_dropout_rate=positional_dropout_rate,
            input_layer=None if ours else input_layer,
            pos_enc_class=pos_enc_class,
            pos_enc_layer_type=pos_enc_layer_type,
            normalize_before=normalize_before,
            padding_idx=padding_idx,
        )
        if ours:
            self.embed = Conv1dGLUSubsampling(
                input_size,
                output_size,
                subsampling_channels,
                PositionalEncoding(output_size, positional_dropout_rate),
            )
        options = MoEOptions.parse(moe, "encoder_conf.moe", BANDWIDTHS)
        self.labels = build_labels(options)
        self.loss_weights = options.loss_weights if options else {}
        attention = partial(
            MultiHeadedAttention,
            *(attention_heads, output_size, attention_dropout_rate, qk_norm),
            use_sdpa=use_sdpa,
        )
        sizes = output_size, linear_units, dropout_rate
        router = build_router(options, output_size)
        block = partial(build_feed_forward, options, *sizes, router=router)
        rest = dropout_rate, normalize_before, concat_after

        def layer(number: int) -> SMoEEncoderLayer:
            return SMoEEncoderLayer(output_size, attention(), block(str(number)), *rest)

        self.encoders = repeat(num_blocks, layer)
        self.interctc_layer_idx = _inner_layers(interctc_layer_idx, num_blocks)
        self.interctc_use_conditioning = interctc_use_conditioning
        self.gradient_checkpoint_layers = set(gradient_checkpoint_layers)

    def forward(
        self,
        xs_pad: torch.Tensor,
        ilens: torch.Tensor,
        prev_states: None = None,
        ctc: CTC | None = None,
        routing: Routing | None = None,
        return_all_hs: bool = False,
    ) -> tuple[Any, torch.Tensor, None]:
        """Encode a batch.

        Args:
            xs_pad: ``(B, T, input_size)``.
            ilens: ``(B,)`` frames.
            prev_states: Unused; part of ESPnet's interface.
            ctc: For ``interctc_use_conditioning``.
            routing: From `route`; needed by an encoder that reads labels.
            return_all_hs: Return the output of every layer as well.

        Returns:
            ``(B, T', D)``, or a pair of it and ``[(layer, (B, T', D))]`` (the outputs
            with a CTC loss) or ``[(B, T', D)]`` (all layers); ``(B,)`` frames T';
            None.

        Raises:
            TooShortUttError: Too few frames for the subsampling.
            ValueError: Labels are needed and missing.
        """
        frames = torch.arange(xs_pad.size(1), device=ilens.device)
        mask = (frames < ilens[:, None])[:, None, :]  # (B, 1, T)
        x, mask = self._embed(xs_pad, mask.to(xs_pad.device))
        routing = routing or own_routing(self, Routing(ilens))
        routing.lengths = mask.sum(dim=(1, 2))
        x, mask = routing.sort_by_label(x, mask)
        hidden = []
        for number, layer in enumerate(self.encoders, 1):
            if number in self.gradient_checkpoint_layers and self.training:
                x = checkpoint(layer, x, mask, routing, use_reentrant=False)
            else:
                x = layer(x, mask, routing)
            if return_all_hs:
                hidden.append(routing.unsort(x))
            elif number in self.interctc_layer_idx:
                out = self.after_norm(x) if self.normalize_before else x
                hidden.append((number, routing.unsort(out)))
                if self.interctc_use_conditioning:
                    x = x + self.conditioning_layer(ctc.softmax(out))
        x = self.after_norm(x) if self.normalize_before else x
        lengths = routing.unsort(mask).sum(dim=(1, 2))
        x = routing.unsort(x)
        return ((x, hidden) if hidden else x), lengths, None

    def route(
        self,
        label_ids: torch.Tensor,
        utterances: Sequence[str] | None = None,
    ) -> Routing:
        """Read the labels of a batch.

        Args:
            label_ids: ``(B,)`` token ids of the labels.
            utterances: Their names, for error messages.
        """
        return self.labels.route(label_ids, torch.ones_like(label_ids), utterances)

    def _embed(
        self, x: torch.Tensor, mask: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if isinstance(self.embed, SUBSAMPLING):
            too_short, limit = check_short_utt(self.embed, x.size(1))
            if too_short:
                raise TooShortUttError(
                    f"{x.size(1)} frames are too few for the subsampling, which needs "
                    f"more than {limit}; filter short utterances",
                    x.size(1),
                    limit,
                )
        if isinstance(self.embed, (*SUBSAMPLING, Conv1dGLUSubsampling)):
            return self.embed(x, mask)
        return (x if self.embed is None else self.embed(x)), mask


def _inner_layers(numbers: Sequence[int], count: int) -> list[int]:
    """Layers, from 1, that have another behind them."""
    wrong = [i for i in numbers if not 0 < i < count]
    if wrong:
        raise ValueError(
            f"encoder_conf.interctc_layer_idx: {wrong} is not in 1..{count - 1}"
        )
    return list(numbers)
