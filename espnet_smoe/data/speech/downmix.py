"""Several channels to one, so that nothing that was said is lost.

The mean of channels cancels what they hold in opposite phase: a balanced line or a
microphone with swapped wires gives silence. Here each channel is turned to agree with
those before it, tenth of a second by tenth of a second, and then they are averaged.
Channels that agree, or have nothing to do with each other (a caller on each), are
averaged as they are.
"""

import numpy as np

BLOCK_SECONDS = 0.1
OPPOSITE = 0.3  # correlation beyond which a channel is turned, or turned back
FADE_SECONDS = 0.01  # of the turn, lest it clicks


class Downmix:
    """Mix a recording block by block; what it gives does not depend on their size.

    Args:
        rate: Hz.

    Example:
        >>> left = np.sin(np.arange(3200, dtype=np.float32))
        >>> mono = downmix(np.stack([left, -left], axis=1), 16000)
        >>> bool(np.allclose(mono, left))
        True
    """

    def __init__(self, rate: float):
        self.block = max(1, round(BLOCK_SECONDS * rate))
        self.fade = max(1, round(FADE_SECONDS * rate))
        self._waiting: np.ndarray | None = None
        self._signs: np.ndarray | None = None

    def __call__(self, samples: np.ndarray, last: bool = False) -> np.ndarray:
        """Mix the next samples.

        Args:
            samples: ``(n, channels)`` float32, any n.
            last: None follow; those that wait for a whole block come out, too.

        Returns:
            ``(m,)`` float32 of the whole blocks that there are now.
        """
        if samples.shape[1] == 1:
            return samples[:, 0]
        if self._waiting is not None:
            samples = np.concatenate([self._waiting, samples])
        stop = len(samples) if last else len(samples) // self.block * self.block
        self._waiting = samples[stop:].copy()
        mixed = [
            self._mix(samples[start : min(start + self.block, stop)])
            for start in range(0, stop, self.block)
        ]
        return np.concatenate([np.zeros(0, np.float32), *mixed])

    def _mix(self, block: np.ndarray) -> np.ndarray:
        """One block ``(n, C)`` to ``(n,)``."""
        before = self._signs
        first = before is None
        signs = np.ones(block.shape[1], np.float32) if first else before.copy()
        total = block[:, 0]
        for c in range(1, block.shape[1]):
            alike = correlation(total, block[:, c])
            if abs(alike) > OPPOSITE:
                signs[c] = np.sign(alike)
            total = total + signs[c] * block[:, c]
        self._signs = signs
        if first or (signs == before).all():
            if (signs == 1).all():  # as everybody averages, to the last bit
                return block.mean(axis=1, dtype=np.float32)
            return (block * signs).mean(axis=1, dtype=np.float32)
        ramp = np.ones((len(block), 1), np.float32)
        fade = min(self.fade, len(block))
        ramp[:fade, 0] = np.linspace(0, 1, fade, dtype=np.float32)
        weights = before + ramp * (signs - before)  # (n, C)
        return (block * weights).mean(axis=1, dtype=np.float32)


def downmix(samples: np.ndarray, rate: float) -> np.ndarray:
    """Mix a whole recording.

    Args:
        samples: ``(n, channels)`` float32.
        rate: Hz.

    Returns:
        ``(n,)`` float32.
    """
    return Downmix(rate)(samples, last=True)


def correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Between -1 and 1; 0 where one of them is silent or not finite."""
    # a constant offset says nothing of phase
    one, other = (x - x.mean(dtype=np.float64) for x in (one, other))
    power = np.dot(one, one) * np.dot(other, other)
    if not 0 < power < np.inf:
        return 0.0
    return float(np.dot(one, other) / np.sqrt(power))
