"""Self-attention with positions over cached keys and values.

Relative and rotary ones depend only on how far two frames are from each other, so a
stream need not count the frames that have left its cache. The mask tells which frames
a frame attends to; with it the same code serves a whole utterance, an utterance in
chunks, and one chunk of a stream.

The method is not `forward`: there ESPnet would look for weights to plot, which a fused
kernel does not give.
"""

import math

import torch
from torch import nn
from torch.nn import functional

from espnet_smoe.layers.attention import CachedAttention, KeysValues, append_kv


class ChunkAttention(CachedAttention):
    """What they share.

    Attributes:
        absolute: Each key has its position in the cache, which so far counts from the
            start of the utterance; else keys and values are cached without positions.
        key_size: Width of a key in the cache.
    """

    absolute = False

    @property
    def key_size(self) -> int:
        """d."""
        return self.d_k

    def attend_chunk(
        self,
        x: torch.Tensor,
        cache: KeysValues | None,
        bias: torch.Tensor,
        positions: torch.Tensor,
    ) -> tuple[torch.Tensor, KeysValues]:
        """Attend from T frames to these and those before.

        Args:
            x: ``(B, T, D)``.
            cache: Keys and values ``(B, heads, S - T, d)`` of the frames before.
            bias: ``(B or 1, 1, T, S)``, 0 where a frame may look, else very negative.
            positions: Of S keys, from this layer's `project_positions`; or, of one or
                two dimensions, what that method takes.

        Returns:
            ``(B, T, D)``; keys and values of all S.
        """
        if positions.dim() < 3:
            positions = self.project_positions(positions)
        q = self.q_norm(self._heads(self.linear_q(x)))  # (B, heads, T, d)
        keys_values = append_kv(cache, self.keys_values(x))
        positioned = self.apply_positions(q, keys_values, bias, positions)
        return self.attention_output(*positioned), keys_values

    def project_positions(self, table: torch.Tensor) -> torch.Tensor:
        """Positions as this layer uses them, three dimensions."""
        raise NotImplementedError

    def apply_positions(
        self,
        q: torch.Tensor,
        keys_values: KeysValues,
        bias: torch.Tensor,
        positions: torch.Tensor,
    ) -> tuple[torch.Tensor, KeysValues, torch.Tensor]:
        """Queries, keys and values, and bias after the positions are applied."""
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
        far = torch.arange(keys - 1, -queries, -1, device=like.device)  # (P,)
        return sinusoids(far, like)

    def project_positions(self, table: torch.Tensor) -> torch.Tensor:
        """Project ``(P, D)`` for this layer: ``(heads, P, d)``."""
        return self.linear_pos(table).unflatten(1, (self.h, self.d_k)).transpose(0, 1)

    @staticmethod
    def slice_positions(
        projected: torch.Tensor, queries: int, keys: int
    ) -> torch.Tensor:
        """The rows for S keys of a table that has more: ``(heads, P, d)``."""
        return projected[:, projected.size(1) - (keys + queries - 1) :]

    @staticmethod
    def max_keys(projected: torch.Tensor, queries: int) -> int:
        """Keys that a projected table is long enough for."""
        return projected.size(1) - queries + 1

    def apply_positions(
        self,
        q: torch.Tensor,
        keys_values: KeysValues,
        bias: torch.Tensor,
        positions: torch.Tensor,
    ) -> tuple[torch.Tensor, KeysValues, torch.Tensor]:
        """Distances ``(heads, S + T - 1, d)`` add to the scores."""
        distances = (q + self.pos_bias_v[:, None]) @ positions.transpose(1, 2)
        bias = rel_shift(distances) / math.sqrt(self.d_k) + bias  # (B, heads, T, S)
        return q + self.pos_bias_u[:, None], keys_values, bias


class AbsoluteAttention(RelativeAttention):
    """The ``rel_pos`` of WeNet: a learned term of the key's own position.

    It is the attention above without its shift, so row j of the table of sinusoids is
    for key j: ``(q + u) k_j + (q + v) W sin(j)``. With the two factors side by side it
    is one product, of keys twice as wide.
    """

    absolute = True

    @property
    def key_size(self) -> int:
        """Twice d: the key and its position."""
        return 2 * self.d_k

    @staticmethod
    def positions(
        queries: int, keys: int, like: torch.Tensor, before: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Sinusoids of the queries' own positions: ``(B or 1, T, D)``.

        Args:
            queries: T.
            keys: Unused.
            like: ``(..., D)``, for size, type and device.
            before: ``(B,)`` frames before them; None for none.
        """
        own = torch.arange(queries, device=like.device)[None]
        return sinusoids(own if before is None else own + before[:, None], like)

    def attend_chunk(
        self,
        x: torch.Tensor,
        cache: KeysValues | None,
        bias: torch.Tensor,
        positions: torch.Tensor,
    ) -> tuple[torch.Tensor, KeysValues]:
        """Attend as above; ``positions`` are the T frames' own, not yet projected."""
        q = self.q_norm(self._heads(self.linear_q(x)))  # (B, heads, T, d)
        k, v = self.keys_values(x)
        placed = self.project_places(positions).expand_as(k)
        keys_values = append_kv(cache, (torch.cat((k, placed), dim=3), v))
        u, v = self.pos_bias_u[:, None], self.pos_bias_v[:, None]
        q = torch.cat((q + u, q + v), dim=3) * math.sqrt(2)  # divided by sqrt(2 d) next
        return self.attention_output(q, keys_values, bias), keys_values

    def project_places(self, table: torch.Tensor) -> torch.Tensor:
        """What keys get of their positions ``(B, T, D)``: ``(B, heads, T, d)``."""
        return self._heads(self.linear_pos(table))


class RotaryAttention(ChunkAttention):
    """Rotary positions (Su et al. 2021, Eq. 34): no parameters of their own.

    Keys are cached as they are and rotated anew for each chunk, by their position in
    the cache: the angles stay small however long a stream is.
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
        """The positions of S keys: ``(S,)``, in double precision for exact angles."""
        return torch.arange(keys, device=like.device, dtype=torch.float64)

    def project_positions(self, table: torch.Tensor) -> torch.Tensor:
        """Cosines and sines of ``(S,)`` positions: ``(2, S, d)``."""
        angles = table[:, None] * table.new_tensor(self.rates)  # (S, d / 2)
        angles = torch.cat((angles, angles), dim=1)
        return torch.stack((angles.cos(), angles.sin())).to(self.precision.dtype)

    @staticmethod
    def slice_positions(
        projected: torch.Tensor, queries: int, keys: int
    ) -> torch.Tensor:
        """The rows for S keys of a table that has more: ``(2, S, d)``."""
        return projected[:, :keys]

    @staticmethod
    def max_keys(projected: torch.Tensor, queries: int) -> int:
        """Keys that a projected table is long enough for."""
        return projected.size(1)

    def apply_positions(
        self,
        q: torch.Tensor,
        keys_values: KeysValues,
        bias: torch.Tensor,
        positions: torch.Tensor,
    ) -> tuple[torch.Tensor, KeysValues, torch.Tensor]:
        """Cosines and sines ``(2, S, d)`` rotate queries and keys."""
        k, v = keys_values
        q = apply_rotary(q, positions[:, k.size(2) - q.size(2) :])
        return q, (apply_rotary(k, positions), v), bias.to(q.dtype)


ATTENTIONS = {
    "rel_pos": RelativeAttention,
    "rope": RotaryAttention,
    "wenet_rel_pos": AbsoluteAttention,
    "wenet_rope": RotaryAttention,
}
# The features are multiplied by the square root of D, to outweigh positions that are
# added to them; in WeNet also where none are.
SCALED = {"rel_pos", "wenet_rel_pos", "wenet_rope"}


def sinusoids(positions: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Sines and cosines in turn (Vaswani et al. 2017, Section 3.5).

    Args:
        positions: ``(...)``.
        like: ``(..., D)``, for size, type and device.

    Returns:
        ``(..., D)``.
    """
    size = like.size(-1)
    pairs = torch.arange(0, size, 2, device=like.device)
    rates = torch.exp(pairs * -(math.log(10000.0) / size))
    angles = positions[..., None] * rates  # (..., D / 2)
    table = torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(-2)
    return table[..., :size].to(like.dtype)


def rel_shift(distances: torch.Tensor) -> torch.Tensor:
    """From distances to keys: ``(B, heads, T, S + T - 1)`` to ``(B, heads, T, S)``.

    Column p of row t is about the distance S - 1 - p; for key j the query t, at
    position S - T + t, needs column ``T - 1 - t + j``. So each row is shifted by one
    column more than the row above: pad with one column and read the same numbers in
    rows of another length (Dai et al. 2019, Appendix B).

    Example:
        >>> rel_shift(torch.tensor([[[[2, 1, 0, -1], [2, 1, 0, -1]]]]))  # T 2, S 3
        tensor([[[[ 1,  0, -1],
                  [ 2,  1,  0]]]])
    """
    *batch, t, p = distances.shape
    wider = functional.pad(distances, (1, 0))  # (..., T, P + 1)
    moved = wider.reshape(*batch, p + 1, t)[..., 1:, :].reshape(*batch, t, p)
    return moved[..., : p - t + 1]


def apply_rotary(x: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """Rotate ``(B, heads, T, d)`` by ``(2, T, d)`` cosines and sines."""
    a, b = x.chunk(2, dim=-1)
    return x * positions[0] + torch.cat((-b, a), dim=-1) * positions[1]
