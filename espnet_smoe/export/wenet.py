"""The graphs of a `u2pp` model in the forms of WeNet, which sherpa-onnx takes too.

There a cache is two tensors, of attention and of convolutions, whose sizes follow from
numbers in the metadata. What else our encoder keeps from chunk to chunk, the last
features, goes into taps of the convolutions' that are added for it.
"""

from dataclasses import replace

import torch
from torch import nn
from torch.nn import functional

from espnet_smoe.decoder.transformer import SMoETransformerDecoder
from espnet_smoe.export.graphs import (
    CTCHead,
    EncoderChunk,
    Graph,
    check_normalize,
    ctc_graph,
    encoder_chunk,
    longest_text,
    normalized,
    text_logits,
)
from espnet_smoe.layers.chunk_attention import AbsoluteAttention
from espnet_smoe.model.u2pp import ESPnetU2PPModel, reverse_text

STREAMING, WHOLE = "model-streaming", "model"  # as sherpa-onnx names its files


def sherpa_ctc_graphs(
    model: ESPnetU2PPModel, chunk_size: int, left_chunks: int
) -> list[Graph]:
    """The models of sherpa-onnx's type ``wenet_ctc``: streaming, where it can, and not.

    Args:
        model: Ready for inference, on the CPU.
        chunk_size: C, encoder frames a chunk.
        left_chunks: Chunks seen on the left.

    Raises:
        ValueError: The cache would have no fixed size, or features are normalised by
            the whole utterance.
    """
    graphs = [_whole_graph(model)]
    if model.encoder.causal:
        chunk = encoder_chunk(model, chunk_size, left_chunks)
        step = CacheOfWenet(chunk, CTCHead(model.ctc.ctc_lo)).eval()
        names = "x", "offset", "required_cache_size"
        names += "attn_cache", "conv_cache", "attn_mask"
        outputs = "log_probs", "next_att_cache", "next_conv_cache"
        sizes = step.metadata | {
            "model_type": "wenet_ctc",
            "subsampling_factor": model.encoder.stride,
            "vocab_size": len(model.token_list),
        }
        example = step.example(step.window)
        graphs.append(
            Graph(
                STREAMING, step, example, dict.fromkeys(names, {}), outputs, {}, sizes
            )
        )
    return graphs


def wenet_graphs(
    model: ESPnetU2PPModel, chunk_size: int, left_chunks: int
) -> list[Graph]:
    """The three graphs of WeNet's own runtime.

    Args:
        model: Ready for inference, on the CPU.
        chunk_size: C, encoder frames a chunk.
        left_chunks: Chunks seen on the left.

    Raises:
        ValueError: As `sherpa_ctc_graphs`; or nothing on the left.
    """
    if left_chunks < 1:
        raise ValueError(
            f"left_chunks is {left_chunks}: WeNet's runtime then gives no mask, which "
            "the graph needs; choose 1 or more"
        )
    step = CacheOfWenet(encoder_chunk(model, chunk_size, left_chunks)).eval()
    sizes = step.metadata | {
        "batch": 1,
        "chunk_size": chunk_size,
        "left_chunks": left_chunks,
        "reverse_weight": model.reverse_weight,
        "feature_size": model.encoder.input_size,
        "vocab_size": len(model.token_list),
        "decoding_window": step.window,
        "subsampling_rate": model.encoder.stride,
        "sos_symbol": model.sos,
        "eos_symbol": model.eos,
        "is_bidirectional_decoder": int(model.decoder.right is not None),
    }
    x, offset, required, *rest = step.example(step.window - model.encoder.stride)
    inputs = {
        "chunk": {1: "T"},  # the last chunk is shorter
        **dict.fromkeys(("offset", "required_cache_size"), {}),
        **dict.fromkeys(("att_cache", "cnn_cache", "att_mask"), {}),
    }
    encoder = Graph(
        "encoder",
        step,
        (x, offset.squeeze(0), required.squeeze(0), *rest),
        inputs,
        ("output", "r_att_cache", "r_cnn_cache"),
        {"T": step.window},
    )
    graphs = [encoder, ctc_graph(model, "hidden", "probs"), _decoder_graph(model)]
    return [replace(graph, metadata=sizes) for graph in graphs]


class CacheOfWenet(nn.Module):
    """`EncoderChunk` of one stream, over WeNet's cache.

    Args:
        chunk: The step.
        head: CTC, where log-probabilities are wanted instead of encoded frames.

    Attributes:
        window: Feature frames that a step is given: a chunk, and where the encoder
            looks ahead those before it.
        metadata: The numbers that give the caches their sizes.
    """

    def __init__(self, chunk: EncoderChunk, head: nn.Module | None = None):
        super().__init__()
        self.chunk, self.head = chunk, head
        encoder = chunk.encoder
        attention = encoder.encoders[0].self_attn
        layers, size = len(encoder.encoders), encoder.output_size()
        convolution = encoder.encoders[0].conv_module
        self.taps = 0 if convolution is None else convolution.left
        self.ahead = encoder.lookahead
        self.kept = 0 if self.ahead else encoder.embed.overlap * encoder.input_size
        self.spare = -(-self.kept // (layers * size))  # taps, rounded up
        self.places = isinstance(attention, AbsoluteAttention)
        self.window = chunk.width + self.ahead
        self.metadata: dict[str, object] = {
            "head": attention.h,
            "num_blocks": layers,
            "output_size": size,
            "cnn_module_kernel": self.taps + self.spare + 1,
            "right_context": self.window - (chunk.chunk_size - 1) * encoder.stride - 1,
        }

    def example(self, frames: int) -> tuple[torch.Tensor, ...]:
        """The inputs of a stream that begins, with so many feature frames."""
        sizes = self.metadata
        layers, heads, size = (sizes[k] for k in ("num_blocks", "head", "output_size"))
        keys = self.chunk.left_chunks * self.chunk.chunk_size
        mask = torch.zeros(1, 1, keys + self.chunk.chunk_size, dtype=torch.bool)
        mask[..., keys:] = True
        return (
            torch.randn(1, frames, self.chunk.encoder.input_size),
            torch.tensor([keys]),
            torch.tensor([keys]),
            torch.zeros(layers, heads, keys, size // heads * 2),
            torch.zeros(layers, 1, size, sizes["cnn_module_kernel"] - 1),
            mask,
        )

    def forward(
        self,
        x: torch.Tensor,
        offset: torch.Tensor,
        required_cache_size: torch.Tensor,
        att_cache: torch.Tensor,
        cnn_cache: torch.Tensor,
        att_mask: torch.Tensor,
    ) -> tuple[torch.Tensor, ...]:
        """Encode the next chunk.

        Args:
            x: ``(1, T, F)``, `window` frames; in the last chunk there may be fewer.
            offset: ``(1,)`` or ``()``, ``required_cache_size`` and the encoder frames
                so far.
            required_cache_size: ``(1,)`` or ``()``, keys L.
            att_cache: ``(layers, heads, L, 2 d)``, keys and values.
            cnn_cache: ``(layers, 1, D, K - 1)``.
            att_mask: ``(1, 1, L + C)``; which keys count follows from the offset too.

        Returns:
            ``(1, C, D or V)``, of the last chunk what there is; both caches.
        """
        frames = (offset - required_cache_size).reshape(1)
        keys, values = att_cache[None].chunk(2, dim=4)  # (1, layers, heads, L, d)
        convolution = cnn_cache.transpose(0, 1)  # (1, layers, D, K - 1)
        if self.ahead:
            features, x = x[:, : self.ahead], x[:, self.ahead :]
        else:
            features = self._features(convolution)
        lengths = torch.ones_like(x[:, :, 0]).sum(dim=1).long()  # (1,)
        whole = torch.arange(self.chunk.width, device=x.device)
        chunk = functional.pad(x, (0, 0, 0, self.chunk.width)).index_select(1, whole)
        if self.places:
            keys = torch.cat((keys, self._places(frames, keys)), dim=4)
        out, _, features, _, keys, values, after = self.chunk(
            chunk, lengths, features, frames, keys, values, self._taps(convolution)
        )
        if self.taps == 0:
            after = convolution[..., :0]
        if not self.ahead:
            after = torch.cat((after, self._spare(features, convolution)), dim=3)
        keys = keys[..., : values.size(4)]
        out = out if self.head is None else self.head(out)
        out = out[:, : x.size(1) // self.chunk.encoder.stride]
        return out, torch.cat((keys, values), dim=4)[0], after.transpose(0, 1)

    def _taps(self, convolution: torch.Tensor) -> torch.Tensor:
        """Of the convolutions alone; of no layers where there are none."""
        if self.taps == 0:
            return convolution.new_zeros(1, 0, 1, 0)
        return convolution[..., : self.taps]

    def _features(self, convolution: torch.Tensor) -> torch.Tensor:
        """The features ``(1, overlap, F)`` in the spare taps."""
        kept = convolution[..., self.taps :].flatten()[: self.kept]
        return kept.view(1, -1, self.chunk.encoder.input_size)

    def _spare(self, features: torch.Tensor, convolution: torch.Tensor) -> torch.Tensor:
        """The spare taps ``(1, layers, D, spare)`` with the features in them."""
        spare = convolution[..., self.taps :]
        flat = functional.pad(features.flatten(), (0, spare.numel() - self.kept))
        return flat.view(spare.shape)

    def _places(self, frames: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
        """What `AbsoluteAttention` keeps of the positions of ``keys``."""
        layers = [layer.self_attn for layer in self.chunk.encoder.encoders]
        like, length = self.chunk.encoder.after_norm.weight, keys.size(3)
        table = AbsoluteAttention.positions(length, 0, like, frames - length)
        return torch.stack([a.project_places(table) for a in layers], dim=1)


class WholeUtterance(nn.Module):
    """CTC log-probabilities of whole utterances, features in."""

    def __init__(self, model: ESPnetU2PPModel):
        super().__init__()
        check_normalize(model.normalize)
        self.encoder, self.normalize = model.encoder, model.normalize
        self.head = CTCHead(model.ctc.ctc_lo)

    def forward(
        self, x: torch.Tensor, x_lens: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Encode.

        Args:
            x: ``(B, T, F)``.
            x_lens: ``(B,)`` frames.

        Returns:
            ``(B, T', V)``, longer than needed; ``(B,)`` frames that count.
        """
        more = self.encoder.stride + self.encoder.lookahead  # one frame at least
        x = functional.pad(normalized(self.normalize, x), (0, 0, 0, more))
        encoded, lengths, _ = self.encoder(x, x_lens, chunk_size=0, left_chunks=-1)
        return self.head(encoded), lengths


class ScoresOfTexts(nn.Module):
    """Log-probabilities of every token by both decoders, as WeNet rescores.

    Args:
        decoder: From left to right; its ``right``, if there is one, from right to left.
        sos: Begins every text.
    """

    def __init__(self, decoder: SMoETransformerDecoder, sos: int):
        super().__init__()
        self.decoder, self.sos = decoder, sos

    def forward(
        self, hyps: torch.Tensor, hyps_lens: torch.Tensor, encoder_out: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Score N texts of one utterance.

        Args:
            hyps: ``(N, L)``, each with its beginning, padded with anything.
            hyps_lens: ``(N,)`` tokens.
            encoder_out: ``(1, T, D)``.

        Returns:
            ``(N, L, V)`` left to right; the same of the reversed texts, or ``(1,)``
            where no decoder reads them.
        """
        given = encoder_out, None
        score = text_logits(self.decoder, *given, hyps, hyps_lens).log_softmax(dim=2)
        if self.decoder.right is None:
            return score, score.new_zeros(1)
        turned = reverse_text(hyps[:, 1:], hyps_lens - 1)
        texts = torch.cat((torch.full_like(hyps[:, :1], self.sos), turned), dim=1)
        right = text_logits(self.decoder.right, *given, texts, hyps_lens)
        return score, right.log_softmax(dim=2)


def _whole_graph(model: ESPnetU2PPModel) -> Graph:
    frames = 40  # any
    return Graph(
        WHOLE,
        WholeUtterance(model).eval(),
        (torch.randn(2, frames, model.encoder.input_size), torch.tensor([frames, 30])),
        {"x": {0: "N", 1: "T"}, "x_lens": {0: "N"}},
        ("log_probs", "log_probs_lens"),
        {},
        {
            "model_type": "wenet_ctc",
            "subsampling_factor": model.encoder.stride,
            "vocab_size": len(model.token_list),
        },
    )


def _decoder_graph(model: ESPnetU2PPModel) -> Graph:
    texts, tokens, frames = 3, 5, 7  # any: sizes that are all different
    return Graph(
        "decoder",
        ScoresOfTexts(model.decoder, model.sos).eval(),
        (
            torch.ones(texts, tokens, dtype=torch.long),
            torch.full((texts,), tokens),
            torch.randn(1, frames, model.encoder.output_size()),
        ),
        {
            "hyps": {0: "NBEST", 1: "L"},
            "hyps_lens": {0: "NBEST"},
            "encoder_out": {1: "T"},
        },
        ("score", "r_score"),
        {"L": longest_text(model.decoder)},
    )
