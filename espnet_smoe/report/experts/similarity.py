"""Similarity of the experts of a layer, by their weights and by their outputs.

Weights: two experts that started apart may compute the same with their hidden units in
another order, so a cosine near 0 proves nothing; experts that started as copies keep
a cosine near 1 until they are trained apart. Outputs on the same input do not depend on
the order of hidden units.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import nn


@torch.inference_mode()
def similarity(
    experts: Sequence[nn.Module], frames: torch.Tensor
) -> dict[str, np.ndarray]:
    """Compare each expert of a layer with each other.

    Args:
        experts: E modules of one shape.
        frames: ``(N, D)`` inputs of the layer.

    Returns:
        Measure -> ``(E, E)``: ``<weight> cosine``, ``<weight> diff`` (norm of the
        difference over the mean norm) for each matrix; ``output cosine`` (mean over the
        frames), ``output CKA`` (linear, Kornblith et al. 2019), ``output diff``.

    Example:
        >>> expert = nn.Linear(3, 3)
        >>> found = similarity([expert, expert], torch.randn(5, 3))
        >>> round(float(found["output CKA"][0, 1]), 4)
        1.0
    """
    measures = {}
    for name, first in experts[0].named_parameters():
        if first.dim() < 2:
            continue
        weights = [e.get_parameter(name).double().flatten() for e in experts]
        short = name.removesuffix(".weight")
        measures[f"{short} cosine"] = _pairs(weights, _cosine)
        measures[f"{short} diff"] = _pairs(weights, _distance)
    outputs = [expert(frames).double() for expert in experts]  # (N, D) each
    measures["output cosine"] = _pairs(outputs, _cosine)
    measures["output CKA"] = _pairs(outputs, linear_cka)
    measures["output diff"] = _pairs(outputs, _distance)
    return measures


def mean_of_pairs(matrix: np.ndarray) -> float:
    """Mean over pairs of different experts of a symmetric ``(E, E)``."""
    return float(matrix[np.triu_indices(len(matrix), 1)].mean())


def linear_cka(x: torch.Tensor, y: torch.Tensor) -> float:
    """Linear centred kernel alignment of ``(N, D)`` and ``(N, D')``.

    1 where one is the other turned, scaled or shifted, near 0 where they have nothing
    in common; NaN where one of them is constant.
    """
    x, y = x - x.mean(dim=0), y - y.mean(dim=0)
    norm = (x.T @ x).norm() * (y.T @ y).norm()
    return float((x.T @ y).square().sum() / norm)


def _cosine(x: torch.Tensor, y: torch.Tensor) -> float:
    """Of vectors, or the mean over the rows of matrices."""
    return float(torch.cosine_similarity(x, y, dim=-1).mean())


def _distance(x: torch.Tensor, y: torch.Tensor) -> float:
    """Norm of the difference over the mean norm: 0 equal, 1.41 orthogonal."""
    return float((x - y).norm() / ((x.norm() + y.norm()) / 2))


def _pairs(
    items: Sequence[torch.Tensor],
    measure: Callable[[torch.Tensor, torch.Tensor], float],
) -> np.ndarray:
    """A symmetric measure of every two, ``(E, E)``."""
    matrix = np.empty((len(items), len(items)))
    for i, x in enumerate(items):
        for j in range(i + 1):
            matrix[i, j] = matrix[j, i] = measure(x, items[j])
    return matrix
