"""The decoder's layer: two attentions that can be cached, and a block or a mixture."""

import torch

from espnet_smoe.compat import DecoderLayer
from espnet_smoe.layers.attention import KeysValues, append_kv
from espnet_smoe.moe import Routing


class SMoEDecoderLayer(DecoderLayer):
    """ESPnet's decoder layer with cached keys and values, and with a routing."""

    def forward(
        self,
        x: torch.Tensor,
        cache: KeysValues | None,
        memory: torch.Tensor | KeysValues,
        memory_mask: torch.Tensor | None,
        routing: Routing,
        prompts: int = 1,
        mask: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, KeysValues]:
        """Decode T further positions.

        Args:
            x: ``(N, T, D)``.
            cache: Keys and values of the positions before; None at the start.
            memory: The encoder's output ``(B, S, D)``; or its keys and values, which a
                search keeps. They are projected here, not by the decoder, as the
                weights of a sharded layer (FSDP2) are whole only here.
            memory_mask: ``(B, 1, S)``, false at padding; None without padding.
            routing: Of the N rows.
            prompts: R, where the rows are laid out ``(R, B, N / R / B)``.
            mask: ``(N, T, L)``, true at the positions that one may see; None: all
                before it.

        Returns:
            ``(N, T, D)``; keys and values of all L positions.
        """
        if isinstance(memory, torch.Tensor):
            memory = self.src_attn.keys_values(memory)
        h = self.norm1(x) if self.normalize_before else x
        keys_values = append_kv(cache, self.self_attn.keys_values(h))
        # One position attends to all L, which needs no mask; several without a mask
        # are the first ones, whose cache is empty.
        is_causal = mask is None and x.size(1) > 1
        attended = self.self_attn.attend(h, keys_values, mask, is_causal)
        x = self._residual(x, h, attended, "concat_linear1")
        x = x if self.normalize_before else self.norm1(x)

        h = self.norm2(x) if self.normalize_before else x
        # All hypotheses of an utterance are queries of the same keys and values, which
        # so are neither copied nor read more than once.
        grid = h.view(prompts, memory[0].size(0), -1, h.size(2))  # (R, B, n * T, D)
        queries = grid.transpose(0, 1).flatten(1, 2)  # (B, R * n * T, D)
        attended = self.src_attn.attend(queries, memory, memory_mask)
        attended = attended.unflatten(1, (prompts, -1)).transpose(0, 1).reshape(h.shape)
        x = self._residual(x, h, attended, "concat_linear2")
        x = x if self.normalize_before else self.norm2(x)

        h = self.norm3(x) if self.normalize_before else x
        x = x + self.dropout(self.feed_forward(h, routing))
        return (x if self.normalize_before else self.norm3(x)), keys_values

    def _residual(
        self, x: torch.Tensor, h: torch.Tensor, attended: torch.Tensor, linear: str
    ) -> torch.Tensor:
        if self.concat_after:
            return x + getattr(self, linear)(torch.cat((h, attended), dim=-1))
        return x + self.dropout(attended)
