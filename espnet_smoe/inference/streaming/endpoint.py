"""When an utterance of a stream has ended: by its blanks, or by its length."""

from enum import Enum

import numpy as np

from espnet_smoe.inference.streaming.options import StreamOptions


class Ending(Enum):
    """What becomes of an utterance."""

    NOT_YET = "not yet"
    SPOKEN = "spoken"  # its text is final
    UNSPOKEN = "unspoken"  # there is no text; the encoder begins anew


class Endpoint:
    """Follows one utterance.

    Args:
        options: The three durations.
        frame_seconds: Of an encoder frame.
        blank: Id of the blank.

    Attributes:
        frames: Encoder frames so far.
        first_spoken: The first frame that is no blank; None where all are.

    Example:
        >>> endpoint = Endpoint(StreamOptions(silence_seconds=0.08), 0.04)
        >>> endpoint.advance(np.log([[0.1, 0.9], [0.9, 0.1], [0.8, 0.2]]))
        >>> endpoint.ending(has_text=True)
        <Ending.SPOKEN: 'spoken'>
    """

    def __init__(self, options: StreamOptions, frame_seconds: float, blank: int = 0):
        self.options, self.frame_seconds, self.blank = options, frame_seconds, blank
        self.frames = 0
        self.first_spoken: int | None = None
        self._last_spoken = -1

    def advance(self, log_probs: np.ndarray) -> None:
        """Look at the next frames ``(T, V)``."""
        spoken = np.flatnonzero(log_probs.argmax(axis=1) != self.blank)
        if len(spoken):
            if self.first_spoken is None:
                self.first_spoken = self.frames + int(spoken[0])
            self._last_spoken = self.frames + int(spoken[-1])
        self.frames += len(log_probs)

    def ending(self, has_text: bool) -> Ending:
        """Whether the utterance ends behind the frames so far.

        Args:
            has_text: Whether the search has found any.
        """
        options = self.options
        too_long = self._lasts(self.frames, options.longest_seconds)
        if has_text:
            blanks = self.frames - 1 - self._last_spoken
            if too_long or self._lasts(blanks, options.silence_seconds):
                return Ending.SPOKEN
        elif too_long or self._lasts(self.frames, options.start_seconds):
            return Ending.UNSPOKEN
        return Ending.NOT_YET

    def _lasts(self, frames: int, seconds: float) -> bool:
        # half a frame of mercy: 20 frames of 0.04 s are 0.8 s, whatever floats say
        return frames * self.frame_seconds > seconds - self.frame_seconds / 2
