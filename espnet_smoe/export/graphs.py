"""The three graphs of a `u2pp` model: a chunk of the encoder, CTC, the two decoders.

They take and give tensors only, so a cache is a handful of them, all with the batch
first. Experts stay a matter of the data: while a graph is recorded a mixture computes
every expert on every row and weighs them by the choice (``moe/dense_dispatch.py``). A
graph thus does the work of all experts; what it computes is the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import nn

from espnet_smoe.compat import GlobalMVN
from espnet_smoe.decoder.transformer import SMoETransformerDecoder
from espnet_smoe.encoder.conformer import U2PPConformerEncoder
from espnet_smoe.layers.chunk_cache import EncoderCache
from espnet_smoe.model.u2pp import ESPnetU2PPModel, reverse_text
from espnet_smoe.moe import Routing

CACHE = ("features", "frames", "keys", "values", "convolution")
BATCH = 2  # of the examples; a batch of one would be taken for a constant


@dataclass(frozen=True)
class Graph:
    """What is recorded.

    Attributes:
        name: Of its file.
        module: Computes it.
        example: A tensor for each input.
        inputs: Name -> its axes of any length, by name.
        outputs: Names.
        longest: Axis -> the most it may have, where there is a limit.
        metadata: Written into the file, where a runtime reads it there.
        shortest: Axis -> the least that it has, where this is more than one.
    """

    name: str
    module: nn.Module
    example: tuple[torch.Tensor, ...]
    inputs: Mapping[str, Mapping[int, str]]
    outputs: tuple[str, ...]
    longest: Mapping[str, int]
    metadata: Mapping[str, object] = field(default_factory=dict)
    shortest: Mapping[str, int] = field(default_factory=dict)


def graphs_of(
    model: ESPnetU2PPModel, chunk_size: int = 16, left_chunks: int = 4
) -> list[Graph]:
    """The graphs of a model.

    Args:
        model: Ready for inference, on the CPU.
        chunk_size: C, encoder frames a chunk.
        left_chunks: Chunks seen on the left; their number gives the cache its size.

    Raises:
        ValueError: The model cannot stream, or its cache would have no fixed size.
    """
    module = encoder_chunk(model, chunk_size, left_chunks)
    return [_encoder_graph(module), ctc_graph(model), _rescorer_graph(model)]


def encoder_chunk(
    model: ESPnetU2PPModel, chunk_size: int, left_chunks: int
) -> "EncoderChunk":
    """A step of the encoder of a model that can be exported.

    Raises:
        ValueError: As `graphs_of`.
    """
    if not isinstance(model, ESPnetU2PPModel):
        raise ValueError(
            f"{type(model).__name__} cannot be exported; only 'model: u2pp' can"
        )
    if left_chunks < 0:
        raise ValueError(
            f"left_chunks is {left_chunks}: the cache would grow without end, but an "
            "exported graph has one of fixed size; choose 0 or more"
        )
    parts = model.encoder, model.normalize, chunk_size, left_chunks
    return EncoderChunk(*parts).eval()


class EncoderChunk(nn.Module):
    """`U2PPConformerEncoder.forward_chunk` over a cache of five tensors.

    Args:
        encoder: Ready for inference.
        normalize: Applied to the features first; `global_mvn` or None.
        chunk_size: C.
        left_chunks: Chunks kept, not below 0.

    Attributes:
        width: Feature frames a chunk.

    Raises:
        ValueError: Features are normalised by the whole utterance.
    """

    def __init__(
        self,
        encoder: U2PPConformerEncoder,
        normalize: nn.Module | None,
        chunk_size: int,
        left_chunks: int,
    ):
        super().__init__()
        check_normalize(normalize)
        self.encoder, self.normalize = encoder, normalize
        self.chunk_size, self.left_chunks = chunk_size, left_chunks
        self.width = chunk_size * encoder.stride
        # the same for all chunks: constants of the graph
        fresh = encoder.new_cache(1, chunk_size, left_chunks)
        self.positions = [table.detach() for table in fresh.positions]

    def new_cache(self, batch: int) -> tuple[torch.Tensor, ...]:
        """The five tensors of B streams that have not begun."""
        given = batch, self.chunk_size, self.left_chunks
        return self.flat(self.encoder.new_cache(*given))

    def flat(self, cache: EncoderCache) -> tuple[torch.Tensor, ...]:
        """A cache as `CACHE`, layers at the second axis.

        Returns:
            ``(B, overlap, F)``; ``(B,)``; keys and values
            ``(B, layers, heads, L, d)``; ``(B, layers, D, K - 1)``, of no layers in an
            encoder without convolutions.
        """
        keys, values = zip(*cache.keys_values)
        if cache.convolution:
            convolution = torch.stack(cache.convolution, dim=1)
        else:
            convolution = cache.features.new_zeros(len(cache.num_frames), 0, 1, 0)
        both = torch.stack(keys, dim=1), torch.stack(values, dim=1)
        return cache.features, cache.num_frames, *both, convolution

    def forward(
        self,
        chunk: torch.Tensor,
        lengths: torch.Tensor,
        features: torch.Tensor,
        frames: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        convolution: torch.Tensor,
    ) -> tuple[torch.Tensor, ...]:
        """Encode the next chunk of B streams.

        Args:
            chunk: ``(B, C * stride, F)``.
            lengths: ``(B,)`` features that are not padding.
            features: This and what follows: the cache, see `flat`. An encoder that
                looks ahead finds the first features of a stream here, not normalised.
            frames: Of the cache.
            keys: Of the cache.
            values: Of the cache.
            convolution: Of the cache.

        Returns:
            ``(B, C, D)``; ``(B,)`` encoder frames; the new cache.
        """
        ahead = self.encoder.lookahead
        before = normalized(self.normalize, features) if ahead else features
        cache = EncoderCache(
            before,
            list(zip(keys.unbind(1), values.unbind(1))),
            list(convolution.unbind(1)),
            frames,
            self.chunk_size,
            self.left_chunks,
            self.positions,
        )
        out, frames, cache = self.encoder.forward_chunk(
            normalized(self.normalize, chunk), cache, lengths
        )
        if ahead:  # what comes is kept as it comes
            cache.features = torch.cat((features, chunk), dim=1)[:, -ahead:]
        return out, frames, *self.flat(cache)


def check_normalize(normalize: nn.Module | None) -> None:
    """Refuse a normaliser that is not one of single frames.

    Raises:
        ValueError: It needs the whole utterance.
    """
    if normalize is not None and not isinstance(normalize, GlobalMVN):
        raise ValueError(
            f"normaliser '{type(normalize).__name__}' needs the whole utterance "
            "and cannot stream; train with 'normalize: global_mvn'"
        )


def normalized(normalize: GlobalMVN | None, x: torch.Tensor) -> torch.Tensor:
    """Features ``(B, T, F)`` by global statistics.

    ESPnet's own changes its input and reads the lengths on the host.
    """
    if normalize is None:
        return x
    if normalize.norm_means:
        x = x - normalize.mean.to(x.dtype)
    return x / normalize.std.to(x.dtype) if normalize.norm_vars else x


class CTCHead(nn.Module):
    """Log-probabilities of the tokens and the blank, frame by frame."""

    def __init__(self, head: nn.Linear):
        super().__init__()
        self.head = head

    def forward(self, encoded: torch.Tensor) -> torch.Tensor:
        """Map ``(B, T, D)`` to ``(B, T, V)``."""
        return self.head(encoded).log_softmax(dim=2)


class Rescorer(nn.Module):
    """What both decoders think of whole texts.

    Args:
        decoder: From left to right; its ``right``, if there is one, from right to left.
        sos: Begins every text.
        eos: Ends it.
    """

    def __init__(self, decoder: SMoETransformerDecoder, sos: int, eos: int):
        super().__init__()
        self.decoder, self.sos, self.eos = decoder, sos, eos

    def forward(
        self,
        encoded: torch.Tensor,
        lengths: torch.Tensor,
        tokens: torch.Tensor,
        token_lengths: torch.Tensor,
    ) -> tuple[torch.Tensor, ...]:
        """Score N texts of each of B utterances.

        Args:
            encoded: ``(B, T, D)``.
            lengths: ``(B,)`` encoder frames.
            tokens: ``(B, N, L)`` without begin and end, padded with anything; L at
                least 1.
            token_lengths: ``(B, N)``.

        Returns:
            Log-probabilities ``(B, N)`` with those of the end: left to right; right to
            left where there is such a decoder.
        """
        frames = torch.arange(encoded.size(1), device=encoded.device)
        mask = (frames < lengths[:, None])[:, None]  # (B, 1, T)
        counts = token_lengths.flatten()  # (B * N,)
        texts = tokens.flatten(0, 1).clamp(min=0)  # (B * N, L)
        scores = [self._read(self.decoder, encoded, mask, texts, counts)]
        if self.decoder.right is not None:
            texts = reverse_text(texts, counts)
            right = self.decoder.right
            scores.append(self._read(right, encoded, mask, texts, counts))
        return tuple(score.view_as(token_lengths) for score in scores)

    def _read(
        self,
        decoder: SMoETransformerDecoder,
        encoded: torch.Tensor,
        memory_mask: torch.Tensor,
        texts: torch.Tensor,
        counts: torch.Tensor,
    ) -> torch.Tensor:
        """``(B * N,)`` from texts ``(B * N, L)`` in the decoder's own direction."""
        start = torch.full_like(texts[:, :1], self.sos)
        logits = text_logits(
            decoder, encoded, memory_mask, torch.cat((start, texts), dim=1), counts + 1
        )  # (B * N, L + 1, V)
        places = torch.arange(logits.size(1), device=logits.device)
        ends = places == counts[:, None]  # (B * N, L + 1)
        wanted = torch.cat((texts, start), dim=1).masked_fill(ends, self.eos)
        gains = logits.gather(2, wanted[..., None])[..., 0] - logits.logsumexp(dim=2)
        return gains.masked_fill(places > counts[:, None], 0.0).sum(dim=1)


def text_logits(
    decoder: SMoETransformerDecoder,
    encoded: torch.Tensor,
    memory_mask: torch.Tensor | None,
    tokens: torch.Tensor,
    lengths: torch.Tensor,
) -> torch.Tensor:
    """Scores of the next token behind every token of whole texts.

    Args:
        decoder: In its own direction.
        encoded: ``(B, T, D)``.
        memory_mask: ``(B, 1, T)``, false at padding; None without padding.
        tokens: ``(B * N, L)``, the token that begins a text included.
        lengths: ``(B * N,)`` tokens.

    Returns:
        ``(B * N, L, V)`` before the softmax.
    """
    x = decoder.embed(tokens)  # (B * N, L, D)
    places = torch.arange(x.size(1), device=x.device)
    past = (places <= places[:, None])[None]  # (1, L, L)
    routing = Routing(lengths)
    for layer in decoder.decoders:
        memory = layer.src_attn.keys_values(encoded)
        x, _ = layer(x, None, memory, memory_mask, routing, mask=past)
    x = decoder.after_norm(x) if decoder.normalize_before else x
    return decoder.output_layer(x)


def _encoder_graph(module: EncoderChunk) -> Graph:
    example = (
        torch.randn(BATCH, module.width, module.encoder.input_size),
        torch.full((BATCH,), module.width),
        *module.new_cache(BATCH),
    )
    return Graph(
        "encoder_chunk",
        module,
        example,
        {name: {0: "batch"} for name in ("chunk", "lengths", *CACHE)},
        ("encoded", "encoded_lengths", *(f"new_{name}" for name in CACHE)),
        {},
    )


def ctc_graph(
    model: ESPnetU2PPModel, encoded: str = "encoded", log_probs: str = "log_probs"
) -> Graph:
    """The CTC head, and the names of what goes in and out."""
    return Graph(
        "ctc",
        CTCHead(model.ctc.ctc_lo).eval(),
        (torch.randn(BATCH, 5, model.encoder.output_size()),),
        {encoded: {0: "batch", 1: "time"}},
        (log_probs,),
        {},
    )


def longest_text(decoder: SMoETransformerDecoder) -> int:
    """Tokens that its table of positions has room for, that of the beginning too."""
    return decoder.embed[-1].pe.size(1)


def _rescorer_graph(model: ESPnetU2PPModel) -> Graph:
    texts, tokens, frames = 3, 4, 7  # any: sizes that are all different
    example = (
        torch.randn(BATCH, frames, model.encoder.output_size()),
        torch.full((BATCH,), frames),
        torch.ones(BATCH, texts, tokens, dtype=torch.long),
        torch.full((BATCH, texts), tokens),
    )
    both = model.decoder.right is not None
    return Graph(
        "rescorer",
        Rescorer(model.decoder, model.sos, model.eos).eval(),
        example,
        {
            "encoded": {0: "batch", 1: "time"},
            "lengths": {0: "batch"},
            "tokens": {0: "batch", 1: "texts", 2: "tokens"},
            "token_lengths": {0: "batch", 1: "texts"},
        },
        ("left_to_right", "right_to_left") if both else ("left_to_right",),
        {"tokens": longest_text(model.decoder) - 1},
    )
