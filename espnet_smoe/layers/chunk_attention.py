"""Self-attention with relative or rotary positions over kept keys and values.

Both see only how far two frames are from each other, so a stream needs no count of
what is long forgotten. A mask says who may look where; with it the same code serves a
whole utterance, an utterance in chunks, and one chunk of a stream.

The method is not `forward`: there ESPnet would look for weights to plot, which a fused
kernel does not give.
"""

import math

import torch
from torch import nn
from torch.nn import functional

from espnet_smoe.layers.attention import CachedAttention, KeysValues


class ChunkAttention(CachedAttention):
    """What the two share: keys and values are kept, then placed by their positions."""

    def attend_chunk(
        self,
        x: torch.Tensor,
        past: KeysValues | None,
        bias: torch.Tensor,
        positions: torch.Tensor,
    ) -> tuple[torch.Tensor, KeysValues]:
        """Attend from T frames to these and those before.

        Args:
            x: ``(B, T, D)``.
            past: Keys and values ``(B, heads, S - T, d)`` of the frames before.
            bias: ``(B or 1, 1, T, S)``, 0 where a frame may look, else very negative.
            positions: From this layer's `prepare`, for S keys.

        Returns:
            ``(B, T, D)``; keys and values of all S.
        """
        q = self.q_norm(self._heads(self.linear_q(x)))  # (B, heads, T, d)
        seen = extended(past, self.keys_values(x))
        return self.mixed(*self.placed(q, seen, bias, positions)), seen

    def placed(
        self,
        q: torch.Tensor,
        seen: KeysValues,
        bias: torch.Tensor,
        positions: torch.Tensor,
    ) -> tuple[torch.Tensor, KeysValues, torch.Tensor]:
        """Queries, keys and values, and bias once the positions have had their say."""
        raise NotImplementedError


class RelativeAttention(ChunkAttention):
    """Relative positions with two learned biases (Dai et al. 2019, Section 3.3).

    The parameters are those of ESPnet's ``RelPositionMultiHeadedAttention``.
    """

    def __init__(self, heads: int, size: int, dropout_rate: float, qk_norm: bool):
        super().__init__(heads, size, dropout_rate, qk_norm)
        self.linear_pos = nn.Linear(size, size, bias=False)
        self.pos_bias_u = nn.Parameter(torch.empty(self.h, self.d_k))
        self.pos_bias_v = nn.Parameter(torch.empty(self.h, self.d_k))
        nn.init.xavier_uniform_(self.pos_bias_u)
        nn.init.xavier_uniform_(self.pos_bias_v)

    @staticmethod
    def positions(queries: int, keys: int, like: torch.Tensor) -> torch.Tensor:
        """Sinusoids of all distances, the farthest past first: ``(P, D)``.

        Args:
            queries: T, the last of the S positions.
            keys: S.
            like: ``(..., D)``, for size, type and device.

        Returns:
            P = S + T - 1 rows: distances S - 1 down to 1 - T.
        """
        size = like.size(-1)
        far = torch.arange(keys - 1, -queries, -1, device=like.device)  # (P,)
        pairs = torch.arange(0, size, 2, device=like.device)
        rates = torch.exp(pairs * -(math.log(10000.0) / size))
        angles = far[:, None] * rates  # (P, D / 2)
        table = torch.stack((angles.sin(), angles.cos()), dim=2).flatten(1)
        return table[:, :size].to(like.dtype)

    def prepare(self, table: torch.Tensor) -> torch.Tensor:
        """Project ``(P, D)`` for this layer: ``(heads, P, d)``."""
        return self.linear_pos(table).unflatten(1, (self.h, self.d_k)).transpose(0, 1)

    @staticmethod
    def newest(prepared: torch.Tensor, queries: int, keys: int) -> torch.Tensor:
        """What S keys need of a table that was prepared for more: ``(heads, P, d)``."""
        return prepared[:, prepared.size(1) - (keys + queries - 1) :]

    @staticmethod
    def most_keys(prepared: torch.Tensor, queries: int) -> int:
        """Keys that a prepared table is good for."""
        return prepared.size(1) - queries + 1

    def placed(
        self,
        q: torch.Tensor,
        seen: KeysValues,
        bias: torch.Tensor,
        positions: torch.Tensor,
    ) -> tuple[torch.Tensor, KeysValues, torch.Tensor]:
        """Distances ``(heads, S + T - 1, d)`` add to the scores."""
        distances = (q + self.pos_bias_v[:, None]) @ positions.transpose(1, 2)
        bias = shifted(distances) / math.sqrt(self.d_k) + bias  # (B, heads, T, S)
        return q + self.pos_bias_u[:, None], seen, bias


class RotaryAttention(ChunkAttention):
    """Rotary positions (Su et al. 2021, Eq. 34): no parameters of their own.

    Keys are kept as they are and turned anew for each chunk, by their place among the
    kept ones: the angles stay small however long a stream is.
    """

    def __init__(self, heads: int, size: int, dropout_rate: float, qk_norm: bool):
        super().__init__(heads, size, dropout_rate, qk_norm)
        if self.d_k % 2:
            raise ValueError(
                f"encoder_conf.pos_enc_layer_type: rope needs an even width a head, "
                f"got {size} / {heads} = {self.d_k}"
            )
        # goes where the module goes; the projections may be int8
        self.register_buffer("precision", torch.empty(0), persistent=False)
        self.rates: list[float] = [
            10000.0 ** (-i / self.d_k) for i in range(0, self.d_k, 2)
        ]

    @staticmethod
    def positions(queries: int, keys: int, like: torch.Tensor) -> torch.Tensor:
        """The places of S keys: ``(S,)``, in double precision for exact angles."""
        return torch.arange(keys, device=like.device, dtype=torch.float64)

    def prepare(self, table: torch.Tensor) -> torch.Tensor:
        """Cosines and sines of ``(S,)`` places: ``(2, S, d)``."""
        angles = table[:, None] * table.new_tensor(self.rates)  # (S, d / 2)
        angles = torch.cat((angles, angles), dim=1)
        return torch.stack((angles.cos(), angles.sin())).to(self.precision.dtype)

    @staticmethod
    def newest(prepared: torch.Tensor, queries: int, keys: int) -> torch.Tensor:
        """What S keys need of a table that was prepared for more: ``(2, S, d)``."""
        return prepared[:, :keys]

    @staticmethod
    def most_keys(prepared: torch.Tensor, queries: int) -> int:
        """Keys that a prepared table is good for."""
        return prepared.size(1)

    def placed(
        self,
        q: torch.Tensor,
        seen: KeysValues,
        bias: torch.Tensor,
        positions: torch.Tensor,
    ) -> tuple[torch.Tensor, KeysValues, torch.Tensor]:
        """Queries and keys turn by cosines and sines ``(2, S, d)``."""
        k, v = seen
        last = positions[:, k.size(2) - q.size(2) :]
        return rotated(q, last), (rotated(k, positions), v), bias.to(q.dtype)


ATTENTIONS = {"rel_pos": RelativeAttention, "rope": RotaryAttention}


def extended(past: KeysValues | None, new: KeysValues) -> KeysValues:
    """Keys and values of the frames before and of new ones."""
    if past is None:
        return new
    k, v = (torch.cat(pair, dim=2) for pair in zip(past, new))
    return k, v


def shifted(distances: torch.Tensor) -> torch.Tensor:
    """From distances to keys: ``(B, heads, T, S + T - 1)`` to ``(B, heads, T, S)``.

    Column p of row t is about the distance S - 1 - p; of key j the query t, at place
    S - T + t, wants column ``T - 1 - t + j``. Every row moves one step further: the
    rows of a table that is one column wider, read with a width of T.

    Example:
        >>> shifted(torch.tensor([[[[2, 1, 0, -1], [2, 1, 0, -1]]]]))  # T 2, S 3
        tensor([[[[ 1,  0, -1],
                  [ 2,  1,  0]]]])
    """
    *batch, t, p = distances.shape
    wider = functional.pad(distances, (1, 0))  # (..., T, P + 1)
    moved = wider.reshape(*batch, p + 1, t)[..., 1:, :].reshape(*batch, t, p)
    return moved[..., : p - t + 1]


def rotated(x: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """Turn ``(B, heads, T, d)`` by ``(2, T, d)`` cosines and sines."""
    a, b = x.chunk(2, dim=-1)
    return x * positions[0] + torch.cat((-b, a), dim=-1) * positions[1]
