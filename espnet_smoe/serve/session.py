"""One connection: audio from the client to its feed, events back to the client."""

import asyncio
import json
import logging
import math
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np

from espnet_smoe.data.speech.audio import SAMPLE_RATE
from espnet_smoe.serve.batcher import Batcher, Feed
from espnet_smoe.serve.protocol import DONE, FULL, LIMIT, Incoming, SessionError

if TYPE_CHECKING:
    from websockets.asyncio.server import ServerConnection

CLOSE_SECONDS = 5  # that a client may take to answer a close
LONGEST_REASON = 120  # bytes in a close frame
SIGN_OF_LIFE = SAMPLE_RATE // 10  # samples that end a silence; fewer add up
LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Limits:
    """What one server bears.

    Attributes:
        sessions: At the same time.
        seconds: Of audio a session; infinite: no limit.
        backlog: Seconds of audio of a session that may wait for the model; infinite:
            no limit.
        duration: Seconds that a session may last, whatever is sent; infinite: no limit.
        idle: Seconds that a client may send no audio, or not read what it is sent.
        frames: A second that are read of a client, pings included.
        bytes: A second that are read of a client.
        lag: Seconds that the model may be late and sessions still be let in; at twice
            as much sessions are ended. Infinite: never.
        grace: Seconds that sessions have to finish in when the server stops.

    Raises:
        ValueError: One is not above 0, or the audio less than one sample.
    """

    sessions: int = 100
    seconds: float = 3600.0
    backlog: float = 5.0
    duration: float = 7200.0
    idle: float = 60.0
    frames: float = 1000.0
    bytes: float = 4e6
    lag: float = 1.0
    grace: float = 10.0

    def __post_init__(self) -> None:
        for limit in fields(self):
            value = getattr(self, limit.name)
            if not value > 0:
                raise ValueError(f"--max-{limit.name} must be above 0, got {value}")
        for name in ("seconds", "backlog"):
            if getattr(self, name) * SAMPLE_RATE < 1:
                raise ValueError(
                    f"--max-{name} {getattr(self, name):g} is less than one sample; it "
                    f"is in seconds: leave it out for {getattr(Limits, name):g}"
                )


class Session:
    """Talk with one client, whatever it does.

    Args:
        connection: To the client.
        limits: What to bear.
    """

    def __init__(self, connection: "ServerConnection", limits: Limits):
        self.connection, self.limits = connection, limits

    async def run(self, batcher: Batcher) -> None:
        """Serve the client until it or the server closes."""
        async with asyncio.TaskGroup() as tasks:
            with batcher.open(self.limits.backlog) as feed:
                listening = tasks.create_task(self._listen(feed))
                code, reason = await self._speak(feed)
            LOG.info(
                "%s: %.1f s of audio, %s",
                *(self.connection.id, feed.received / SAMPLE_RATE, reason or "done"),
            )
            await self._close(code, reason)
            listening.cancel()

    async def refuse(self, reason: str) -> None:
        """Tell the client that there is no place for it.

        Args:
            reason: Why; it is told to try again later.
        """
        reason = f"{reason}; try again later"
        await self._farewell(SessionError(reason, FULL))
        await self._close(FULL, reason)

    # -- from the client ------------------------------------------------------------

    async def _listen(self, feed: Feed) -> None:
        """Read until the connection is closed; what follows an error is dropped."""
        from websockets.exceptions import ConnectionClosed

        try:
            await self._receive(feed)
            while True:  # an unread frame would hide the client's answer to a close
                await self.connection.recv()
        except ConnectionClosed as error:
            feed.fail(error)

    async def _receive(self, feed: Feed) -> None:
        incoming = Incoming()
        try:
            async with asyncio.timeout(self.limits.duration) as deadline:
                await self._receive_frames(feed, incoming, deadline)
        except SessionError as error:
            # after the client's 'end' all its audio is good: its finals come first
            (feed.end if incoming.ended else feed.fail)(error)
        except TimeoutError:
            reason = (
                f"a session lasts {self.limits.duration:g} s at most; what came before "
                "is recognised, open another connection for the rest"
            )
            feed.end(SessionError(reason, LIMIT))

    async def _receive_frames(
        self, feed: Feed, incoming: Incoming, deadline: asyncio.Timeout
    ) -> None:
        """Read frames until the feed has ended, and any that comes after 'end'."""
        clock = asyncio.get_running_loop().time
        silent, received = 0.0, 0  # seconds without audio; samples since they began
        while not feed.ended or incoming.ended:
            asked = clock()
            patience = None if incoming.ended else self.limits.idle - silent
            try:
                async with asyncio.timeout(patience):
                    frame = await self.connection.recv()
            except TimeoutError:
                if deadline.expired():
                    raise
                reason = f"no audio for {self.limits.idle:g} s; send 'end' to end"
                raise SessionError(reason, LIMIT) from None
            silent += clock() - asked
            samples = incoming.read(frame)
            received += len(samples)
            if received >= SIGN_OF_LIFE:
                silent, received = 0.0, 0
            await self._put(feed, samples)
            if incoming.ended:
                feed.end()
                deadline.reschedule(None)

    async def _put(self, feed: Feed, samples: np.ndarray) -> None:
        most = self.limits.seconds * SAMPLE_RATE
        room = len(samples) if math.isinf(most) else round(most) - feed.received
        await feed.put(samples[:room])
        if len(samples) > room:
            reason = (
                f"more than {self.limits.seconds:g} s of audio; what came before is "
                "recognised, open another connection for the rest"
            )
            feed.end(SessionError(reason, LIMIT))

    # -- to the client --------------------------------------------------------------

    async def _speak(self, feed: Feed) -> tuple[int, str]:
        """Send all events and how it ended.

        Returns:
            Code and reason to close with.
        """
        from websockets.exceptions import ConnectionClosed

        try:
            try:
                async for event in feed.events():
                    await self._send({"type": "event", **event.as_dict()})
            except SessionError as error:
                return await self._farewell(error)
            await self._send({"type": "done"})
        except ConnectionClosed as error:
            return DONE, f"the client has gone: {error}"
        except TimeoutError:
            self.connection.transport.abort()
            return LIMIT, "the client does not read"
        return DONE, ""

    async def _farewell(self, error: SessionError) -> tuple[int, str]:
        await self._send({"type": "error", "message": str(error)})
        return error.code, str(error)

    async def _send(self, message: dict) -> None:
        async with asyncio.timeout(self.limits.idle):
            await self.connection.send(json.dumps(message, ensure_ascii=False))

    async def _close(self, code: int, reason: str) -> None:
        short = reason.encode()[:LONGEST_REASON].decode(errors="ignore")
        try:
            async with asyncio.timeout(2 * CLOSE_SECONDS):
                await self.connection.close(code, short)
        except TimeoutError:
            self.connection.transport.abort()
