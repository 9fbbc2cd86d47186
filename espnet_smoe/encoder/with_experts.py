"""Encoders `smoe_conformer` and `smoe_e_branchformer`: ESPnet's, with experts.

Every feed-forward block may be a mixture, routed by a label of the utterance or by a
router; the rest, names and values of all weights are ESPnet's own, so that `upcycle`
makes a mixture of a model that ESPnet has trained.
"""

from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from typing import Any

import torch

from espnet_smoe.compat import (
    CTC,
    ConformerEncoder,
    EBranchformerEncoder,
    PositionwiseFeedForward,
)
from espnet_smoe.moe import (
    BANDWIDTHS,
    FeedForward,
    MoEFeedForward,
    MoEOptions,
    Routing,
    build_gate,
    build_labels,
    build_router,
)
from espnet_smoe.moe.routing import own_routing

BLOCKS = {"feed_forward": "{}", "feed_forward_macaron": "{}.macaron"}
# Options of ESPnet that leave out or repeat layers, or frames of one
FOREIGN = ("stochastic_depth_rate", "layer_drop_rate", "ctc_trim")
FOREIGN += ("gradient_checkpoint_layers",)

# ESPnet's layers call a block with the frames alone
_routing: ContextVar[Routing | None] = ContextVar("routing", default=None)


class RoutedFeedForward(MoEFeedForward):
    """A mixture that is called as ESPnet's layers call a block."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map ``(B, T, D)`` to ``(B, T, D)`` by the routing of the encoder's pass."""
        return super().forward(x, _routing.get())


class _WithExperts:
    """Beside an encoder of ESPnet's, before it in the order of bases."""

    reads_padding = True  # some of their positions and convolutions do

    def __init__(
        self, input_size: int, moe: Mapping[str, Any] | None = None, **options: Any
    ):
        super().__init__(input_size, **options)
        parsed = MoEOptions.parse(moe, "encoder_conf.moe", BANDWIDTHS)
        self.labels = build_labels(parsed)
        self.loss_weights = parsed.loss_weights if parsed else {}
        if parsed is None:
            return
        wrong = [name for name in FOREIGN if options.get(name)]
        if wrong:
            raise ValueError(
                f"encoder_conf.{wrong[0]}: {options[wrong[0]]} does not go with moe, "
                "every frame has to pass each layer once; remove it"
            )
        router = build_router(parsed, self.output_size())
        for number, layer in enumerate(self.encoders):
            for block, name in BLOCKS.items():
                dense = getattr(layer, block, None)
                if dense is not None:
                    mixture = self._mixture(dense, parsed, router, name.format(number))
                    setattr(layer, block, mixture)
        self.encoders[0].register_forward_pre_hook(_set_lengths)

    def _mixture(
        self,
        dense: torch.nn.Module,
        options: MoEOptions,
        router: torch.nn.Module | None,
        name: str,
    ) -> RoutedFeedForward:
        if type(dense) is not PositionwiseFeedForward:
            raise ValueError(
                "encoder_conf.positionwise_layer_type: only blocks that are 'linear' "
                "can be experts"
            )
        hidden, size = dense.w_1.weight.shape
        gate = build_gate(options, size, router=router)
        rate, activation = dense.dropout.p, dense.activation
        return RoutedFeedForward(
            gate, lambda: FeedForward(size, hidden, rate, activation), name
        )

    def forward(
        self,
        xs_pad: torch.Tensor,
        ilens: torch.Tensor,
        prev_states: None = None,
        ctc: CTC | None = None,
        routing: Routing | None = None,
        return_all_hs: bool = False,
    ) -> tuple[Any, torch.Tensor, None]:
        """Encode a batch; as ESPnet's, with a routing.

        Args:
            xs_pad: ``(B, T, input_size)``.
            ilens: ``(B,)`` frames.
            prev_states: Unused; part of ESPnet's interface.
            ctc: For ``interctc_use_conditioning``.
            routing: From `route`; needed by an encoder that reads labels.
            return_all_hs: Return the output of every layer as well.

        Raises:
            ValueError: Labels are needed and missing.
        """
        before = _routing.set(routing or own_routing(self, Routing(ilens)))
        try:
            return super().forward(
                xs_pad, ilens, prev_states, ctc=ctc, return_all_hs=return_all_hs
            )
        finally:
            _routing.reset(before)

    def route(
        self, label_ids: torch.Tensor, utterances: Sequence[str] | None = None
    ) -> Routing:
        """Read the labels of a batch.

        Args:
            label_ids: ``(B,)`` token ids of the labels.
            utterances: Their names, for error messages.
        """
        return self.labels.route(label_ids, torch.ones_like(label_ids), utterances)


def _set_lengths(_: torch.nn.Module, arguments: tuple[Any, ...]) -> None:
    """Behind the subsampling: frames that are not padding."""
    _routing.get().lengths = arguments[1].sum(dim=(1, 2))  # of the mask (B, 1, T)


class SMoEConformerEncoder(_WithExperts, ConformerEncoder):
    """ESPnet's Conformer with experts.

    Args:
        input_size: Features a frame.
        moe: Mixture options (`MoEOptions`); None for a dense encoder. The label gate
            reads ``<wb>`` (expert 0) and ``<nb>`` (expert 1) by default.
        **options: Those of ESPnet's encoder `conformer`.

    Raises:
        ValueError: Unknown option or value.

    Example:
        >>> moe = {"gate": "topk", "num_experts": 4, "top_k": 2}
        >>> sizes = {"output_size": 16, "attention_heads": 2, "linear_units": 32}
        >>> encoder = SMoEConformerEncoder(80, moe=moe, num_blocks=1, **sizes)
        >>> encoder(torch.zeros(1, 40, 80), torch.tensor([40]))[0].shape
        torch.Size([1, 9, 16])
    """


class SMoEEBranchformerEncoder(_WithExperts, EBranchformerEncoder):
    """ESPnet's E-Branchformer with experts in its feed-forward blocks.

    Args:
        input_size: Features a frame.
        moe: Mixture options (`MoEOptions`), which need ``use_ffn: true``; None for a
            dense encoder. The label gate reads ``<wb>`` (expert 0) and ``<nb>``
            (expert 1) by default.
        **options: Those of ESPnet's encoder `e_branchformer`.

    Raises:
        ValueError: Unknown option or value; experts where there are no blocks.
    """

    def __init__(
        self, input_size: int, moe: Mapping[str, Any] | None = None, **options: Any
    ):
        if moe is not None and not options.get("use_ffn"):
            raise ValueError(
                "encoder_conf.moe: experts are feed-forward blocks, of which there are "
                "none; write 'use_ffn: true'"
            )
        super().__init__(input_size, moe, **options)
