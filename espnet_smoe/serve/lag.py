"""How far behind its clients a server is, as it measures itself."""

import math

HALF_LIFE = 2.0  # seconds in which what was measured counts half
SHED_FACTOR = 2.0  # times the limit at which sessions are ended
PATIENCE = 2.0  # seconds in which a server that is behind may catch up by itself
CATCHES_UP = 0.9  # of what it was behind, at most, after that time


class Lag:
    """From the audio that completes a chunk to the events of that chunk.

    Args:
        limit: Seconds above which no session is let in; infinite: none is refused.

    Example:
        >>> lag = Lag(limit=1.0)
        >>> lag.measured(1.5, now=10.0)
        False
        >>> lag.at(10.0), lag.at(12.0), lag.too_much(10.0), lag.too_much(12.0)
        (1.5, 0.75, True, False)
    """

    def __init__(self, limit: float):
        self.limit = limit
        self._seconds, self._when = 0.0, -math.inf
        self._behind: tuple[float, float] | None = None  # when, by how much

    def measured(self, seconds: float, now: float) -> bool:
        """Take a measurement.

        Args:
            seconds: Of the slowest chunk of a step.
            now: Seconds of any clock, the same in all calls.

        Returns:
            Whether it is so far behind, and does not catch up, that some sessions
            have to go for the others' sake.
        """
        self._seconds = max(seconds, self.at(now))
        self._when = now
        if seconds <= SHED_FACTOR * self.limit:
            self._behind = None
            return False
        since, before = self._behind or (now, seconds)
        if now - since < PATIENCE:
            self._behind = since, before
            return False
        self._behind = now, seconds
        return seconds > CATCHES_UP * before

    def at(self, now: float) -> float:
        """Seconds: the largest of late, as it fades."""
        return self._seconds * 0.5 ** ((now - self._when) / HALF_LIFE)

    def too_much(self, now: float) -> bool:
        """Whether another session would make it worse for those that are there."""
        return self.at(now) > self.limit
