"""Attention whose keys and values can be cached, with ESPnet's parameters."""

import contextlib

import torch
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from espnet_smoe.compat import MultiHeadedAttention, make_pad_mask

KeysValues = tuple[torch.Tensor, torch.Tensor]  # each (B, heads, L, D / heads)


class CachedAttention(MultiHeadedAttention):
    """Multi-head attention in two steps: project keys and values, then attend."""

    def keys_values(self, x: torch.Tensor) -> KeysValues:
        """Project ``(B, L, D)`` to keys and values ``(B, heads, L, D / heads)``."""
        return self.k_norm(self._heads(self.linear_k(x))), self._heads(self.linear_v(x))

    def attend(
        self,
        x: torch.Tensor,
        keys_values: KeysValues,
        mask: torch.Tensor | None = None,
        is_causal: bool = False,
    ) -> torch.Tensor:
        """Attend from ``(B, T, D)`` to keys and values.

        Args:
            x: Queries ``(B, T, D)``.
            keys_values: From `keys_values`, L positions.
            mask: True where a query may look, broadcastable to ``(B, T, L)``.
            is_causal: Position t attends to 0..t; takes the place of ``mask``.

        Returns:
            ``(B, T, D)``.
        """
        queries = self.q_norm(self._heads(self.linear_q(x)))
        mask = None if mask is None else mask.unsqueeze(1)
        return self.attention_output(queries, keys_values, mask, is_causal)

    def attention_output(
        self,
        queries: torch.Tensor,
        keys_values: KeysValues,
        mask: torch.Tensor | None,
        is_causal: bool = False,
    ) -> torch.Tensor:
        """The values, weighted by softmax(queries keys^T), and projected.

        Args:
            queries: ``(B, heads, T, D / heads)``.
            keys_values: L positions.
            mask: True where a query may look, or what to add to its scores;
                broadcastable to ``(B, heads, T, L)``.
            is_causal: Position t attends to 0..t; takes the place of ``mask``.

        Returns:
            ``(B, T, D)``.
        """
        with attention_kernel(queries):
            out = functional.scaled_dot_product_attention(
                queries,
                *keys_values,
                attn_mask=mask,
                dropout_p=self.dropout_rate if self.training else 0.0,
                is_causal=is_causal,
            )  # (B, heads, T, D / heads)
        return self.linear_out(out.transpose(1, 2).flatten(2))

    def _heads(self, x: torch.Tensor) -> torch.Tensor:
        return x.unflatten(2, (self.h, self.d_k)).transpose(1, 2)


def append_kv(cache: KeysValues | None, new: KeysValues) -> KeysValues:
    """Keys and values of the positions before and of new ones."""
    if cache is None:
        return new
    k, v = (torch.cat(pair, dim=2) for pair in zip(cache, new))
    return k, v


def attention_kernel(x: torch.Tensor) -> contextlib.AbstractContextManager:
    """The kernel: PyTorch's choice, but plain products for a backward pass on a CPU.

    There the fused kernel's backward pass is the slower one for short texts.
    """
    if x.device.type == "cpu" and torch.is_grad_enabled():
        return sdpa_kernel(SDPBackend.MATH)
    return contextlib.nullcontext()


def memory_mask(lengths: torch.Tensor, memory: torch.Tensor) -> torch.Tensor:
    """Which frames of the encoder's output a decoder attends to.

    An utterance without a frame attends to its padding: a softmax of nothing is NaN.

    Args:
        lengths: ``(B,)`` frames.
        memory: The encoder's output ``(B, T, D)``.

    Returns:
        ``(B, 1, T)``, false at padding.
    """
    padding = make_pad_mask(lengths.clamp(min=1), maxlen=memory.size(1))
    return (~padding)[:, None].to(memory.device)
