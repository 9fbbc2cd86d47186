"""The cache of a streaming encoder, and the attention masks of chunks."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch.nn import functional

from espnet_smoe.config.ignored_options import warn_without_effect
from espnet_smoe.layers.attention import KeysValues

Tables = list[torch.Tensor]  # of positions, one a layer
FRAMES_A_SECOND = 100  # of features; the largest chunk drawn lasts a second (WeNet)


@dataclass
class EncoderCache:
    """The cache of B streams, which need not have begun at the same time.

    What is not there yet is zero and masked, so all chunks of a stream have the same
    shapes, and rows of different streams fit together.

    Attributes:
        features: Subsampling: ``(B, overlap, F)``, the last features.
        keys_values: Attention, per layer: ``(B, heads, L, d)`` each, the newest last;
            keys are wider where they hold their positions.
        convolution: Per layer: ``(B, D, K - 1)``; empty without convolutions.
        num_frames: ``(B,)`` encoder frames so far; the last ``min(num_frames, L)``
            keys count.
        chunk_size: C, encoder frames a chunk.
        left_chunks: Chunks that are kept; -1 for all, and L grows with the stream.
        positions: Per layer: positions projected by its attention, for at least as
            many keys as there will be in the next chunk; empty where the keys hold
            them. Shared, never changed.
    """

    features: torch.Tensor
    keys_values: list[KeysValues]
    convolution: list[torch.Tensor]
    num_frames: torch.Tensor
    chunk_size: int
    left_chunks: int
    positions: Tables

    @property
    def length(self) -> int:
        """L, keys kept."""
        return self.keys_values[0][0].size(2)

    def bias(self, lengths: torch.Tensor) -> torch.Tensor:
        """The attention bias of the next chunk: ``(B, 1, 1, L + C)``, see `mask_bias`.

        Args:
            lengths: ``(B,)`` frames of the chunk that are not padding.
        """
        keys = torch.arange(self.length + self.chunk_size, device=lengths.device)
        # A stream younger than L frames has its keys at the end of the L: the first
        # ones are zeros that no frame may attend to. Older ones have dropped some, and
        # `first` is negative.
        first = self.length - self.num_frames  # (B,)
        end = self.length + lengths  # (B,)
        mask = (keys >= first[:, None]) & (keys < end[:, None])  # (B, L + C)
        return mask_bias(mask[:, None, None], self.features.dtype)

    def trim(self, keys_values: KeysValues) -> KeysValues:
        """The keys and values that the next chunk may see, of ``(.., L + C, d)``."""
        if self.left_chunks < 0:
            return keys_values
        k, v = keys_values
        start = k.size(2) - self.left_chunks * self.chunk_size
        return k[:, :, start:], v[:, :, start:]

    @staticmethod
    def stack(caches: "Sequence[EncoderCache]") -> "EncoderCache":
        """Put the rows of several streams side by side.

        Args:
            caches: Of one encoder, chunk size and number of left chunks.

        Raises:
            ValueError: They differ in chunk size or left chunks.
        """
        longest = max(caches, key=lambda c: c.length)
        for other in caches:
            mine, its = ((c.chunk_size, c.left_chunks) for c in (longest, other))
            if mine != its:
                raise ValueError(
                    "streams of different chunk sizes or left chunks cannot be "
                    f"encoded together: {mine} and {its}"
                )

        # streams that began later have fewer keys; the mask hides what fills them up
        def pad_left(x: torch.Tensor) -> torch.Tensor:  # (B, heads, l, d), l <= L
            return functional.pad(x, (0, 0, longest.length - x.size(2), 0))

        layers = zip(*(c.keys_values for c in caches))
        return EncoderCache(
            torch.cat([c.features for c in caches]),
            [
                (
                    torch.cat([pad_left(k) for k, _ in layer]),
                    torch.cat([pad_left(v) for _, v in layer]),
                )
                for layer in layers
            ],
            [torch.cat(layer) for layer in zip(*(c.convolution for c in caches))],
            torch.cat([c.num_frames for c in caches]),
            longest.chunk_size,
            longest.left_chunks,
            longest.positions,
        )

    def split(self) -> "list[EncoderCache]":
        """The B streams, each with a cache of its own, as views of this one."""
        rows = [slice(i, i + 1) for i in range(len(self.num_frames))]
        return [
            replace(
                self,
                features=self.features[row],
                keys_values=[(k[row], v[row]) for k, v in self.keys_values],
                convolution=[x[row] for x in self.convolution],
                num_frames=self.num_frames[row],
            )
            for row in rows
        ]


def mask_bias(mask: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """What attention adds to its scores: 0 where ``mask`` is true, else next to -inf.

    Not -inf itself: a padded frame that attends to nothing would make NaN.
    """
    zero = torch.zeros((), dtype=dtype, device=mask.device)
    return torch.where(mask, zero, torch.finfo(dtype).min / 2)


def chunk_mask(
    length: int, chunk_size: int, left_chunks: int, device: torch.device | None = None
) -> torch.Tensor:
    """Which frame attends to which, when an utterance is encoded in chunks.

    Args:
        length: T.
        chunk_size: C; 0 for the whole utterance.
        left_chunks: Chunks on the left that a frame attends to; -1 for all.
        device: Where the mask shall be.

    Returns:
        ``(T, T)``, true where the row's frame attends to the column's.

    Example:
        >>> chunk_mask(4, 2, 0).int()
        tensor([[1, 1, 0, 0],
                [1, 1, 0, 0],
                [0, 0, 1, 1],
                [0, 0, 1, 1]], dtype=torch.int32)
    """
    if not chunk_size:
        return torch.ones(length, length, dtype=torch.bool, device=device)
    chunk = torch.arange(length, device=device) // chunk_size  # (T,)
    back = chunk[:, None] - chunk  # (T, T)
    mask = back >= 0
    return mask if left_chunks < 0 else mask & (back <= left_chunks)


def sample_chunk_size(
    length: int, sample_left: bool, largest: int = 25
) -> tuple[int, int]:
    """Draw a chunk size and left chunks for a training step (dynamic chunk training).

    A size from 1 to T - 1 is drawn; above T / 2 it means the whole utterance, else the
    chunk has up to a second (Zhang et al. 2020, arXiv 2012.05481, as WeNet does it).

    Args:
        length: T, frames of the longest utterance.
        sample_left: Draw the left chunks too; else all there are.
        largest: Encoder frames of a second.

    Returns:
        Chunk size, 0 for the whole utterance; left chunks, -1 for all.
    """
    drawn = int(torch.randint(1, max(length, 2), ()))
    if drawn > length // 2:
        return 0, -1
    size = drawn % largest + 1
    if not sample_left:
        return size, -1
    return size, int(torch.randint(0, (length - 1) // size + 1, ()))


def check_chunks(causal: bool, dynamic: bool, dynamic_left: bool, static: int) -> None:
    """Refuse chunks for convolutions that look ahead."""
    if not causal and (dynamic or static):
        raise ValueError(
            "encoder_conf.causal: convolutions that look ahead cannot stream; write "
            "'causal: true', or 'use_dynamic_chunk: false' and no static_chunk_size"
        )
    no_chunk = (
        "encoder_conf.use_dynamic_left_chunk: no effect without use_dynamic_chunk"
    )
    warn_without_effect({no_chunk: dynamic_left and not dynamic})
