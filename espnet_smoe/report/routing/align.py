"""Which modelling unit each frame belongs to, by CTC and the text.

CTC marks a unit by a spike of a frame or a few and leaves the rest to the blank. The
best path of the text says where the spikes are; a blank frame then belongs to the unit
whose spike is nearest. So the borders are halfway between two spikes: near the true
ones, not on them.
"""

from collections.abc import Sequence

import numpy as np
import torch

from espnet_smoe.inference.search.ctc_align import token_of_frame


def align(
    log_probs: torch.Tensor, units: Sequence[int], blank: int
) -> tuple[np.ndarray, np.ndarray] | None:
    """The best CTC path of a text.

    Args:
        log_probs: ``(T, V)``.
        units: L ids of the text.
        blank: Id of the blank.

    Returns:
        ``(T,)`` number of the unit, 0 to L - 1, whose spike a frame is, or -1 where it
        is blank; ``(T,)`` log-probability of the path's token. None where the text
        needs more frames than there are, or is empty.

    Example:
        >>> log_probs = torch.tensor([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1]]).log()
        >>> align(log_probs, [1], blank=0)[0]
        array([-1,  0])
    """
    if not units:
        return None
    try:
        spikes = token_of_frame(log_probs, units, blank)
    except ValueError:  # too short, or of no probability
        return None
    labels = np.array([*units, blank])[spikes]  # -1 takes the last, the blank
    scores = log_probs[range(len(labels)), labels].float().cpu().numpy()
    return spikes, scores


def nearest_unit(spikes: np.ndarray) -> np.ndarray:
    """Give each blank frame to the nearest spike, the earlier one of two as near.

    Args:
        spikes: ``(T,)`` number of the unit, or -1; from `align`.

    Returns:
        ``(T,)`` number of the unit.

    Example:
        >>> nearest_unit(np.array([-1, 0, -1, -1, 1, -1]))
        array([0, 0, 0, 1, 1, 1])
    """
    places = np.flatnonzero(spikes >= 0)
    frames = np.arange(len(spikes))
    after = np.searchsorted(places, frames).clip(max=len(places) - 1)
    before = (after - 1).clip(min=0)
    near = np.abs(places[after] - frames) < np.abs(places[before] - frames)
    return spikes[places[np.where(near, after, before)]]
