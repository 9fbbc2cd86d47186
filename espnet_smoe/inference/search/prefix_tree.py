"""Hypotheses that begin alike, as one tree: what they share is decoded once.

An n-best list is mostly one text with a few words changed. A decoder's state after a
prefix is the same in all hypotheses that have the prefix, so the nodes of the tree are
the positions of one sequence in which each sees its ancestors only.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from espnet_smoe.decoder.transformer import SMoETransformerDecoder


@dataclass(frozen=True)
class PrefixTree:
    """The prefixes of one utterance's texts, M of them; the empty one is node 0.

    Attributes:
        parents: Nodes, M of them, each before its children; the root is its own.
        tokens: Last token of each prefix; 0 at the root.
        depths: Tokens of each prefix.
        ends: Node of each text.
    """

    parents: list[int]
    tokens: list[int]
    depths: list[int]
    ends: list[int]

    @classmethod
    def of(cls, texts: Sequence[Sequence[int]]) -> "PrefixTree":
        """Join texts where they begin alike.

        Example:
            >>> tree = PrefixTree.of([(5, 6, 7), (5, 8), ()])
            >>> tree.parents, tree.tokens, tree.ends
            ([0, 0, 1, 2, 1], [0, 5, 6, 7, 8], [3, 4, 0])
        """
        numbers: dict[tuple[int, int], int] = {}
        tree = cls([0], [0], [0], [])
        for text in texts:
            node = 0
            for depth, token in enumerate(text, 1):
                child = numbers.setdefault((node, token), len(tree))
                if child == len(tree):
                    tree.parents.append(node)
                    tree.tokens.append(token)
                    tree.depths.append(depth)
                node = child
            tree.ends.append(node)
        return tree

    def __len__(self) -> int:
        """M."""
        return len(self.parents)

    def paths(self, size: int) -> np.ndarray:
        """Which nodes lie on the way to each: ``(size, size)``, size at least M.

        Each lies on its own; those from M on, which are padding, on no other.
        """
        paths = np.eye(size, dtype=bool)
        for node, parent in enumerate(self.parents):
            paths[node] |= paths[parent]  # which is whole: it comes before
        return paths


def decode_trees(
    decoder: SMoETransformerDecoder,
    encoded: torch.Tensor,
    lengths: torch.Tensor,
    trees: Sequence[PrefixTree],
    sos: int,
) -> torch.Tensor:
    """The decoder's last hidden layer after each prefix.

    Args:
        decoder: Not training.
        encoded: Encoder's output ``(B, T, D)``.
        lengths: ``(B,)`` frames.
        trees: One an utterance.
        sos: Begins every text.

    Returns:
        ``(B, M, D)``, ready for the output layer; M is that of the largest tree, others
        are padded.
    """
    device = encoded.device
    sizes = torch.tensor([len(tree) for tree in trees], device=device)
    size = max(len(tree) for tree in trees)
    paths = torch.from_numpy(np.stack([tree.paths(size) for tree in trees])).to(device)
    tokens, depths = _padded([(tree.tokens, tree.depths) for tree in trees], size)
    tokens[:, 0] = sos
    routing = decoder.route(tokens.to(device), sizes)
    cache = decoder.batch_init_state(encoded, lengths)
    # nodes of one depth are at one position, in whatever branch they stand
    x = _embed(decoder, tokens.to(device), depths.to(device))  # (B, M, D)
    for layer, memory in zip(decoder.decoders, cache.memory):
        x, _ = layer(x, None, memory, cache.memory_mask, routing, mask=paths)
    return decoder.after_norm(x) if decoder.normalize_before else x


def _padded(
    rows: Sequence[tuple[list[int], list[int]]], size: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Both lists of each row, filled up with zeros: ``(B, size)`` each."""
    filled = np.zeros((len(rows), 2, size), dtype=np.int64)
    for row, pair in zip(filled, rows):
        row[:, : len(pair[0])] = pair
    both = torch.from_numpy(filled)
    return both[:, 0], both[:, 1]


def _embed(
    decoder: SMoETransformerDecoder, tokens: torch.Tensor, depths: torch.Tensor
) -> torch.Tensor:
    """Tokens ``(B, M)`` at the positions that their prefixes end at: ``(B, M, D)``."""
    positions = decoder.embed[-1]
    x = decoder.embed[:-1](tokens)
    positions.extend_pe(x.new_empty(()).expand(1, int(depths.max()) + 1))
    return x * positions.xscale + positions.pe[0, depths]
