"""How much one client may send: frames and bytes a second, and so many at a time.

A frame costs the server time, however empty it is, and the library parses all that a
read has brought before anybody else has a turn. Here a client gets a few frames a turn,
and one that is above its rate is not read for a while: TCP makes it wait. Connections
beyond those that sessions need are cut off before they have asked for anything.
"""

import asyncio
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from websockets.asyncio.server import ServerConnection

    from espnet_smoe.serve.session import Limits

SLICE = 1024  # bytes parsed between two looks at the number of frames
TURN_FRAMES = 64  # of a client before others have a turn
TURN_BYTES = 2**16
BURST = 1.0  # seconds of its rate that a client may send at once
SPARE = 100  # connections besides sessions: that begin, end or are refused
MOST_UNREAD = 2**21  # bytes of answers, as to pings, that a client may leave unread


class Allowance:
    """What a client has spent of what it may send.

    Args:
        frames: A second.
        size: Bytes a second.

    Example:
        >>> allowance = Allowance(frames=10, size=1000)
        >>> allowance.spend(10, 0, now=5.0), allowance.spend(5, 0, now=5.0)
        (0.0, 0.5)
    """

    def __init__(self, frames: float, size: float):
        self._frames, self._size = frames, size
        self._even = float("-inf")  # when all that was sent is within the rate

    def spend(self, frames: int, size: int, now: float) -> float:
        """Count what has come.

        Args:
            frames: Of any kind.
            size: Bytes.
            now: Seconds.

        Returns:
            Seconds to wait before reading more.
        """
        cost = max(frames / self._frames, size / self._size)
        self._even = max(self._even, now) + cost
        return max(0.0, self._even - now - BURST)


class Gate:
    """A transport that reads while nobody has a reason against it.

    Args:
        transport: Of the connection; everything else is its own.
    """

    def __init__(self, transport: asyncio.Transport):
        self._transport = transport
        self._reasons: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def pause_reading(self) -> None:
        """As the library asks for, when its queue is full."""
        self.hold("queue")

    def resume_reading(self) -> None:
        """As the library asks for, when its queue is empty."""
        self.free("queue")

    def hold(self, reason: str) -> None:
        """Do not read."""
        self._reasons.add(reason)
        if not self._transport.is_closing():
            self._transport.pause_reading()

    def free(self, reason: str) -> None:
        """Read, if there is no other reason against it."""
        self._reasons.discard(reason)
        if not self._reasons and not self._transport.is_closing():
            self._transport.resume_reading()


def fair_connection(server: ModuleType, limits: "Limits") -> type["ServerConnection"]:
    """The library's connection, kept within the limits.

    Args:
        server: ``websockets.asyncio.server``.
        limits: Frames and bytes a second; sessions.
    """
    connections = set()

    class FairConnection(server.ServerConnection):
        """Parses a slice a turn."""

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self._gate = Gate(transport)
            self._allowance = Allowance(limits.frames, limits.bytes)
            self._unparsed = b""
            self._frames = 0
            super().connection_made(self._gate)
            connections.add(self)
            if len(connections) > limits.sessions + SPARE:
                transport.abort()

        def connection_lost(self, error: Exception | None) -> None:
            connections.discard(self)
            super().connection_lost(error)

        def data_received(self, data: bytes) -> None:
            self._unparsed += data
            self._turn()

        def process_event(self, event: object) -> None:
            self._frames += 1
            super().process_event(event)

        def _turn(self) -> None:
            if self._gate.is_closing():
                self._unparsed = b""
                return
            size, self._frames = 0, 0
            while (
                size < min(TURN_BYTES, len(self._unparsed))
                and self._frames < TURN_FRAMES
            ):
                part = self._unparsed[size : size + SLICE]
                size += len(part)
                super().data_received(part)
            self._unparsed = self._unparsed[size:]
            if self._gate.get_write_buffer_size() > MOST_UNREAD:
                self._gate.abort()
                return
            now = self.loop.time()
            pause = self._allowance.spend(self._frames, size, now)
            if pause or self._unparsed:
                self._gate.hold("turn")
                self.loop.call_later(pause, self._turn)
            else:
                self._gate.free("turn")

    return FairConnection
