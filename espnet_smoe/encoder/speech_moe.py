"""Encoder `speech_moe`: memory layers on experts, whose routers share an embedding.

SpeechMoE (You et al. 2021), Sections 3.1 and 4.3. What the paper leaves open and is
chosen here: the first layer takes the stacked features directly and has no residual;
layer normalisation before each layer, without which 60 layers learn unsteadily
(``layer_norm: false`` for none); dropout; no positional encoding, as the memory layers
know the order of frames.

Look-ahead: a memory layer waits for one frame of 30 ms and 30 of them for 0.9 s, a
self-attention layer for the frames on the right of its ``attention_window`` or, without
a window, for the end of the utterance. An embedding network comes before the first
router, so its look-ahead adds to that of the backbone. `SpeechMoEEncoder.look_ahead`
has the sum; the pre-encoder's comes on top.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from espnet_smoe.compat import CTC, AbsEncoder
from espnet_smoe.config.options import check_options, options_of
from espnet_smoe.config.typed import Count, Natural, Rate
from espnet_smoe.layers.memory_network import MemoryNetwork, MemoryNetworkOptions
from espnet_smoe.moe import (
    GATES,
    MoEOptions,
    Routing,
    build_feed_forward,
    build_router,
)
from espnet_smoe.moe.routing import own_routing


class SpeechMoEEncoder(AbsEncoder):
    """Encoder with experts chosen frame by frame.

    Args:
        input_size: Features a frame.
        output_size: D.
        linear_units: F, the hidden width of a feed-forward layer or of each expert.
        num_blocks: Pairs of a feed-forward and a memory layer.
        attention_every: Pairs before each self-attention layer; 0 for none at all.
        attention_heads: Heads of a self-attention layer.
        attention_window: ``[left, right]`` frames that a frame attends to; None for
            the whole utterance.
        look_back_order: Frames that a memory layer remembers beside the present one.
        look_back_stride: Frames from one of them to the next.
        look_ahead_order: Frames that a memory layer waits for.
        look_ahead_stride: Frames from one of them to the next.
        layer_norm: Normalise the input of each layer but the first, and the output.
        dropout_rate: Dropout inside and after feed-forward and self-attention layers.
        attention_dropout_rate: Dropout of the attention weights.
        use_sdpa: PyTorch's fused attention.
        moe: Mixture options (`MoEOptions`); None for a dense encoder. The gate is
            ``shared_embedding`` where there is an embedding network, else ``topk``.
        embedding: The embedding network: any option of `MemoryNetworkOptions`, those
            that are not given as in the backbone; None for no such network.
        detach_embedding: No gradient from the routers into the embedding network,
            which then learns from a loss of its own alone.

    Attributes:
        labels: None; no gate reads labels here.
        loss_weights: Weights of the auxiliary losses in use, by name.
        embedding_size: Width of the embedding network's output, 0 without one.

    Raises:
        ValueError: Unknown option or value.

    Example:
        >>> encoder = SpeechMoEEncoder(
        ...     960, 16, 32, 2, 1, 2, moe={"num_experts": 4}, embedding={}
        ... )
        >>> out, lengths, _ = encoder(torch.zeros(1, 32, 960), torch.tensor([32]))
        >>> out.shape, lengths
        (torch.Size([1, 32, 16]), tensor([32]))
    """

    @options_of("encoder_conf")
    def __init__(
        self,
        input_size: int,
        output_size: Count = 512,
        linear_units: Count = 1024,
        num_blocks: Count = 30,
        attention_every: Natural = 10,
        attention_heads: Count = 8,
        attention_window: tuple[Natural, Natural] | None = None,
        look_back_order: Natural = 5,
        look_back_stride: Count = 2,
        look_ahead_order: Natural = 1,
        look_ahead_stride: Count = 1,
        layer_norm: bool = True,
        dropout_rate: Rate = 0.1,
        attention_dropout_rate: Rate = 0.0,
        use_sdpa: bool = True,
        moe: Mapping[str, Any] | None = None,
        embedding: Mapping[str, Any] | None = None,
        detach_embedding: bool = True,
    ):
        super().__init__()
        sizes = MemoryNetworkOptions(
            output_size=output_size,
            linear_units=linear_units,
            num_blocks=num_blocks,
            attention_every=attention_every,
            attention_heads=attention_heads,
            attention_window=attention_window,
            look_back_order=look_back_order,
            look_back_stride=look_back_stride,
            look_ahead_order=look_ahead_order,
            look_ahead_stride=look_ahead_stride,
            layer_norm=layer_norm,
            dropout_rate=dropout_rate,
            attention_dropout_rate=attention_dropout_rate,
            use_sdpa=use_sdpa,
        )
        sizes.check("encoder_conf")
        options = read_moe(moe, embedding)
        self.labels = None
        self.loss_weights = options.loss_weights if options else {}
        self.embedding, self.embedding_size = None, 0
        if embedding is not None:
            self.embedding = build_embedding(input_size, sizes, embedding)
            self.embedding_size = self.embedding.options.output_size
        self.detach_embedding = detach_embedding
        self.backbone = self._build_backbone(input_size, sizes, options)

    def output_size(self) -> int:
        """Width of the encoded frames, D."""
        return self.backbone.options.output_size

    @property
    def memory_look_ahead(self) -> int:
        """Frames that the memory layers wait for, one network after the other."""
        return sum(n.options.memory_look_ahead for n in self._networks)

    @property
    def attention_look_ahead(self) -> int | None:
        """Frames that the self-attention waits for; None for the whole utterance."""
        ahead = [n.options.attention_look_ahead for n in self._networks]
        return None if None in ahead else sum(ahead)

    @property
    def look_ahead(self) -> int | None:
        """Frames after a frame that its output depends on; None for all of them."""
        ahead = self.attention_look_ahead
        return None if ahead is None else self.memory_look_ahead + ahead

    @property
    def _networks(self) -> list[MemoryNetwork]:
        return [n for n in (self.embedding, self.backbone) if n is not None]

    def forward(
        self,
        xs_pad: torch.Tensor,
        ilens: torch.Tensor,
        prev_states: None = None,
        ctc: CTC | None = None,
        routing: Routing | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor, None]:
        """Encode a batch.

        Args:
            xs_pad: ``(B, T, input_size)``.
            ilens: ``(B,)`` frames.
            prev_states: Unused; part of ESPnet's interface.
            ctc: Unused; part of ESPnet's interface.
            routing: Receives the embedding, the loads and the auxiliary losses.

        Returns:
            ``(B, T, D)``; ``(B,)`` frames; None.
        """
        routing = routing or own_routing(self, Routing(ilens))
        routing.lengths = ilens
        valid = routing.valid(xs_pad)  # (B, T)
        if self.embedding is not None:
            e = self.embedding(xs_pad, valid, routing)  # (B, T, De)
            routing.embedding_sequence = e
            routing.embed(e.detach() if self.detach_embedding else e)
        return self.backbone(xs_pad, valid, routing), ilens, None

    def _build_backbone(
        self,
        input_size: int,
        sizes: MemoryNetworkOptions,
        options: MoEOptions | None,
    ) -> MemoryNetwork:
        """The network that may have experts, with one router for equal widths."""
        router = build_router(options, sizes.output_size, self.embedding_size)

        def feed_forward(number: int, width: int) -> nn.Module:
            return build_feed_forward(
                options,
                width,
                sizes.linear_units,
                sizes.dropout_rate,
                str(number),
                output_size=sizes.output_size,
                embedding_size=self.embedding_size,
                router=router if width == sizes.output_size else None,
            )

        return MemoryNetwork(input_size, sizes, feed_forward)


def build_embedding(
    input_size: int, sizes: MemoryNetworkOptions, embedding: Mapping[str, Any]
) -> MemoryNetwork:
    """The embedding network: the backbone without experts, in sizes of its own.

    Args:
        input_size: Features a frame.
        sizes: Of the backbone, for what is not given.
        embedding: The section ``encoder_conf.embedding``.

    Raises:
        ValueError: Unknown option or value.
    """
    where = "encoder_conf.embedding"
    own = replace(sizes, **check_options(MemoryNetworkOptions, embedding, where))
    own.check(where)

    def feed_forward(number: int, width: int) -> nn.Module:
        return build_feed_forward(
            None,
            width,
            own.linear_units,
            own.dropout_rate,
            str(number),
            output_size=own.output_size,
        )

    return MemoryNetwork(input_size, own, feed_forward)


def read_moe(
    moe: Mapping[str, Any] | None, embedding: Mapping[str, Any] | None
) -> MoEOptions | None:
    """Read ``encoder_conf.moe``, whose gate has to go with the embedding network.

    Raises:
        ValueError: A gate that reads labels, one that misses the embedding network,
            or an embedding network that no gate reads.
    """
    default = "topk" if embedding is None else "shared_embedding"
    options = MoEOptions.parse(moe, "encoder_conf.moe", gate=default)
    reads = options is not None and GATES[options.gate].reads_embedding
    if reads and embedding is None:
        raise ValueError(
            f"encoder_conf.moe.gate: {options.gate} needs an embedding network; add "
            "encoder_conf.embedding ({} for one of the backbone's sizes) or write "
            "'gate: topk'"
        )
    if embedding is not None and not reads:
        raise ValueError(
            "encoder_conf.embedding: no router reads the embedding network; write "
            "'gate: shared_embedding' under encoder_conf.moe or remove it"
        )
    return options
