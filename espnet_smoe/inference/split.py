"""Long recordings in pieces that a model can take, cut where it is quietest."""

import numpy as np

from espnet_smoe.inference.audio import SAMPLE_RATE

LONGEST_SECONDS = 30.0  # longest audio in training (S-MoE, Section 3.2)
SEARCH_SECONDS = 10.0  # a cut lies within the last ten seconds of a piece
FRAME_SECONDS = 0.05


def split_audio(
    wave: np.ndarray, longest_seconds: float = LONGEST_SECONDS
) -> list[tuple[int, int]]:
    """Cut a recording into pieces.

    Args:
        wave: ``(samples,)`` at 16 kHz.
        longest_seconds: Longest piece.

    Returns:
        First sample, and the sample behind the last, of each piece. They join without
        gaps.

    Example:
        >>> split_audio(np.zeros(16000))
        [(0, 16000)]
    """
    longest = int(longest_seconds * SAMPLE_RATE)
    window = min(int(SEARCH_SECONDS * SAMPLE_RATE), longest // 2)
    pieces, start = [], 0
    while len(wave) - start > longest:
        # the rest must not become a piece too short to be recognised
        stop = min(start + longest, len(wave) - SAMPLE_RATE // 2)
        cut = stop - window + _quietest(wave[stop - window : stop])
        pieces.append((start, cut))
        start = cut
    return [*pieces, (start, len(wave))]


def _quietest(wave: np.ndarray) -> int:
    """Middle of the frame with the least energy; the last of equals."""
    size = int(FRAME_SECONDS * SAMPLE_RATE)
    frames = wave[: len(wave) // size * size].reshape(-1, size)
    energy = np.square(frames, dtype=np.float64).sum(axis=1)
    return (len(energy) - 1 - int(energy[::-1].argmin())) * size + size // 2
