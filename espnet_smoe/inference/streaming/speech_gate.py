"""Whether somebody speaks in an utterance of a stream: noise gets no text."""

import numpy as np

from espnet_smoe.inference.audio import SAMPLE_RATE
from espnet_smoe.inference.long_form.detectors import Detector, new_activity

HISTORY_SECONDS = 30  # of the past: enough to know the noise floor by


class SpeechGate:
    """Follows one stream.

    Args:
        vad: How speech is found.

    Example:
        >>> gate = SpeechGate()
        >>> gate.accept(np.zeros(16000, dtype=np.float32))
        >>> gate.measure(16000)
        >>> gate.spoken_between(0, 16000)
        False
    """

    def __init__(self, vad: Detector = "energy") -> None:
        self._activity = new_activity(vad)
        self._pieces: list[np.ndarray] = []

    def accept(self, samples: np.ndarray) -> None:
        """Note the next samples ``(n,)`` at 16 kHz; costs nothing."""
        self._pieces.append(samples)

    def measure(self, until: int) -> None:
        """Look at what was noted up to a sample: a file may come all at once."""
        activity = self._activity
        while self._pieces and activity.samples < until:
            piece = self._pieces[0][: until - activity.samples]
            self._pieces[0] = self._pieces[0][len(piece) :]
            if not len(self._pieces[0]):
                del self._pieces[0]
            activity.accept(piece)
            activity.forget(activity.samples - HISTORY_SECONDS * SAMPLE_RATE)

    def spoken_between(self, first: int, last: int) -> bool:
        """Whether there is speech between two samples, as far as is known by now."""
        spans = self._activity.spans()
        return any(span.end > first and span.start < last for span in spans)
