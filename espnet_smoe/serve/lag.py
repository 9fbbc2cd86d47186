"""How far behind its clients a server is, as it measures itself."""

import math

HALF_LIFE = 2.0  # seconds in which what was measured counts half
SHED_FACTOR = 2.0  # times the limit at which sessions are ended
PATIENCE = 1.0  # seconds in which a server that is behind may catch up by itself
MOST_PART = 0.5  # of the sessions that are ended at once
LEAST_LEFT = 0.75  # at most, of the sessions, where some have to go
RECOVERY = 10.0  # seconds in which sessions that are not too many catch up
CATCHES_UP = 0.9  # of what it was behind, at most, after that time


class Lag:
    """From the audio that completes a chunk to the events of that chunk.

    Args:
        limit: Seconds above which no session is let in; infinite: none is refused.

    Example:
        >>> lag = Lag(limit=1.0)
        >>> lag.measured(1.5, now=10.0)
        0.0
        >>> lag.at(10.0), lag.at(12.0), lag.is_overloaded(10.0), lag.is_overloaded(12.0)
        (1.5, 0.75, True, False)
    """

    def __init__(self, limit: float):
        self.limit = limit
        self._seconds, self._when = 0.0, -math.inf
        self._behind: tuple[float, float] | None = None  # when, by how much

    def measured(
        self, seconds: float, now: float, sessions: int = 1, most: float = 0.0
    ) -> float:
        """Take a measurement.

        Args:
            seconds: Of the slowest chunk of a step.
            now: Seconds of any clock, the same in all calls.
            sessions: That are open.
            most: So many of them would be served in time, as far as is known.

        Returns:
            The part of the sessions that has to go for the others' sake: 0 unless it
            is far behind and does not catch up.
        """
        self._seconds = max(seconds, self.at(now))
        self._when = now
        allowed = SHED_FACTOR * self.limit
        if seconds <= allowed:
            self._behind = None
            return 0.0
        since, before = self._behind or (now, seconds)
        # a burst is worked off, where the sessions are not too many
        if now - since < (RECOVERY if sessions <= most else PATIENCE):
            self._behind = since, before
            return 0.0
        self._behind = now, seconds
        if seconds <= CATCHES_UP * before:
            return 0.0
        served = max(most / sessions, allowed / seconds)
        return min(MOST_PART, 1 - min(served, LEAST_LEFT))

    def at(self, now: float) -> float:
        """Seconds: the largest of late, as it fades."""
        return self._seconds * 0.5 ** ((now - self._when) / HALF_LIFE)

    def is_overloaded(self, now: float) -> bool:
        """Whether another session would make it worse for those that are there."""
        return self.at(now) > self.limit
