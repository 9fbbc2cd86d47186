"""Computation and delay of a model, computed before it is trained."""

import copy
import inspect
import logging

import torch
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from espnet_smoe.compat import CTC, AbsEncoder, AbsPreEncoder, DefaultFrontend
from espnet_smoe.encoder.conformer import U2PPConformerEncoder
from espnet_smoe.encoder.speech_moe import SpeechMoEEncoder
from espnet_smoe.encoder.stacking import StackedDeltas
from espnet_smoe.moe import MoEFeedForward, Routing


def cost_lines(model: nn.Module) -> list[str]:
    """Multiply-accumulates of one second of speech, and the look-ahead where known.

    Args:
        model: As ESPnet builds it.

    Returns:
        Lines to print; none for a model that cannot be followed without data.
    """
    counts = macs_per_second(model)
    lines = []
    if counts:
        parts = ", ".join(f"{k} {n / 1e6:,.0f}" for k, n in counts.items() if n)
        total = f"{sum(counts.values()) / 1e6:,.0f} million"
        lines.append(f"multiply-accumulates of one second: {total} ({parts})")
    rate = frame_rate(model.frontend)
    if isinstance(model.encoder, U2PPConformerEncoder):
        lines.append(chunk_line(model.encoder, rate))
    if isinstance(model.encoder, SpeechMoEEncoder):
        lines.append(look_ahead_line(model.encoder, model.preencoder, rate))
    return lines


def macs_per_second(model: nn.Module) -> dict[str, int]:
    """Multiply-accumulates of one second of speech, see `multiply_accumulates`.

    Args:
        model: As ESPnet builds it; of one without a front-end nothing is known.
    """
    if model.frontend is None:
        return {}
    return multiply_accumulates(
        model.encoder,
        model.frontend.output_size(),
        round(frame_rate(model.frontend)),
        model.preencoder,
        model.ctc,
    )


def look_ahead_line(
    encoder: SpeechMoEEncoder, preencoder: AbsPreEncoder | None, rate: float
) -> str:
    """How long an output frame waits for later speech, part by part.

    Args:
        encoder: What waits.
        preencoder: What makes its frames.
        rate: Frames of the front-end in a second.

    Example:
        >>> encoder = SpeechMoEEncoder(960, 8, 8, 10, attention_window=[30, 10])
        >>> look_ahead_line(encoder, StackedDeltas(), rate=100.0)
        'look-ahead: pre-encoder 0.11 s, memory 0.30 s, attention 0.30 s; in all 0.71 s'
    """
    waits, stride = {}, 1
    if isinstance(preencoder, StackedDeltas):
        stride = preencoder.skip
        waits["pre-encoder"] = preencoder.look_ahead / rate
    waits["memory"] = encoder.memory_look_ahead * stride / rate
    if encoder.attention_look_ahead is not None:
        waits["attention"] = encoder.attention_look_ahead * stride / rate
    parts = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in waits.items())
    if encoder.attention_look_ahead is None:
        return f"look-ahead: {parts}, attention the whole utterance"
    return f"look-ahead: {parts}; in all {sum(waits.values()):.2f} s"


def chunk_line(encoder: U2PPConformerEncoder, rate: float) -> str:
    """How much speech a chunk takes, which is all that a stream waits for.

    Args:
        encoder: What works in chunks.
        rate: Frames of the front-end in a second.

    Example:
        >>> chunk_line(U2PPConformerEncoder(20, 8, 1, 8, 1), rate=100.0)
        'chunks of 4, 8, 16 frames: 0.16, 0.32, 0.64 s of speech; no look-ahead'
    """
    if not encoder.causal:
        return "look-ahead: the whole utterance; it cannot stream"
    sizes = (4, 8, 16)
    seconds = ", ".join(f"{size * encoder.stride / rate:.2f}" for size in sizes)
    frames = ", ".join(map(str, sizes))
    ahead = "no look-ahead"
    if encoder.lookahead:
        ahead = f"look-ahead {encoder.lookahead / rate:.2f} s"
    return f"chunks of {frames} frames: {seconds} s of speech; {ahead}"


def frame_rate(frontend: nn.Module) -> float:
    """Frames in a second; 100 for a front-end that does not say."""
    if not isinstance(frontend, DefaultFrontend):
        return 100.0
    return frontend.logmel.mel_options["sr"] / frontend.hop_length


@torch.no_grad()
def multiply_accumulates(
    encoder: AbsEncoder,
    features: int,
    frames: int = 100,
    preencoder: AbsPreEncoder | None = None,
    ctc: CTC | None = None,
) -> dict[str, int]:
    """Multiply-accumulates from the features of one utterance to its CTC output.

    Matrix products, convolutions and attention count; in a mixture those of its
    router and of the experts that one frame passes. A paper that says FLOPs may mean
    these (SpeechMoE, Section 4.1) or twice as many.

    Args:
        encoder: Its weights are not read; it may be on the meta device.
        features: Of a frame.
        frames: 100 are a second where the front-end shifts by 10 ms.
        preencoder: Between the features and the encoder.
        ctc: After the encoder.

    Returns:
        Module -> multiply-accumulates; empty, with a warning, for an encoder that
        cannot be followed without data.

    Example:
        >>> from espnet_smoe.encoder.speech_moe import SpeechMoEEncoder
        >>> encoder = SpeechMoEEncoder(
        ...     10, output_size=10, linear_units=50, num_blocks=1, attention_heads=1
        ... )
        >>> multiply_accumulates(encoder, features=10)  # 100 (2 x 10 x 50 + 12 x 10)
        {'encoder': 112000}
    """
    x = torch.empty(1, frames, features, device="meta")
    lengths = torch.tensor([frames])
    counts = {}
    try:
        if preencoder is not None:
            with FlopCounterMode(display=False) as counter:
                x, lengths = to_meta(preencoder)(x, lengths)
            counts["preencoder"] = counter.get_total_flops() // 2
        with FlopCounterMode(display=False) as counter:
            x = encode(to_meta(encoder), x, lengths, ctc and to_meta(ctc))
        counts["encoder"] = counter.get_total_flops() // 2
    except (NotImplementedError, RuntimeError) as error:  # an operation that needs data
        logging.warning("multiply-accumulates are not counted: %s", error)
        return {}
    if ctc is not None:
        with FlopCounterMode(display=False) as counter:
            to_meta(ctc.ctc_lo)(x)
        counts["ctc"] = counter.get_total_flops() // 2
    return counts


def encode(
    encoder: nn.Module,
    x: torch.Tensor,
    lengths: torch.Tensor,
    ctc: nn.Module | None = None,
) -> torch.Tensor:
    """The encoder's last output for one utterance ``(1, T, F)``.

    CTC outputs inside the encoder may condition what is above them.
    """
    routed = "routing" in inspect.signature(encoder.forward).parameters
    options = {"routing": EveryFrame(lengths)} if routed else {}
    if getattr(encoder, "interctc_use_conditioning", False):
        options["ctc"] = ctc
    x = encoder(x, lengths, **options)[0]
    return x[0] if isinstance(x, tuple) else x


def to_meta(module: nn.Module) -> nn.Module:
    """A copy without data whose mixtures are the experts that one frame passes."""
    module = copy.deepcopy(module).to("meta").eval()
    for parent in list(module.modules()):
        for name, child in parent.named_children():
            if isinstance(child, MoEFeedForward):
                setattr(parent, name, ActivePath(child))
    return module


class ActivePath(nn.Module):
    """The experts of one frame in a mixture, whichever they are."""

    def __init__(self, mixture: MoEFeedForward):
        super().__init__()
        self.experts = mixture.experts[: mixture.gate.top_k]
        self.router = getattr(mixture.gate, "router", None)

    def forward(self, x: torch.Tensor, routing: Routing) -> torch.Tensor:
        """Map ``(B, T, D)`` as many times as a frame has experts."""
        if self.router is not None:
            router_in = x.new_empty(*x.shape[:2], self.router.in_features)
            functional.linear(router_in, self.router.weight)
        return sum(expert(x) for expert in self.experts)


class EveryFrame(Routing):
    """Routing of one utterance, in which no frame is padding."""

    def rows(self, x: torch.Tensor) -> torch.Tensor:
        """``(1, T, D)`` to ``(T, D)``."""
        return x.flatten(0, 1)
