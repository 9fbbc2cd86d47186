"""One websocket: audio from the client to its feed, events back to the client."""

import asyncio
import contextlib
import logging
import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import numpy as np
from starlette.websockets import WebSocket, WebSocketDisconnect

from espnet_smoe.data.speech.audio import SAMPLE_RATE
from espnet_smoe.serve.batcher import Feed
from espnet_smoe.serve.dialects import Dialect
from espnet_smoe.serve.limits import Limits
from espnet_smoe.serve.protocol import BROKEN, DONE, LIMIT, SessionError

LONGEST_REASON = 120  # bytes in a close frame
SIGN_OF_LIFE = SAMPLE_RATE // 10  # samples that end a silence; fewer add up
LOG = logging.getLogger(__name__)
OpenFeed = Callable[[str | None], AbstractContextManager[Feed]]


class Session:
    """Talk with one client, whatever it does.

    Args:
        socket: To the client, accepted.
        limits: What to bear.
        dialect: How to speak.
        name: Of the client, for the log.
    """

    def __init__(self, socket: WebSocket, limits: Limits, dialect: Dialect, name: str):
        self.socket, self.limits = socket, limits
        self.dialect, self.name = dialect, name

    async def run(self, open_feed: OpenFeed) -> None:
        """Serve the client until it or the server closes.

        Args:
            open_feed: Opens a stream of a model; raises a `SessionError` where there is
                no place for another one, or no such model.
        """
        code, reason = DONE, ""
        try:
            await self._send(self.dialect.greeting())
            going = True
            while going:
                try:
                    await self._wait_for_choice()
                    with open_feed(self.dialect.model) as feed:
                        await self._talk(feed)
                        LOG.info(
                            "%s: %.1f s of audio, done",
                            *(self.name, feed.received / SAMPLE_RATE),
                        )
                except SessionError as error:
                    await self._send(self.dialect.error(error))
                    code, reason = error.code, str(error)
                going = self.dialect.goes_on and code == DONE
        except WebSocketDisconnect as gone:
            LOG.info(
                "%s: the client has gone: %s %s", self.name, gone.code, gone.reason
            )
            return
        if reason:
            LOG.info("%s: %s", self.name, reason)
        await self._close(code, reason)

    # -- from the client ------------------------------------------------------------

    async def _frame(self) -> str | bytes:
        message = await self.socket.receive()
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", 1005), message.get("reason"))
        text = message.get("text")
        return message["bytes"] if text is None else text

    async def _wait_for_choice(self) -> None:
        """Read until it is known which model shall listen."""
        try:
            async with asyncio.timeout(self.limits.idle):
                while not self.dialect.chosen:
                    self.dialect.read(await self._frame())
                    await self._send(self.dialect.answers())
        except TimeoutError:
            raise SessionError("no model was asked for in time", LIMIT) from None

    async def _listen(self, feed: Feed) -> None:
        """Read until the connection is closed; what follows an error is dropped."""
        try:
            await self._receive(feed)
            while not self.dialect.goes_on:  # unread frames would hide that it has gone
                await self._frame()
        except WebSocketDisconnect as error:
            feed.fail(error)

    async def _receive(self, feed: Feed) -> None:
        try:
            async with asyncio.timeout(self.limits.duration) as deadline:
                await self._receive_frames(feed, deadline)
        except SessionError as error:
            # after the client's 'end' all its audio is good: its finals come first
            (feed.end if self.dialect.ended else feed.fail)(error)
        except TimeoutError:
            reason = (
                f"a session lasts {self.limits.duration:g} s at most; what came before "
                "is recognised, open another connection for the rest"
            )
            feed.end(SessionError(reason, LIMIT))

    async def _receive_frames(self, feed: Feed, deadline: asyncio.Timeout) -> None:
        """Read frames until the feed has ended, and any that comes after 'end'."""
        clock = asyncio.get_running_loop().time
        dialect = self.dialect
        silent, received = 0.0, 0  # seconds without audio; samples since they began
        if dialect.ended:  # said before the model was known: there is no audio
            feed.end()
        while not feed.ended or (dialect.ended and not dialect.goes_on):
            asked = clock()
            patience = None if dialect.ended else self.limits.idle - silent
            try:
                async with asyncio.timeout(patience):
                    frame = await self._frame()
            except TimeoutError:
                if deadline.expired():
                    raise
                reason = f"no audio for {self.limits.idle:g} s; send 'end' to end"
                raise SessionError(reason, LIMIT) from None
            silent += clock() - asked
            samples = dialect.read(frame)
            await self._send(dialect.answers())
            received += len(samples)
            if received >= SIGN_OF_LIFE:
                silent, received = 0.0, 0
            await self._put(feed, samples)
            if dialect.ended:
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

    async def _talk(self, feed: Feed) -> None:
        """Listen, and send all events.

        Raises:
            SessionError: Of the client, or of the server.
            WebSocketDisconnect: The client has gone.
        """
        listening = asyncio.create_task(self._listen(feed))
        # a mistake of ours there must not leave the client waiting
        listening.add_done_callback(lambda task: _tell_fault(task, feed))
        try:
            async for event in feed.events():
                await self._send(self.dialect.event(event))
            await self._send(self.dialect.done())
        finally:
            listening.cancel()
            await asyncio.wait([listening])

    async def _send(self, messages: Sequence[str]) -> None:
        for message in messages:
            await self.socket.send_text(message)

    async def _close(self, code: int, reason: str) -> None:
        short = reason.encode()[:LONGEST_REASON].decode(errors="ignore")
        with contextlib.suppress(WebSocketDisconnect):  # it has gone just now
            await self.socket.close(code, short)


def _tell_fault(task: asyncio.Task, feed: Feed) -> None:
    error = None if task.cancelled() else task.exception()
    if error is not None:
        LOG.error("a session failed", exc_info=error)
        feed.fail(SessionError("a fault of the server; its log has more", BROKEN))
