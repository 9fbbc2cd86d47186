"""Encoder `u2pp_conformer`: a Conformer for streams and whole utterances (U2++ MoE).

One set of weights, trained with chunks of random size, encodes a whole utterance at
once (`forward`), the same utterance as if it came in chunks (`forward` with a chunk
size) and a stream chunk by chunk (`forward_chunk`). The last two are equal. Every
feed-forward block may be a mixture.

Nothing waits for more than its chunk: the subsampling ends with the frame it is for,
convolutions look back, attention sees its chunk and the left ones.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from espnet_smoe.compat import CTC, AbsEncoder, LayerNorm
from espnet_smoe.config.ignored_options import warn_without_effect
from espnet_smoe.config.options import options_of, require_multiple
from espnet_smoe.config.typed import Above0, Count, Natural, OneOf, Range, Rate
from espnet_smoe.layers.causal_subsampling import INPUT_LAYERS, CausalConv2dSubsampling
from espnet_smoe.layers.chunk_attention import ATTENTIONS, SCALED
from espnet_smoe.layers.chunk_cache import (
    FRAMES_A_SECOND,
    EncoderCache,
    Tables,
    check_chunks,
    chunk_mask,
    mask_bias,
    sample_chunk_size,
)
from espnet_smoe.layers.conformer_layer import (
    ACTIVATIONS,
    ConformerLayer,
    ConvolutionModule,
)
from espnet_smoe.layers.norm_eps import set_norm_eps
from espnet_smoe.moe import MoEOptions, Routing, build_feed_forward, build_router
from espnet_smoe.moe.routing import own_routing
from espnet_smoe.moe.topk_gate import U2PP_DEFAULTS


class U2PPConformerEncoder(AbsEncoder):
    """Conformer encoder with causal convolutions, chunks and experts.

    Args:
        input_size: Features a frame, F.
        output_size: D.
        attention_heads: Heads of the self-attention.
        linear_units: Hidden width of a feed-forward block or of each expert.
        num_blocks: Layers.
        dropout_rate: Dropout of blocks and residuals.
        positional_dropout_rate: Dropout of the subsampled features and of the
            sinusoids of ``rel_pos``.
        attention_dropout_rate: Dropout of the attention weights.
        input_layer: ``conv2d`` (a quarter of the frames), ``conv2d2``, ``conv2d6`` or
            ``conv2d8``.
        pos_enc_layer_type: ``rel_pos`` (relative), ``rope`` (rotary), or of models of
            WeNet ``wenet_rel_pos`` (of each key's own position) or ``wenet_rope``
            (features are multiplied by the square root of D).
        activation_type: Of feed-forward blocks and convolutions.
        macaron_style: A feed-forward block before the attention as well.
        use_cnn_module: Convolutions.
        cnn_module_kernel: Frames that a convolution sees; odd without ``causal``.
        causal: Convolutions look back only; without it nothing can stream.
        qk_norm: Normalise queries and keys.
        use_dynamic_chunk: Train with chunks of random size, up to a second.
        use_dynamic_left_chunk: Draw the number of left chunks, too.
        static_chunk_size: Encoder frames a chunk where none is drawn; 0 for the whole
            utterance.
        num_left_chunks: Chunks on the left that a frame attends to; -1 for all.
        gradient_checkpoint_layers: Layers, from 1, recomputed in the backward pass.
        moe: Mixture options (`MoEOptions`), by default 8 experts and ``top_k: 2`` by a
            router; None for a dense encoder.
        moe_every: Every so many layers have mixtures: 1 all, 2 the 2nd, 4th, ...
        norm_eps: What layer norms add to a variance; 1e-5 in WeNet.
        lookahead: The subsampling begins with frames instead of zeros, as in WeNet:
            each encoder frame sees further ahead, by 30 ms with ``conv2d``.
        gate_padding: Convolutions pad before their gate and not behind it, as in WeNet.

    Attributes:
        stride: Feature frames an encoder frame.
        lookahead: Feature frames before those of the first chunk of a stream.
        labels: None; no gate reads labels here.
        loss_weights: Weights of the auxiliary losses in use, by name.

    Raises:
        ValueError: Unknown option or value.

    Example:
        >>> encoder = U2PPConformerEncoder(20, 16, 2, 32, 2, moe={}).eval()
        >>> x = torch.randn(1, 64, 20)
        >>> whole, lengths, _ = encoder(x, torch.tensor([64]), chunk_size=8)
        >>> cache, chunks = encoder.new_cache(chunk_size=8), []
        >>> for piece in x.split(8 * encoder.stride, dim=1):
        ...     chunk, _, cache = encoder.forward_chunk(piece, cache)
        ...     chunks.append(chunk)
        >>> torch.allclose(torch.cat(chunks, dim=1), whole, atol=1e-5)
        True
    """

    @options_of("encoder_conf")
    def __init__(
        self,
        input_size: int,
        output_size: Count = 256,
        attention_heads: Count = 4,
        linear_units: Count = 2048,
        num_blocks: Count = 12,
        dropout_rate: Rate = 0.1,
        positional_dropout_rate: Rate = 0.1,
        attention_dropout_rate: Rate = 0.0,
        input_layer: Annotated[str, OneOf(INPUT_LAYERS)] = "conv2d",
        pos_enc_layer_type: Annotated[str, OneOf(ATTENTIONS)] = "rel_pos",
        activation_type: Annotated[str, OneOf(ACTIVATIONS)] = "swish",
        macaron_style: bool = True,
        use_cnn_module: bool = True,
        cnn_module_kernel: Count = 15,
        causal: bool = True,
        qk_norm: bool = False,
        use_dynamic_chunk: bool = True,
        use_dynamic_left_chunk: bool = False,
        static_chunk_size: Natural = 0,
        num_left_chunks: Annotated[int, Range(-1)] = -1,
        gradient_checkpoint_layers: Sequence[Count] = (),
        moe: Mapping[str, Any] | None = None,
        moe_every: Count = 1,
        norm_eps: Above0 = 1e-12,
        lookahead: bool = False,
        gate_padding: bool = False,
    ):
        super().__init__()
        require_multiple("encoder_conf", output_size, attention_heads)
        check_chunks(
            causal, use_dynamic_chunk, use_dynamic_left_chunk, static_chunk_size
        )
        no_moe = "encoder_conf.moe_every: no effect without moe"
        warn_without_effect({no_moe: moe is None and moe_every != 1})
        options = MoEOptions.parse(moe, "encoder_conf.moe", **U2PP_DEFAULTS)
        self.labels = None
        self.loss_weights = options.loss_weights if options else {}
        self.input_size = input_size
        sizes = input_size, output_size
        self.embed = CausalConv2dSubsampling(*sizes, input_layer, lookahead)
        self.stride, self.lookahead = self.embed.stride, self.embed.lookahead
        self.positional_dropout = nn.Dropout(positional_dropout_rate)
        self.scale = output_size**0.5 if pos_enc_layer_type in SCALED else 1.0
        self.causal = causal
        self.use_dynamic_chunk = use_dynamic_chunk
        self.use_dynamic_left_chunk = use_dynamic_left_chunk
        self.static_chunk_size = static_chunk_size
        self.num_left_chunks = num_left_chunks
        self.gradient_checkpoint_layers = set(gradient_checkpoint_layers)
        attention = ATTENTIONS[pos_enc_layer_type]
        activation = ACTIVATIONS[activation_type]
        router = build_router(options, output_size)

        def feed_forward(number: int, name: str) -> nn.Module:
            return build_feed_forward(
                None if (number + 1) % moe_every else options,
                output_size,
                linear_units,
                dropout_rate,
                name,
                router=router,
                activation=activation(),
            )

        def layer(n: int) -> ConformerLayer:
            heads = attention_heads, output_size, attention_dropout_rate, qk_norm
            taps = output_size, cnn_module_kernel, activation(), causal, gate_padding
            return ConformerLayer(
                output_size,
                attention(*heads),
                feed_forward(n, str(n)),
                feed_forward(n, f"{n}.macaron") if macaron_style else None,
                ConvolutionModule(*taps) if use_cnn_module else None,
                dropout_rate,
            )

        self.encoders = nn.ModuleList(layer(n) for n in range(num_blocks))
        self.after_norm = LayerNorm(output_size)
        set_norm_eps(self, norm_eps)

    def output_size(self) -> int:
        """Width of the encoded frames, D."""
        return self.after_norm.normalized_shape[0]

    def forward(
        self,
        xs_pad: torch.Tensor,
        ilens: torch.Tensor,
        prev_states: None = None,
        ctc: CTC | None = None,
        routing: Routing | None = None,
        chunk_size: int | None = None,
        left_chunks: int | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor, None]:
        """Encode whole utterances, each frame seeing what it would see in chunks.

        Args:
            xs_pad: ``(B, T, F)``.
            ilens: ``(B,)`` frames.
            prev_states: Unused; part of ESPnet's interface.
            ctc: Unused; part of ESPnet's interface.
            routing: Receives the loads and the auxiliary losses.
            chunk_size: C, encoder frames a chunk, 0 for the whole utterance. None: in
                training drawn, if the encoder does so, else ``static_chunk_size``.
            left_chunks: Chunks on the left that a frame attends to, -1 for all; None
                for the encoder's own ``num_left_chunks``.

        Returns:
            ``(B, (T - lookahead) // stride, D)``, at least one frame, which then is
            padding; ``(B,)`` encoder frames; None.

        Raises:
            ValueError: Chunks in an encoder that looks ahead, or of a negative size.
        """
        least = self.lookahead + self.stride
        if xs_pad.size(1) < least:  # no utterance has a frame: one of padding
            xs_pad = xs_pad.new_zeros(len(xs_pad), least, self.input_size)
        lengths = self.embed.output_lengths(ilens)
        x = self.positional_dropout(self.embed(xs_pad) * self.scale)  # (B, T', D)
        routing = routing or own_routing(self, Routing(lengths))
        routing.lengths = lengths
        valid = routing.valid(x)  # (B, T')
        chunks = self._chunks(x, chunk_size, left_chunks)
        mask = chunk_mask(x.size(1), *chunks, x.device)
        mask = mask & valid[:, None, None]  # (B, 1, T', T')
        bias = mask_bias(mask, x.dtype)
        positions = self._positions(x.size(1), x.size(1), x)
        for number, layer in enumerate(self.encoders, 1):
            given = x, bias, valid, positions, routing
            if number in self.gradient_checkpoint_layers and self.training:
                x = checkpoint(layer, *given, use_reentrant=False)[0]
            else:
                x = layer(*given)[0]
        return self.after_norm(x), lengths, None

    def new_cache(
        self,
        batch: int = 1,
        chunk_size: int = 16,
        left_chunks: int = -1,
        features: torch.Tensor | None = None,
    ) -> EncoderCache:
        """The cache of streams that have not begun.

        Args:
            batch: B streams.
            chunk_size: C, encoder frames a chunk.
            left_chunks: Chunks on the left that a frame attends to; -1 for all.
            features: ``(B, lookahead, F)``, the first of each stream, which the chunks
                then follow; None for zeros.

        Raises:
            ValueError: The encoder looks ahead without end, or there are no chunks.
        """
        if not self.causal:
            raise ValueError(
                "this encoder cannot stream: it was trained with 'causal: false'; "
                "train one with 'causal: true'"
            )
        if chunk_size < 1:
            raise ValueError(f"chunk_size must be at least 1, got {chunk_size}")
        like, attention = self.after_norm.weight, self.encoders[0].self_attn
        # all left chunks are there from the start, masked until they are spoken: every
        # step has the same shapes, which an exported graph needs
        num_keys = max(left_chunks, 0) * chunk_size
        keys = like.new_zeros(batch, attention.h, num_keys, attention.key_size)
        values = keys[..., : attention.d_k]
        convolutions = [m.conv_module for m in self.encoders if m.conv_module]
        if features is None or not self.lookahead:
            features = like.new_zeros(batch, self.embed.overlap, self.input_size)
        return EncoderCache(
            features,
            [(keys, values) for _ in self.encoders],
            [like.new_zeros(batch, self.output_size(), c.left) for c in convolutions],
            torch.zeros(batch, dtype=torch.long, device=like.device),
            chunk_size,
            left_chunks,
            self._projected_positions(chunk_size, num_keys + chunk_size),
        )

    def forward_chunk(
        self,
        xs: torch.Tensor,
        cache: EncoderCache,
        lengths: torch.Tensor | None = None,
        routing: Routing | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor, EncoderCache]:
        """Encode the next chunk of B streams.

        Args:
            xs: ``(B, C * stride, F)``, the features that follow.
            cache: Of these streams; it is not changed.
            lengths: ``(B,)`` features that are not padding; fewer than there are only
                in the last chunk of a stream. None: all count.
            routing: Receives the loads.

        Returns:
            ``(B, C, D)``; ``(B,)`` encoder frames; the cache for the next chunk.

        Raises:
            ValueError: Not one chunk of features.
        """
        wanted = cache.chunk_size * self.stride
        if xs.size(1) != wanted:
            raise ValueError(
                f"a chunk of {cache.chunk_size} encoder frames takes {wanted} feature "
                f"frames, got {xs.size(1)}; fill up the last one and give its lengths"
            )
        if lengths is None:
            lengths = torch.full_like(cache.num_frames, wanted)
        lengths = lengths // self.stride
        x = self.positional_dropout(self.embed(xs, cache.features) * self.scale)
        routing = routing or Routing(lengths)
        routing.lengths = lengths
        valid = routing.valid(x)  # (B, C)
        bias = cache.bias(lengths)  # (B, 1, 1, L + C)
        projected, positions = self._chunk_positions(cache)
        keys_values, convolution = [], []
        conv_caches = cache.convolution or [None] * len(self.encoders)
        for layer, of_layer, kv_cache, conv_cache in zip(
            self.encoders, positions, cache.keys_values, conv_caches
        ):
            x, kv, conv_cache = layer(
                x, bias, valid, of_layer, routing, kv_cache, conv_cache
            )
            keys_values.append(cache.trim(kv))
            convolution.append(conv_cache)
        after = EncoderCache(
            torch.cat((cache.features, xs), dim=1)[:, wanted:],
            keys_values,
            convolution if cache.convolution else [],
            cache.num_frames + lengths,
            cache.chunk_size,
            cache.left_chunks,
            projected,
        )
        return self.after_norm(x), lengths, after

    def _chunks(
        self, x: torch.Tensor, chunk_size: int | None, left_chunks: int | None
    ) -> tuple[int, int]:
        """Chunk size and left chunks of a pass over ``(B, T, D)``."""
        left = self.num_left_chunks if left_chunks is None else left_chunks
        if chunk_size is None:
            if self.training and self.use_dynamic_chunk:
                largest = FRAMES_A_SECOND // self.stride
                left_too = self.use_dynamic_left_chunk
                return sample_chunk_size(x.size(1), left_too, largest)
            chunk_size = self.static_chunk_size
        if chunk_size < 0:
            raise ValueError(
                f"chunk_size: write 0 for the whole utterance, got {chunk_size}"
            )
        if chunk_size and not self.causal:
            raise ValueError(
                "this encoder cannot work in chunks: it was trained with 'causal: "
                "false'; decode the whole utterance (chunk_size 0)"
            )
        return chunk_size, left

    def _positions(self, queries: int, keys: int, like: torch.Tensor) -> torch.Tensor:
        """The table of positions that each layer projects, see its ``positions``.

        Layers project it inside their ``forward``: where they are sharded (FSDP2),
        their weights are whole only there.
        """
        table = self.encoders[0].self_attn.positions(queries, keys, like)
        return self.positional_dropout(table) if table.dim() > 1 else table

    def _projected_positions(self, queries: int, keys: int) -> Tables:
        """Positions projected by every layer, once for many chunks of a stream."""
        if self.encoders[0].self_attn.absolute:  # each chunk has its own
            return []
        table = self._positions(queries, keys, self.after_norm.weight)
        return [layer.self_attn.project_positions(table) for layer in self.encoders]

    def _chunk_positions(self, cache: EncoderCache) -> tuple[Tables, Tables]:
        """What the next cache keeps of positions, and what each layer takes now."""
        attention, projected = self.encoders[0].self_attn, cache.positions
        size, keys = cache.chunk_size, cache.length + cache.chunk_size
        if attention.absolute:
            given = size, keys, self.after_norm.weight, cache.num_frames
            return [], [attention.positions(*given)] * len(self.encoders)
        # A cache that keeps all grows: project for twice the keys, thus seldom.
        if keys > attention.max_keys(projected[0], size):
            projected = self._projected_positions(size, 2 * keys)
        return projected, [attention.slice_positions(p, size, keys) for p in projected]
