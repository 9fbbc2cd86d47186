"""What a search keeps between steps: keys and values of its hypotheses."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import torch
from torch import nn

from espnet_smoe.layers.attention import KeysValues


@dataclass
class DecoderCache:
    """Keys and values of N hypotheses of B utterances.

    The N rows are laid out ``(R, B, N / R / B)``: R prompts, the utterances of each,
    the hypotheses of each. All rows of one utterance share its cross-attention keys
    and values.

    Attributes:
        memory: Per layer, of the encoder's output: ``(B, heads, T, d)`` each.
        memory_mask: ``(B, 1, T)``, false at padding; None without padding.
        keys_values: Per layer, of the L tokens so far: ``(N, heads, L, d)`` each;
            empty before the first step.
        prompts: R.
    """

    memory: list[KeysValues]
    memory_mask: torch.Tensor | None
    keys_values: list[KeysValues] = field(default_factory=list)
    prompts: int = 1

    @property
    def utterances(self) -> int:
        """Number of utterances, B."""
        return self.memory[0][0].size(0)

    @property
    def length(self) -> int:
        """L, tokens so far."""
        return self.keys_values[0][0].size(2) if self.keys_values else 0

    def select(self, rows: torch.Tensor) -> "DecoderCache":
        """Keep the hypotheses ``rows`` ``(N',)``, in this order."""
        own = [
            (k.index_select(0, rows), v.index_select(0, rows))
            for k, v in self.keys_values
        ]
        return replace(self, keys_values=own)

    def with_frames(
        self, xs: torch.Tensor | None, layers: Iterable[nn.Module]
    ) -> "DecoderCache":
        """The cache where ESPnet's simulated stream has brought more frames.

        Args:
            xs: Encoder's output ``(N, T, D)`` or ``(T, D)`` of the one utterance; of
                several, and where T is as before, nothing changes.
            layers: Of the decoder.
        """
        if xs is None or self.utterances > 1:
            return self
        x = xs[:1] if xs.dim() == 3 else xs[None]
        if x.size(1) == self.memory[0][0].size(2):
            return self
        memory = [layer.src_attn.keys_values(x) for layer in layers]
        return replace(self, memory=memory, memory_mask=None)

    def keep_utterances(self, utterances: torch.Tensor) -> "DecoderCache":
        """Forget the encoder's output of all but ``utterances`` ``(B',)``.

        The rows are the caller's to `select`.
        """
        memory = [
            (k.index_select(0, utterances), v.index_select(0, utterances))
            for k, v in self.memory
        ]
        mask = self.memory_mask
        mask = None if mask is None else mask.index_select(0, utterances)
        return replace(self, memory=memory, memory_mask=mask)


CacheRow = tuple[DecoderCache, int]  # one hypothesis: cache and row


def gather(states: "list[DecoderCache | CacheRow] | DecoderCache") -> DecoderCache:
    """Join the states of hypotheses that one search handed out.

    Args:
        states: A cache as it is; or N copies of a fresh one; or N of its rows.
    """
    if isinstance(states, DecoderCache):
        return states
    if isinstance(states[0], DecoderCache):
        return states[0]
    cache = states[0][0]
    rows = [row for _, row in states]
    if rows == list(range(cache.keys_values[0][0].size(0))):
        return cache
    return cache.select(torch.tensor(rows, device=cache.keys_values[0][0].device))
