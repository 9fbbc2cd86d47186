"""How many sessions a model serves in time, by what its rounds have taken."""

import math

FADES = 20.0  # seconds in which a round counts half
FULL = 0.9  # of the time between the chunks of a session that a round of all may take
PRIOR = 2.0  # streams squared: without rounds of other sizes, time is by the stream
STEEPEST = 0.2  # of the mean time of a stream: the least that another one costs
QUICK, MARGIN = 0.25, 1.25  # of the limit; times what the fit tells
FEWEST = 8  # rounds from which on they tell anything
UNMEASURED = 64  # sessions let in before


class Capacity:
    """A round of k streams takes ``a + b k`` seconds, fitted by least squares.

    A final waits for the round that runs and for its own: two of all sessions have to
    end within the limit.

    Args:
        period: Seconds between two chunks of a session.
        limit: Seconds that an event may be late; infinite: no number is too large.

    Example:
        >>> capacity = Capacity(period=1.0, limit=1.0)
        >>> for k in [2, 10] * 4:
        ...     capacity.measured(k, 0.1 + 0.01 * k, now=0.0)
        >>> 37 < capacity.most < 43
        True
    """

    def __init__(self, period: float, limit: float):
        self.period, self.limit = period, limit
        self._rounds = 0
        self._when = -math.inf
        self._weight = self._k = self._t = self._kk = self._kt = 0.0

    def measured(self, streams: int, seconds: float, now: float) -> None:
        """Take a round.

        Args:
            streams: In it.
            seconds: That it took.
            now: Seconds of any clock, the same in all calls.
        """
        kept = 0.5 ** ((now - self._when) / FADES)
        self._rounds, self._when = self._rounds + 1, now
        self._weight = kept * self._weight + 1
        self._k = kept * self._k + streams
        self._t = kept * self._t + seconds
        self._kk = kept * self._kk + streams**2
        self._kt = kept * self._kt + streams * seconds

    def admits(self, sessions: int, late: float) -> bool:
        """Whether so many get their finals in time.

        Args:
            sessions: The one that asks among them.
            late: Seconds that the model was late: while it is quick, it is believed to
                serve a few more than the fit gives.
        """
        quick = self.known and late < QUICK * self.limit
        return sessions <= max(1.0, self.most * (MARGIN if quick else 1.0))

    @property
    def known(self) -> bool:
        """Whether enough was measured."""
        return self._rounds >= FEWEST

    @property
    def most(self) -> float:
        """Sessions that end in time; `UNMEASURED` while too little is known."""
        if math.isinf(self.limit):
            return math.inf
        if not self.known:
            return UNMEASURED
        k, t = self._k / self._weight, self._t / self._weight
        of_one = t / k
        if of_one <= 0:
            return math.inf
        spread = self._kk - self._weight * k * k
        together = self._kt - self._weight * k * t
        slope = (together + PRIOR * of_one) / (max(spread, 0.0) + PRIOR)
        slope = min(max(slope, STEEPEST * of_one), of_one)  # the rest is per round
        allowed = min(self.limit / 2, FULL * self.period)
        return max(1.0, (allowed - (t - slope * k)) / slope)
