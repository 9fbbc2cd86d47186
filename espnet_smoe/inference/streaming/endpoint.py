"""When an utterance of a stream has ended: by its blanks, or by its length."""

from enum import Enum

import numpy as np

from espnet_smoe.inference.streaming.options import StreamOptions


class Ending(Enum):
    """What becomes of an utterance."""

    NOT_YET = "not yet"
    FINAL = "final"  # its text is final
    RESTART = "restart"  # there is no text; the encoder begins anew


class Endpoint:
    """Follows one utterance.

    Args:
        options: The three durations.
        frame_seconds: Of an encoder frame.
        blank: Id of the blank.

    Attributes:
        frames: Encoder frames so far.
        first_nonblank: The first frame that is no blank; None where all are.

    Example:
        >>> endpoint = Endpoint(StreamOptions(silence_seconds=0.08), 0.04)
        >>> endpoint.advance(np.log([[0.1, 0.9], [0.9, 0.1], [0.8, 0.2]]))
        >>> endpoint.ending(has_text=True)
        <Ending.FINAL: 'final'>
    """

    def __init__(self, options: StreamOptions, frame_seconds: float, blank: int = 0):
        self.options, self.frame_seconds, self.blank = options, frame_seconds, blank
        self.frames = 0
        self.first_nonblank: int | None = None
        self._last_nonblank = -1

    def advance(self, log_probs: np.ndarray) -> None:
        """Look at the next frames ``(T, V)``."""
        spoken = np.flatnonzero(log_probs.argmax(axis=1) != self.blank)
        if len(spoken):
            if self.first_nonblank is None:
                self.first_nonblank = self.frames + int(spoken[0])
            self._last_nonblank = self.frames + int(spoken[-1])
        self.frames += len(log_probs)

    def ending(self, has_text: bool) -> Ending:
        """Whether the utterance ends behind the frames so far.

        Args:
            has_text: Whether the search has found any.
        """
        options = self.options
        too_long = self._lasts(self.frames, options.longest_seconds)
        if has_text:
            blanks = self.frames - 1 - self._last_nonblank
            if too_long or self._lasts(blanks, options.silence_seconds):
                return Ending.FINAL
        elif too_long or self._lasts(self.frames, options.start_seconds):
            return Ending.RESTART
        return Ending.NOT_YET

    def _lasts(self, frames: int, seconds: float) -> bool:
        # tolerance of half a frame against rounding: 20 frames of 0.04 s are 0.8 s
        return frames * self.frame_seconds > seconds - self.frame_seconds / 2
