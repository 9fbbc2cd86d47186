"""Encoder u2pp_conformer beside the formulas, written out frame by frame.

Gulati et al. 2020 (arXiv 2005.08100), Section 2: a layer is half a feed-forward block,
attention, convolution, half a feed-forward block, each with its own norm before it and
a residual around it, and a norm at the end. Dai et al. 2019 (arXiv 1901.02860), Section
3.3: relative positions. Every parameter is random, norms and biases too, so that
nothing is the identity by chance.
"""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from espnet_smoe.encoder.conformer import U2PPConformerEncoder

FEATURES, D, HEADS, KERNEL = 20, 8, 2, 5
SYSTEMS = {
    "all": {},
    "without macaron": {"macaron_style": False},
    "without convolution": {"use_cnn_module": False},
    "convolution on both sides": {"causal": False, "use_dynamic_chunk": False},
    "rotary": {"pos_enc_layer_type": "rope"},
    "normalised queries": {"qk_norm": True},
    "one expert of three": {"moe": {"num_experts": 3, "top_k": 1}},
    "two experts of three": {"moe": {"num_experts": 3, "top_k": 2}},
}


def make(**options) -> U2PPConformerEncoder:
    torch.manual_seed(0)
    encoder = U2PPConformerEncoder(
        FEATURES,
        D,
        HEADS,
        linear_units=12,
        num_blocks=2,
        cnn_module_kernel=KERNEL,
        **options,
    )
    for parameter in encoder.parameters():
        nn.init.normal_(parameter, std=0.4)
    return encoder.double().eval()


def norm(layer: nn.Module, x: Tensor) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    variance = centred.square().mean(-1, keepdim=True)
    return centred / (variance + 1e-12).sqrt() * layer.weight + layer.bias


def block(layer: nn.Module, x: Tensor) -> Tensor:
    """Two matrices around a swish; one frame ``(D,)``."""
    hidden = layer.w_1.weight @ x + layer.w_1.bias
    return layer.w_2.weight @ (hidden * hidden.sigmoid()) + layer.w_2.bias


def feed_forward(layer: nn.Module, x: Tensor) -> Tensor:
    """``(T, D)``, the mixture as a sum over the experts that a frame visits."""
    if not hasattr(layer, "experts"):
        return torch.stack([block(layer, frame) for frame in x])
    rows = []
    for frame in x:
        p = (layer.gate.router.weight @ frame).softmax(0)
        weights, chosen = p.topk(layer.gate.top_k)
        if layer.gate.top_k > 1:
            weights = weights / weights.sum()
        pairs = zip(weights, chosen.tolist())
        rows.append(sum(w * block(layer.experts[e], frame) for w, e in pairs))
    return torch.stack(rows)


def sinusoid(place: float) -> Tensor:
    rates = [10000 ** (-2 * i / D) for i in range(D // 2)]
    pairs = [f(place * rate) for rate in rates for f in (math.sin, math.cos)]
    return torch.tensor(pairs, dtype=torch.float64)


def turned(x: Tensor, place: int) -> Tensor:
    """``(d,)`` with each pair ``i, i + d / 2`` turned by its own angle."""
    d = len(x)
    out = x.clone()
    for i in range(d // 2):
        angle = place * 10000 ** (-2 * i / d)
        a, b = x[i], x[i + d // 2]
        out[i] = a * math.cos(angle) - b * math.sin(angle)
        out[i + d // 2] = b * math.cos(angle) + a * math.sin(angle)
    return out


def attention(layer: nn.Module, x: Tensor) -> Tensor:
    frames, d = len(x), D // HEADS
    q, k, v = (
        (x @ linear.weight.T + linear.bias).view(frames, HEADS, d)
        for linear in (layer.linear_q, layer.linear_k, layer.linear_v)
    )
    if not isinstance(layer.q_norm, nn.Identity):
        q, k = norm(layer.q_norm, q), norm(layer.k_norm, k)
    relative = hasattr(layer, "pos_bias_u")
    out = torch.zeros(frames, HEADS, d, dtype=x.dtype)
    for head in range(HEADS):
        for t in range(frames):
            scores = []
            for s in range(frames):
                if relative:
                    place = (layer.linear_pos.weight @ sinusoid(t - s)).view(HEADS, d)
                    content = (q[t, head] + layer.pos_bias_u[head]) @ k[s, head]
                    distance = (q[t, head] + layer.pos_bias_v[head]) @ place[head]
                    scores.append((content + distance) / math.sqrt(d))
                else:
                    pair = turned(q[t, head], t) @ turned(k[s, head], s)
                    scores.append(pair / math.sqrt(d))
            weights = torch.stack(scores).softmax(0)
            out[t, head] = weights @ v[:, head]
    return out.flatten(1) @ layer.linear_out.weight.T + layer.linear_out.bias


def convolution(module: nn.Module, x: Tensor, causal: bool) -> Tensor:
    first, second = module.pointwise_conv1, module.pointwise_conv2
    pairs = x @ first.weight[:, :, 0].T + first.bias  # (T, 2 D)
    gated = pairs[:, :D] * pairs[:, D:].sigmoid()
    taps = module.depthwise_conv.weight[:, 0]  # (D, K)
    before = KERNEL - 1 if causal else KERNEL // 2
    rows = []
    for t in range(len(x)):
        total = module.depthwise_conv.bias.clone()
        for tap in range(KERNEL):
            if 0 <= t - before + tap < len(x):
                total = total + taps[:, tap] * gated[t - before + tap]
        rows.append(total)
    h = norm(module.norm, torch.stack(rows))
    return (h * h.sigmoid()) @ second.weight[:, :, 0].T + second.bias


def encoded(encoder: U2PPConformerEncoder, x: Tensor) -> Tensor:
    """``(T, F)`` to ``(T / 4, D)``."""
    x = functional.pad(x, (0, 0, 3, 0))[None, None]
    for layer in encoder.embed.conv:
        x = layer(x)
    out = encoder.embed.out[0]
    x = x[0].transpose(0, 1).flatten(1) @ out.weight.T + out.bias
    if hasattr(encoder.encoders[0].self_attn, "pos_bias_u"):
        x = x * math.sqrt(D)
    for layer in encoder.encoders:
        scale = 1.0
        if layer.feed_forward_macaron is not None:
            scale = 0.5
            h = norm(layer.norm_ff_macaron, x)
            x = x + 0.5 * feed_forward(layer.feed_forward_macaron, h)
        x = x + attention(layer.self_attn, norm(layer.norm_mha, x))
        if layer.conv_module is not None:
            h = norm(layer.norm_conv, x)
            x = x + convolution(layer.conv_module, h, encoder.causal)
        x = x + scale * feed_forward(layer.feed_forward, norm(layer.norm_ff, x))
        if layer.conv_module is not None:
            x = norm(layer.norm_final, x)
    return norm(encoder.after_norm, x)


@pytest.mark.parametrize("options", SYSTEMS.values(), ids=SYSTEMS)
def test_the_encoder_is_what_the_papers_write(options):
    encoder = make(**options)
    x = torch.randn(28, FEATURES, dtype=torch.float64)
    with torch.no_grad():
        ours, lengths, _ = encoder(x[None], torch.tensor([28]), chunk_size=0)
        theirs = encoded(encoder, x)
    assert lengths.tolist() == [7]
    torch.testing.assert_close(ours[0], theirs, atol=1e-6, rtol=1e-6)
