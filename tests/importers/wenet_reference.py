"""What WeNet computes, in plain formulas: one utterance, no cache, no batch."""

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from tests.importers.tiny_wenet import CONVOLUTIONS

EPS = 1e-5


def kaldi_features(wave: np.ndarray, mels: int) -> Tensor:
    """Kaldi's log-mel features ``(T, F)`` of ``(samples,)``, in double precision."""
    wave = wave.astype(np.float64) * 32768
    starts = range(0, len(wave) - 400 + 1, 160)
    window = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 399)) ** 0.85
    rows = []
    for start in starts:
        frame = wave[start : start + 400]
        frame = frame - frame.mean()
        frame = frame - 0.97 * np.concatenate((frame[:1], frame[:-1]))
        rows.append(np.abs(np.fft.rfft(frame * window, 512)) ** 2)

    def mel(hertz):
        return 1127 * np.log(1 + hertz / 700)

    edges = np.linspace(mel(20), mel(8000), mels + 2)
    bins = mel(np.arange(257) * 16000 / 512)
    low, center, high = (edges[i : mels + i, None] for i in range(3))
    up, down = (bins - low) / (center - low), (high - bins) / (high - center)
    weights = np.maximum(0, np.minimum(up, down))  # (F, 257)
    weights[:, 256] = 0
    energies = np.array(rows) @ weights.T
    return torch.from_numpy(np.log(np.maximum(energies, np.finfo(np.float32).eps)))


class Reference:
    """A model in double precision.

    Args:
        config: Of ``train.yaml``.
        state: WeNet's weights.
    """

    def __init__(self, config: dict, state: dict[str, Tensor]):
        self.conf, self.decoder_conf = config["encoder_conf"], config["decoder_conf"]
        self.state = {name: tensor.double() for name, tensor in state.items()}

    def encode(self, feats: Tensor, chunk: int = 0, left: int = -1) -> Tensor:
        """Encode ``(T, F)``: ``(T', D)``; in chunks of ``chunk`` frames."""
        mean, istd = (self[f"encoder.global_cmvn.{k}"] for k in ("mean", "istd"))
        x = (feats - mean) * istd
        x = self.subsample(x) * math.sqrt(self["encoder.after_norm.weight"].numel())
        mask = torch.ones(len(x), len(x), dtype=torch.bool)
        if chunk:
            own = torch.arange(len(x)) // chunk
            mask = own[None] <= own[:, None]
            if left >= 0:
                mask &= own[None] >= own[:, None] - left
        for n in range(self.conf["num_blocks"]):
            layer = f"encoder.encoders.{n}"
            x = x + 0.5 * self.block(
                x, layer, "feed_forward_macaron", "norm_ff_macaron"
            )
            h = self.norm(x, f"{layer}.norm_mha")
            x = x + self.self_attention(h, f"{layer}.self_attn", mask)
            h = self.norm(x, f"{layer}.norm_conv")
            x = x + self.convolution(h, f"{layer}.conv_module")
            x = x + 0.5 * self.block(x, layer, "feed_forward", "norm_ff")
            x = self.norm(x, f"{layer}.norm_final")
        return self.norm(x, "encoder.after_norm")

    def log_probs(self, encoded: Tensor) -> Tensor:
        """Of the CTC head."""
        return self.linear(encoded, "ctc.ctc_lo").log_softmax(-1)

    def decode(self, encoded: Tensor, tokens: list[int], side: str = "") -> Tensor:
        """Logits ``(L, V)`` after each of the tokens."""
        name = f"decoder.{side}_decoder" if side else "decoder"
        size = encoded.size(1)
        x = self[f"{name}.embed.0.weight"][tokens] * math.sqrt(size)
        x = x + sines(torch.arange(len(tokens)), size)
        past = torch.ones(len(tokens), len(tokens), dtype=torch.bool).tril()
        blocks = "r_num_blocks" if side == "right" else "num_blocks"
        for n in range(self.decoder_conf[blocks]):
            layer = f"{name}.decoders.{n}"
            h = self.norm(x, f"{layer}.norm1")
            x = x + self.attention(h, h, f"{layer}.self_attn", past)
            h = self.norm(x, f"{layer}.norm2")
            x = x + self.attention(h, encoded, f"{layer}.src_attn")
            x = x + self.block(x, layer, "feed_forward", "norm3", torch.relu)
        return self.linear(self.norm(x, f"{name}.after_norm"), f"{name}.output_layer")

    def subsample(self, x: Tensor) -> Tensor:
        """Valid convolutions over ``(T, F)``: ``(T', D)``."""
        kind, x = self.conf["input_layer"], x[None, None]
        for n, (_, stride) in enumerate(CONVOLUTIONS[kind]):
            name = f"encoder.embed.conv.{2 * n}"
            weight, bias = self[f"{name}.weight"], self[f"{name}.bias"]
            x = functional.conv2d(x, weight, bias, stride).relu()
        x = x[0].transpose(0, 1).flatten(1)
        last = "out.0" if kind == "conv2d" else "linear"
        return self.linear(x, f"encoder.embed.{last}")

    def self_attention(self, x: Tensor, name: str, mask: Tensor) -> Tensor:
        """With a term of each key's own position, or rotated."""
        q, k, v = (self.heads(x, f"{name}.linear_{p}") for p in "qkv")
        places = torch.arange(len(x))
        if self.conf["pos_enc_layer_type"] == "rope_pos":
            scores = rotated(q, places) @ rotated(k, places).transpose(1, 2)
        else:
            p = self.heads(sines(places, x.size(1)), f"{name}.linear_pos")
            u, w = (self[f"{name}.pos_bias_{b}"][:, None] for b in "uv")
            scores = (q + u) @ k.transpose(1, 2) + (q + w) @ p.transpose(1, 2)
        return self.weighted(scores, v, name, mask)

    def attention(
        self, x: Tensor, memory: Tensor, name: str, mask: Tensor | None = None
    ) -> Tensor:
        """From ``(T, D)`` to ``(S, D)``."""
        q = self.heads(x, f"{name}.linear_q")
        k, v = (self.heads(memory, f"{name}.linear_{p}") for p in "kv")
        return self.weighted(q @ k.transpose(1, 2), v, name, mask)

    def weighted(
        self, scores: Tensor, v: Tensor, name: str, mask: Tensor | None
    ) -> Tensor:
        scores = scores / math.sqrt(v.size(2))
        if mask is not None:
            scores = scores.masked_fill(~mask, -torch.inf)
        out = scores.softmax(-1) @ v  # (heads, T, d)
        return self.linear(out.transpose(0, 1).flatten(1), f"{name}.linear_out")

    def convolution(self, x: Tensor, name: str) -> Tensor:
        """Zeros stand before the first frame, before the gate."""
        weight = self[f"{name}.depthwise_conv.weight"]
        kernel = weight.size(2)
        before, behind = kernel - 1, 0
        x = functional.pad(x.T, (before, behind))  # (D, T + K - 1)
        first, last = (
            self[f"{name}.pointwise_conv{n}.weight"][:, :, 0] for n in (1, 2)
        )
        x = first @ x + self[f"{name}.pointwise_conv1.bias"][:, None]
        a, b = x.chunk(2)
        x = a * torch.sigmoid(b)
        windows = x.unfold(1, kernel, 1)  # (D, T, K)
        x = (windows * weight).sum(2) + self[f"{name}.depthwise_conv.bias"][:, None]
        x = functional.silu(self.norm(x.T, f"{name}.norm"))
        return x @ last.T + self[f"{name}.pointwise_conv2.bias"]

    def block(self, x, layer, name, norm, activation=functional.silu) -> Tensor:
        """A feed-forward block, or the two best of its experts."""
        x, name = self.norm(x, f"{layer}.{norm}"), f"{layer}.{name}"

        def expert(row, prefix):
            hidden = activation(self.linear(row, f"{prefix}.w_1"))
            return self.linear(hidden, f"{prefix}.w_2")

        if f"{name}.gate.weight" not in self.state:
            return expert(x, name)
        rows = []
        for row in x:
            logits, chosen = (self[f"{name}.gate.weight"] @ row).topk(2)
            parts = [expert(row, f"{name}.experts.{i}") for i in chosen.tolist()]
            rows.append(sum(w * p for w, p in zip(logits.softmax(0), parts)))
        return torch.stack(rows)

    def heads(self, x: Tensor, name: str) -> Tensor:
        """Project ``(T, D)``: ``(heads, T, d)``."""
        count = self.conf["attention_heads"]
        return self.linear(x, name).unflatten(1, (count, -1)).transpose(0, 1)

    def linear(self, x: Tensor, name: str) -> Tensor:
        return functional.linear(x, self[f"{name}.weight"], self.get(f"{name}.bias"))

    def norm(self, x: Tensor, name: str) -> Tensor:
        weight, bias = self[f"{name}.weight"], self[f"{name}.bias"]
        return functional.layer_norm(x, weight.shape, weight, bias, EPS)

    def get(self, name: str) -> Tensor | None:
        return self.state.get(name)

    def __getitem__(self, name: str) -> Tensor:
        return self.state[name]


def sines(places: Tensor, size: int) -> Tensor:
    """Sines at even, cosines at odd places: ``(T, D)``."""
    rates = 10000.0 ** (-torch.arange(0, size, 2, dtype=torch.float64) / size)
    angles = places[:, None] * rates
    table = torch.zeros(len(places), size, dtype=torch.float64)
    table[:, 0::2], table[:, 1::2] = angles.sin(), angles.cos()
    return table


def rotated(x: Tensor, places: Tensor) -> Tensor:
    """Turn the first half of ``(heads, T, d)`` against the second."""
    half = x.size(2) // 2
    rates = 10000.0 ** (-torch.arange(half, dtype=torch.float64) / half)
    turn = torch.polar(torch.ones(()).double(), places[:, None] * rates)
    x = torch.complex(x[..., :half], x[..., half:]) * turn
    return torch.cat((x.real, x.imag), dim=2)
