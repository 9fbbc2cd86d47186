"""How many sessions a model serves in time, by what its rounds have taken."""

import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from espnet_smoe.data.speech.audio import SAMPLE_RATE

if TYPE_CHECKING:
    from espnet_smoe.inference.streaming.recognizer import StreamingRecognizer

FADES = 20.0  # seconds in which a round counts half
FULL = 0.9  # of the time between the chunks of a session that a round of all may take
PRIOR = 2.0  # streams squared: what rounds of other sizes have to outweigh
STEEPEST = 0.2  # of the mean time of a stream: the least that another one costs
QUICK, MARGIN = 0.25, 1.25  # of the limit; times what the fit tells
FEWEST = 8  # rounds from which on they tell anything
UNMEASURED = 64  # sessions let in before
TRIED_SIZES, TRIES = (1, 8), 4  # streams of a round, rounds, before anybody comes
LOUDNESS = 0.1  # of the noise that is heard then
type RoundCosts = tuple[float, float]


def round_costs(
    recognizer: "StreamingRecognizer", clock: Callable[[], float] = time.perf_counter
) -> RoundCosts:
    """What rounds of two sizes take: so a server knows it before it has had any.

    Args:
        recognizer: Whose streams to step, with noise.
        clock: Tells seconds.

    Returns:
        Seconds of a round, whatever is in it; and of each stream in it.
    """
    piece = np.random.default_rng(0).normal(0, LOUDNESS, SAMPLE_RATE // 10)
    least = []
    for size in TRIED_SIZES:
        streams = [recognizer.create_stream() for _ in range(size)]
        times = []
        for _ in range(TRIES):
            for stream in streams:
                while not stream.ready:
                    stream.accept_waveform(piece.astype(np.float32))
            begun = clock()
            recognizer.decode_streams(streams)
            times.append(clock() - begun)
        least.append(min(times))  # others of this machine may have slowed the rest
    few, many = TRIED_SIZES
    of_stream = max(0.0, least[1] - least[0]) / (many - few)
    return max(0.0, least[0] - few * of_stream), of_stream


class Capacity:
    """A round of k streams takes ``a + b k`` seconds, fitted by least squares.

    A final waits for the round that runs and for its own: two of all sessions have to
    end within the limit.

    Args:
        period: Seconds between two chunks of a session.
        limit: Seconds that an event may be late; infinite: no number is too large.
        costs: As `round_costs` measures them; None: nobody has. Their ratio is what is
            believed until rounds of several sizes tell; how quick the model is, any do.

    Example:
        >>> capacity = Capacity(period=1.0, limit=1.0)
        >>> for k in [2, 10] * 4:
        ...     capacity.measured(k, 0.1 + 0.01 * k, now=0.0)
        >>> 37 < capacity.most < 43
        True
    """

    def __init__(self, period: float, limit: float, costs: RoundCosts | None = None):
        self.period, self.limit = period, limit
        self._per_round, self._per_stream = costs if costs and any(costs) else (0, 1)
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
        known = t * self._per_stream / (self._per_round + self._per_stream * k)
        allowed = min(self.limit / 2, FULL * self.period)
        # costs of the start let more in than these rounds alone tell of, never fewer:
        # a machine that others slow for a while looks as if each round cost much
        found = 1.0
        for prior in (of_one, known):
            slope = (together + PRIOR * prior) / (max(spread, 0.0) + PRIOR)
            slope = min(max(slope, STEEPEST * of_one), of_one)  # the rest is per round
            found = max(found, (allowed - (t - slope * k)) / slope)
        return found
