"""Whether somebody speaks in an utterance of a stream: noise gets no text."""

import numpy as np

from espnet_smoe.inference.audio import SAMPLE_RATE
from espnet_smoe.inference.speech_activity import SpeechActivity

KEPT_SECONDS = 30  # of the past: enough to know the noise floor by


class SpeechGate:
    """Follows one stream.

    Example:
        >>> gate = SpeechGate()
        >>> gate.accept(np.zeros(16000, dtype=np.float32))
        >>> gate.measure()
        >>> gate.spoken_since(0)
        False
    """

    def __init__(self) -> None:
        self._activity = SpeechActivity()
        self._pieces: list[np.ndarray] = []

    def accept(self, samples: np.ndarray) -> None:
        """Note the next samples ``(n,)`` at 16 kHz; costs nothing."""
        self._pieces.append(samples)

    def measure(self) -> None:
        """Look at what was noted."""
        pieces, self._pieces = self._pieces, []
        if pieces:
            self._activity.accept(np.concatenate(pieces))
            self._activity.forget(self._activity.samples - KEPT_SECONDS * SAMPLE_RATE)

    def spoken_since(self, sample: int) -> bool:
        """Whether there is speech behind a sample, as far as is known by now."""
        return any(span.end > sample for span in self._activity.spans())
