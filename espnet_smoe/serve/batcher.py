"""Many streams, one model: all that are ready make a step together.

Audio waits in a `Feed` a session. Between two steps the event loop hands it to the
streams; a step of all that then have a chunk runs in a thread of its own, so the loop
stays free. Whatever came meanwhile makes the next batch: batches are small, and answers
quick, while there is little to do, and grow when there is much. When the model falls
behind for good, sessions are ended until it keeps up: those that send faster than
speech first, then those that came last.
"""

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from espnet_smoe.data.speech.audio import SAMPLE_RATE
from espnet_smoe.serve.capacity import Capacity, RoundCosts
from espnet_smoe.serve.lag import Lag
from espnet_smoe.serve.protocol import BROKEN, FULL, SessionError

if TYPE_CHECKING:
    from espnet_smoe.inference.streaming.recognizer import (
        Event,
        Stream,
        StreamingRecognizer,
    )

MOST_EVENTS = 64  # unread by the client: its stream then waits
PORTION = 1600  # samples, at least, handed to a stream at once where there are as many
AHEAD = 1.0  # seconds of audio before its time that make a client faster than speech
type Outcome = list[Event] | Exception


class Feed:
    """One session's way into the model: audio in, events out, both bounded.

    Args:
        stream: Of the recognizer.
        backlog: Seconds of audio that may wait; who puts more waits too.
        wake: Called when there is something to do.
        clock: Tells seconds.

    Attributes:
        received: Samples taken in.
        due: When the audio of the chunk that is now ready was all there.
    """

    def __init__(
        self,
        stream: "Stream",
        backlog: float,
        wake: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ):
        self.stream = stream
        self.received = 0
        self.due = 0.0
        self._clock = clock
        self._begun: float | None = None
        self._backlog = backlog * SAMPLE_RATE  # samples; may be infinite
        self._wake = wake
        self._audio: deque[tuple[np.ndarray, float]] = deque()  # and when it came
        self._waiting = 0  # samples
        self._room = asyncio.Event()
        self._events: deque[Event] = deque()
        self._news = asyncio.Event()
        self._ended = self._finished = self._over = False
        self._error: Exception | None = None
        self._ended_at = 0.0
        self._stalled = False  # by events that the client does not read

    # -- the session's side ---------------------------------------------------------

    @property
    def ended(self) -> bool:
        """Whether more audio would be dropped."""
        return self._ended

    @property
    def farewell(self) -> str:
        """Why a session is ended that did nothing wrong, and where to go on."""
        seconds = (self.received - self._waiting) / SAMPLE_RATE
        return (
            f"the server is too busy and has dropped what came after {seconds:.1f} s "
            "of audio; try again later with the rest"
        )

    @property
    def fast(self) -> bool:
        """Whether the client sends faster than anybody speaks."""
        if self._begun is None:
            return False
        spoken = self._clock() - self._begun
        return self.received / SAMPLE_RATE > spoken + AHEAD

    @property
    def late(self) -> float | None:
        """Seconds since its chunk was due; None if it waits for its own client."""
        return None if self.fast or self._stalled else self._clock() - self.due

    async def put(self, samples: np.ndarray) -> None:
        """Add audio, as soon as there is room.

        Args:
            samples: ``(samples,)`` float32 at 16 kHz. Dropped when the feed has ended.
        """
        while self._waiting >= self._backlog and not self._ended:
            self._room.clear()
            await self._room.wait()
        if len(samples) and not self._ended:
            self.received += len(samples)
            self._waiting += len(samples)
            now = self._clock()
            self._begun = now if self._begun is None else self._begun
            self._audio.append((samples, now))
            self._wake()

    def end(self, error: Exception | None = None) -> None:
        """No more audio follows; what waits is still recognised.

        Args:
            error: What `events` shall raise after the last event, unless an
                earlier end has the reason.
        """
        self._error = self._error or error
        if not self._ended:
            self._ended = True
            self._ended_at = self._clock()
            self._room.set()
            self._wake()

    def fail(self, error: Exception) -> None:
        """Stop at once; what waits is dropped.

        Args:
            error: What `events` shall raise.
        """
        if not self._over:
            self._error = error
            self._close()

    async def events(self) -> AsyncIterator["Event"]:
        """Yield the events of the stream until it is done.

        Raises:
            Exception: What `end` or `fail` was given.
        """
        while True:
            while self._events:
                yield self._events.popleft()
                self._wake()
            if self._over:
                break
            self._news.clear()
            await self._news.wait()
        if self._error is not None:
            raise self._error

    # -- the batcher's side ---------------------------------------------------------

    def advance(self) -> bool:
        """Hand over audio until the stream has a chunk; not while a step runs.

        Returns:
            Whether it has, and its events have room.
        """
        if self._over:
            return False
        if len(self._events) >= MOST_EVENTS:
            self._stalled = True
            return False
        try:
            while self._audio and not self.stream.ready:
                self.stream.accept_waveform(self._portion())
            if self._ended and not self._audio and not self._finished:
                self._finished = True
                self.due = self._ended_at
                self.stream.finish()
        except Exception as error:  # of any type: it must end this stream only
            self.deliver(error)
            return False
        if self._waiting < self._backlog:
            self._room.set()
        if not self.stream.ready:
            self._stalled = False
            if self._finished:
                self._close()
        return not self._over and self.stream.ready

    def _portion(self) -> np.ndarray:
        """Take some audio that waits: many small pieces as one."""
        pieces, size = [], 0
        while self._audio and size < PORTION:
            samples, self.due = self._audio.popleft()
            pieces.append(samples)
            size += len(samples)
        self._waiting -= size
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)

    def deliver(self, outcome: Outcome) -> None:
        """Take what a step has brought."""
        if self._over:
            return
        if isinstance(outcome, Exception):
            message = f"the model failed on this stream: {outcome}"
            self.fail(SessionError(message, BROKEN))
        elif outcome:
            self._events.extend(outcome)
            self._news.set()

    def _close(self) -> None:
        self._ended = self._over = True
        self._audio.clear()
        self._room.set()
        self._news.set()


class Batcher:
    """Steps the streams of all feeds.

    Args:
        recognizer: The model.
        longest_lag: Seconds, see `Lag`.
        clock: Tells seconds.
        counted: Told of each round its size, and the seconds of audio and of work.
        costs: Of its rounds, see `Capacity`.

    Attributes:
        feeds: Those that are open, in the order in which they came.
    """

    def __init__(
        self,
        recognizer: "StreamingRecognizer",
        longest_lag: float = math.inf,
        clock: Callable[[], float] = time.monotonic,
        counted: Callable[[int, float, float], None] = lambda size, audio, work: None,
        costs: RoundCosts | None = None,
    ):
        self.recognizer = recognizer
        self._counted = counted
        self.feeds: dict[Feed, None] = {}
        self._lag, self._clock = Lag(longest_lag), clock
        self._capacity = Capacity(recognizer.chunk_seconds, longest_lag, costs)
        self._work = asyncio.Event()

    @contextmanager
    def open(self, backlog: float) -> Iterator[Feed]:
        """A new stream, forgotten at the end of the block.

        Args:
            backlog: Seconds of audio that may wait.
        """
        feed = Feed(
            self.recognizer.create_stream(), backlog, self._work.set, self._clock
        )
        self.feeds[feed] = None
        try:
            yield feed
        finally:
            del self.feeds[feed]

    @property
    def lag(self) -> float:
        """Seconds that the model was late, as it fades."""
        return self._lag.at(self._clock())

    @property
    def behind(self) -> float:
        """Seconds that the model is late, where that is too much for more sessions."""
        overloaded = self.feeds and self._lag.is_overloaded(self._clock())
        return self.lag if overloaded else 0.0

    @property
    def full(self) -> bool:
        """Whether one session more would keep all of them from being in time."""
        return not self._capacity.admits(len(self.feeds) + 1, self.lag)

    async def run(self) -> None:
        """Work until cancelled."""
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(1, "recognizer") as worker:
            while True:
                await self._work.wait()
                self._work.clear()
                while await self._round(loop, worker):
                    pass

    async def _round(
        self, loop: asyncio.AbstractEventLoop, worker: ThreadPoolExecutor
    ) -> bool:
        """Bring the streams that are ready on by a chunk; tell whether one was."""
        begun = self._clock()
        ready = [feed for feed in self.feeds if feed.advance()]
        if ready:
            outcomes = await loop.run_in_executor(worker, self._step, ready)
            for feed, outcome in zip(ready, outcomes):
                feed.deliver(outcome)
            self._measure(ready, begun)
        return bool(ready)

    def _measure(self, stepped: Sequence[Feed], begun: float) -> None:
        """How late the events of a round were; sheds load where that is hopeless."""
        now = self._clock()
        late = [feed.late for feed in stepped]
        # where audio may wait, the round alone tells
        self._capacity.measured(len(stepped), now - begun, now)
        audio = len(stepped) * self.recognizer.chunk_seconds
        self._counted(len(stepped), audio, now - begun)
        part = self._lag.measured(
            max([now - begun, *filter(None, late)]),
            now,
            sessions=len(self.feeds),
            most=self._capacity.most if self._capacity.known else 0.0,
        )
        if part:
            open_ones = [feed for feed in self.feeds if not feed.ended]
            newest = sorted(reversed(open_ones), key=lambda feed: not feed.fast)
            # one stays: with a model slower than speech it is late, but served
            for feed in newest[: min(math.ceil(part * len(newest)), len(newest) - 1)]:
                feed.fail(SessionError(feed.farewell, FULL))

    def _step(self, feeds: Sequence[Feed]) -> list[Outcome]:
        """Events of each stream; where a batch fails, stream by stream."""
        try:
            return self.recognizer.decode_streams([feed.stream for feed in feeds])
        except Exception as error:  # of any type, such as too little memory
            if len(feeds) == 1:
                logging.exception("the model failed on a stream")
                return [error]
            logging.warning("a batch of %d failed, now one by one", len(feeds))
            return [outcome for feed in feeds for outcome in self._step([feed])]
