"""Decoder `smoe_transformer`: a Transformer that routes itself by its prompt.

The prompt at the head of the input names the task (``<transcribe>``, ``<translate>``);
the label gate reads it there (S-MoE, Eq. 3), so training, beam search and fusion need
no extra plumbing. Without ``moe`` it has the parameters of ESPnet's Transformer
decoder under ESPnet's names. Training and search run the same layers; a search
caches keys and values.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from espnet_smoe.compat import (
    AbsDecoder,
    BatchScorerInterface,
    LayerNorm,
    PositionalEncoding,
    repeat,
)
from espnet_smoe.config.options import options_of, require_multiple
from espnet_smoe.config.typed import Count, Natural, Rate
from espnet_smoe.decoder.cache import CacheRow, DecoderCache, gather
from espnet_smoe.decoder.input_layer import input_layers
from espnet_smoe.decoder.partially_ar import NoPartiallyAR
from espnet_smoe.decoder.search_prompt import SearchPrompt, with_prompt
from espnet_smoe.layers.attention import (
    CachedAttention,
    memory_mask,
)
from espnet_smoe.layers.decoder_layer import SMoEDecoderLayer
from espnet_smoe.moe import (
    MoEOptions,
    Routing,
    build_feed_forward,
    build_labels,
    build_router,
)
from espnet_smoe.moe.routing import own_routing

TASK_LABELS = ("<translate>", "<transcribe>")  # E0, E1 (S-MoE, Eq. 3)
Tokens = Natural | Sequence[Natural]  # an id, or the first and the last of some


class SMoETransformerDecoder(AbsDecoder, BatchScorerInterface, NoPartiallyAR):
    """Transformer decoder with supervised experts.

    Args:
        vocab_size: V.
        encoder_output_size: D.
        attention_heads: Heads of both attentions.
        linear_units: F, the hidden width of a block or of each expert.
        num_blocks: Layers.
        dropout_rate: Dropout of blocks and residuals.
        positional_dropout_rate: Dropout after the positions are added.
        self_attention_dropout_rate: Dropout of the self-attention weights.
        src_attention_dropout_rate: Dropout of the cross-attention weights.
        input_layer: ``embed``, or ``linear`` for inputs that are vectors.
        use_output_layer: Project to the vocabulary.
        pos_enc_class: Adds positions.
        normalize_before: Pre-norm when true.
        concat_after: Concatenate the input and the output of the attentions.
        gradient_checkpoint_layers: Layers, from 1, recomputed in the backward pass.
        qk_norm: Normalise queries and keys.
        suppress_tokens: Ids that a search never chooses, such as OWSM's time marks;
            ``[first, last]`` for all from the first to the last.
        moe: Mixture options (`MoEOptions`); None for a dense decoder. The label
            gate reads ``<translate>`` (expert 0) and ``<transcribe>`` (expert 1)
            by default.

    Attributes:
        max_length: Tokens that it can read, the prompt included; None for any number.
        longest_text: Tokens that a search writes at most; None for any number.
        normalize_length: Whether a search ranks its texts by score over length, where
            its options do not say.
        shares_suppressed: Whether a search gives the probability of suppressed tokens
            to the others.
        searched_as_whisper: Whether it searches as Whisper's own program does: texts
            that end take no place in the beam, it ends once as many have ended as the
            beam is wide, and the length of a text does not count its prompt.
        search_prompt: Id of ``<sos>``, with which ESPnet's search begins, and the ids
            of the prompt that takes its place there; None for ``<sos>`` itself.

    Raises:
        ValueError: Unknown option or value.

    Example:
        >>> decoder = SMoETransformerDecoder(10, 16, 2, 32, 2)
        >>> memory, lengths = torch.zeros(1, 7, 16), torch.tensor([7])
        >>> tokens = torch.tensor([[1, 2, 3]])
        >>> decoder(memory, lengths, tokens, torch.tensor([3]))[0].shape
        torch.Size([1, 3, 10])
    """

    max_length: int | None = None
    longest_text: int | None = None
    normalize_length = False
    shares_suppressed = False
    searched_as_whisper = False

    @options_of("decoder_conf")
    def __init__(
        self,
        vocab_size: int,
        encoder_output_size: int,
        attention_heads: Count = 4,
        linear_units: Count = 2048,
        num_blocks: Count = 6,
        dropout_rate: Rate = 0.1,
        positional_dropout_rate: Rate = 0.1,
        self_attention_dropout_rate: Rate = 0.0,
        src_attention_dropout_rate: Rate = 0.0,
        input_layer: Literal["embed", "linear"] = "embed",
        use_output_layer: bool = True,
        pos_enc_class: type = PositionalEncoding,
        normalize_before: bool = True,
        concat_after: bool = False,
        gradient_checkpoint_layers: Sequence[Count] = (),
        qk_norm: bool = False,
        suppress_tokens: Sequence[Tokens] = (),
        moe: Mapping[str, Any] | None = None,
    ):
        super().__init__()
        size = encoder_output_size
        named = "the encoder's output size"
        require_multiple("decoder_conf", size, attention_heads, named)
        self.vocab_size = vocab_size
        self.suppressed = self.suppressed_first = self.ids_of(suppress_tokens)
        self.embed = nn.Sequential(
            *input_layers(input_layer, vocab_size, size, dropout_rate),
            pos_enc_class(size, positional_dropout_rate),
        )
        options = MoEOptions.parse(moe, "decoder_conf.moe", TASK_LABELS)
        self.labels = build_labels(options)
        self.loss_weights = options.loss_weights if options else {}
        sizes = size, linear_units, dropout_rate
        router = build_router(options, size)
        block = partial(build_feed_forward, options, *sizes, router=router)
        rates = self_attention_dropout_rate, src_attention_dropout_rate

        def layer(number: int) -> SMoEDecoderLayer:
            attentions = [
                CachedAttention(attention_heads, size, rate, qk_norm) for rate in rates
            ]
            rest = dropout_rate, normalize_before, concat_after
            return SMoEDecoderLayer(size, *attentions, block(str(number)), *rest)

        self.decoders = repeat(num_blocks, layer)
        self.normalize_before = normalize_before
        if normalize_before:
            self.after_norm = LayerNorm(size)
        self.output_layer = nn.Linear(size, vocab_size) if use_output_layer else None
        self.gradient_checkpoint_layers = set(gradient_checkpoint_layers)
        self.search_prompt: SearchPrompt | None = None

    def forward(
        self,
        hs_pad: torch.Tensor,
        hlens: torch.Tensor,
        ys_in_pad: torch.Tensor,
        ys_in_lens: torch.Tensor,
        return_hs: bool = False,
        return_all_hs: bool = False,
        routing: Routing | None = None,
    ) -> tuple[Any, torch.Tensor]:
        """Decode with the true prefix at each position.

        Args:
            hs_pad: Encoder's output ``(B, T, D)``.
            hlens: ``(B,)`` frames.
            ys_in_pad: Prompt and text ``(B, L)``; vectors where the input layer is
                ``linear``.
            ys_in_lens: ``(B,)`` tokens.
            return_hs: Return the last hidden layer as well.
            return_all_hs: Return all hidden layers as well.
            routing: From `route`; made from the prompts when None.

        Returns:
            Scores before the softmax ``(B, L, V)``, or a pair of them and what was
            asked for; ``(B,)`` tokens.

        Raises:
            ValueError: A prompt has none of the labels.
        """
        routing = routing or own_routing(self, self.route(ys_in_pad, ys_in_lens))
        mask = memory_mask(hlens, hs_pad)  # (B, 1, T)
        x, memory, mask = routing.sort_by_label(self.embed(ys_in_pad), hs_pad, mask)
        hidden = []
        for number, layer in enumerate(self.decoders, 1):
            if number in self.gradient_checkpoint_layers and self.training:
                given = x, None, memory, mask, routing
                x = checkpoint(layer, *given, use_reentrant=False)[0]
            else:
                x = layer(x, None, memory, mask, routing)[0]
            hidden.append(x)
        x = routing.unsort(self.after_norm(x) if self.normalize_before else x)
        out = x if self.output_layer is None else self.output_layer(x)
        if return_hs:
            return (out, x), ys_in_lens
        if return_all_hs:
            return (out, [routing.unsort(h) for h in hidden]), ys_in_lens
        return out, ys_in_lens

    def route(self, prompts: torch.Tensor, lengths: torch.Tensor) -> Routing:
        """Read the label of each row: the first one in its prompt.

        Args:
            prompts: ``(B, L)``.
            lengths: ``(B,)`` tokens.
        """
        if self.labels is None:
            return Routing(lengths)
        return self.labels.route(self.labels.find(prompts), lengths)

    # -- search: ESPnet's scorer interface over cached keys and values -------------

    def init_state(self, x: torch.Tensor) -> DecoderCache:
        """Keep the keys and values of one utterance ``(T, D)``."""
        return self.batch_init_state(x)

    def batch_init_state(
        self, x: torch.Tensor, xs_lengths: torch.Tensor | None = None
    ) -> DecoderCache:
        """Keep the keys and values of the encoder's output, for the whole search.

        Args:
            x: ``(T, D)`` or ``(B, T, D)``.
            xs_lengths: ``(B,)`` frames.
        """
        x = x.unsqueeze(0) if x.dim() == 2 else x
        mask = None
        if xs_lengths is not None and bool((xs_lengths < x.size(1)).any()):
            mask = memory_mask(xs_lengths, x)
        return DecoderCache([d.src_attn.keys_values(x) for d in self.decoders], mask)

    def score(
        self, y: torch.Tensor, state: DecoderCache | CacheRow, x: torch.Tensor
    ) -> tuple[torch.Tensor, CacheRow]:
        """Score the next token of one hypothesis ``(L,)``: ``(V,)``."""
        scores, states = self.batch_score(y.unsqueeze(0), [state], x)
        return scores[0], self.select_state(states, 0)

    def batch_score(
        self,
        ys: torch.Tensor,
        states: list[DecoderCache | CacheRow] | DecoderCache,
        xs: torch.Tensor,
        return_hs: bool = False,
        xs_mask: torch.Tensor | None = None,
    ) -> tuple[Any, DecoderCache]:
        """Score the next token of N hypotheses.

        Args:
            ys: ``(N, L)`` prefixes, prompt included.
            states: Of the hypotheses, as handed out by this decoder.
            xs: Encoder's output ``(N, T, D)``; its keys and values are kept, and made
                anew where a simulated stream has brought more frames.
            return_hs: Return the last hidden layer ``(N, D)`` as well.
            xs_mask: Not read; kept with the keys and values.

        Returns:
            Log probabilities ``(N, V)``; the state of all N.
        """
        cache = gather(states).with_frames(xs, self.decoders)
        x, state = self.advance(with_prompt(ys, self.search_prompt), cache)
        scores = x if self.output_layer is None else self.output_layer(x)
        scores = torch.log_softmax(scores, dim=-1)
        return ((scores, x) if return_hs else scores), state

    def advance(
        self, ys: torch.Tensor, cache: DecoderCache, routing: Routing | None = None
    ) -> tuple[torch.Tensor, DecoderCache]:
        """Decode the tokens that are not in the cache yet.

        Args:
            ys: ``(N, L)`` prefixes, prompt included.
            cache: Keys and values of their first tokens.
            routing: From `route`; made from the prompts when None.

        Returns:
            The last hidden layer at the last token ``(N, D)``, ready for the output
            layer; the cache of all L tokens.
        """
        start = cache.length  # 0 at first: then the whole prompt is read at once
        x = self._embed_from(ys, start)  # (N, L - start, D)
        routing = routing or self.route(ys, torch.ones_like(ys[:, 0]))
        routing.lengths = torch.full_like(routing.lengths, x.size(1))
        layer_caches = cache.keys_values or [None] * len(self.decoders)
        keys_values = []
        for layer, kv_cache, memory in zip(self.decoders, layer_caches, cache.memory):
            given = kv_cache, memory, cache.memory_mask, routing, cache.prompts
            x, kv = layer(x, *given)
            keys_values.append(kv)
        x = x[:, -1]
        x = self.after_norm(x) if self.normalize_before else x
        return x, replace(cache, keys_values=keys_values)

    def next_logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """What a search chooses the next token by.

        Args:
            hidden: From `advance`, ``(N, D)``.

        Returns:
            ``(N, V)``, before the softmax.
        """
        return self.output_layer(hidden)

    def ids_of(self, tokens: Sequence[Tokens]) -> list[int]:
        """Ids, ranges of them written out.

        Raises:
            ValueError: One is no id, or a range has no end.
        """
        ids: list[int] = []
        for given in tokens:
            first, *last = [given] if isinstance(given, int) else given
            ids += range(first, (last[0] if last else first) + 1)
            if len(last) != (not isinstance(given, int)) or not (
                0 <= first <= ids[-1] < self.vocab_size
            ):
                raise ValueError(
                    f"decoder_conf.suppress_tokens: {given} is no token of "
                    f"{self.vocab_size}, nor [first, last] of some"
                )
        return ids

    def _embed_from(self, ys: torch.Tensor, start: int) -> torch.Tensor:
        """Embed ``ys[:, start:]`` at their own positions."""
        positions = self.embed[-1]
        if type(positions) is not PositionalEncoding:
            return self.embed(ys)[:, start:]
        x = self.embed[:-1](ys[:, start:])
        positions.extend_pe(x.new_empty(()).expand(1, ys.size(1)))
        x = x * positions.xscale + positions.pe[:, start : ys.size(1)]
        return positions.dropout(x)

    def select_state(
        self, state: DecoderCache, i: int, new_id: int | None = None
    ) -> CacheRow | DecoderCache:
        """The state of hypothesis ``i``, cache and row: nothing is copied."""
        return (state, i) if isinstance(state, DecoderCache) else state[i]

    def batch_select_state(
        self, state: DecoderCache, best_ids: torch.Tensor
    ) -> DecoderCache:
        """Keep the best hypotheses of each utterance.

        Args:
            state: Of all N.
            best_ids: ``(B, K)``, each hypothesis of the utterance * V + token.
        """
        rows = torch.div(best_ids, self.vocab_size, rounding_mode="trunc")  # (B, K)
        per_utterance = state.keys_values[0][0].size(0) // rows.size(0)
        first = torch.arange(rows.size(0), device=rows.device) * per_utterance
        return state.select((rows + first[:, None]).flatten())
