"""Connections of uvicorn, kept within the limits.

A frame costs the server time, however empty it is, and uvicorn parses all that a read
has brought before anybody else has a turn. Here a client gets a few frames a turn, and
one that is above its rate is not read for a while. Connections beyond those that
sessions and requests need are cut off before they have asked for anything, and so is
who asks for nothing or does not read.
"""

import asyncio
import math
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from espnet_smoe.serve.limits import Limits
from espnet_smoe.serve.traffic import Allowance, Gate

SLICE = 1024  # bytes parsed between two looks at the number of frames
TURN_FRAMES = 64  # of a client before others have a turn
TURN_BYTES = 2**16
SPARE = 100  # connections besides those of sessions: that begin, end or are refused
MOST_UNREAD = 2**21  # bytes of answers, as to pings, that a client may leave unread
MOST_FRAGMENTS = 2**12  # of a message
OPEN_SECONDS = 10  # that a client may take to ask for something
NO_UPGRADE = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"
CLOSE_SECONDS = 5  # that a client may take to answer a close


class FairConnection(asyncio.Protocol):
    """Parses a slice a turn; goes before one of uvicorn's classes.

    Args:
        limits: Frames and bytes a second; sessions; seconds without reading.
        **options: Of uvicorn's class.
    """

    most_bytes = math.inf  # a second
    _handed_over = False  # to another of these classes

    def __init__(self, limits: Limits, **options: Any):
        super().__init__(**options)
        self.limits = limits
        self._unparsed = b""
        self._frames = 0
        self._unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Take a connection, or cut it off where there are too many."""
        self._gate = transport if isinstance(transport, Gate) else Gate(transport)
        self._allowance = Allowance(self.limits.frames, self.most_bytes)
        super().connection_made(self._gate)
        most = self.limits.sessions + self.limits.requests + SPARE
        if len(self.connections) > most:
            transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        """Forget what is under way."""
        self._unparsed = b""
        self.resume_writing()
        super().connection_lost(error)

    def pause_writing(self) -> None:
        """The client does not read: bear it for a while."""
        super().pause_writing()
        if math.isfinite(self.limits.idle):
            self._unread = self.loop.call_later(self.limits.idle, self._gate.abort)

    def resume_writing(self) -> None:
        """The client reads again."""
        super().resume_writing()
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def data_received(self, data: bytes) -> None:
        """Parse some of it, the rest in later turns."""
        self._unparsed += data
        self._turn()

    def _turn(self) -> None:
        if self._gate.is_closing():
            self._unparsed = b""
            return
        size, slices, self._frames = 0, 0, 0
        while (
            size < min(TURN_BYTES, len(self._unparsed))
            and self._frames < TURN_FRAMES
            and not (self._handed_over or self._gate.is_closing())
        ):
            part = self._unparsed[size : size + SLICE]
            size, slices = size + len(part), slices + 1
            super().data_received(part)
        self._unparsed = self._unparsed[size:]
        if self._handed_over:
            return
        if self._gate.get_write_buffer_size() > MOST_UNREAD:
            self._gate.abort()
            return
        pause = self._allowance.spend(self._cost(slices), size, self.loop.time())
        if pause or self._unparsed:
            self._gate.hold("turn")
            self.loop.call_later(pause, self._turn)
        else:
            self._gate.free("turn")

    def _cost(self, slices: int) -> int:
        """Frames that count; so many slices were parsed."""
        return self._frames


class FairRequests(FairConnection, H11Protocol):
    """Requests of HTTP; what comes in large pieces is read as quickly as it comes."""

    _asked: asyncio.TimerHandle | None = None

    def __init__(self, limits: Limits, **options: Any):
        super().__init__(limits, **options)
        next_event = self.conn.next_event

        def counted() -> Any:
            self._frames += 1
            return next_event()

        self.conn.next_event = counted

    def connection_made(self, transport: Any) -> None:
        """Take a connection; give it some time to ask for something."""
        super().connection_made(transport)
        self._wait_for_headers()

    def connection_lost(self, error: Exception | None) -> None:
        """Forget it."""
        self._stop_waiting()
        super().connection_lost(error)

    def handle_events(self) -> None:
        """Answer what is asked for, and wait no longer."""
        before = self.cycle
        super().handle_events()
        if self.cycle is not before:
            self._stop_waiting()

    def handle_websocket_upgrade(self, event: Any) -> None:
        """Leave the connection to another class; it asks before it sends more."""
        self._handed_over = True
        self._stop_waiting()
        super().handle_websocket_upgrade(event)

    def send_400_response(self, message: str) -> None:
        """Answer what is no HTTP; behind the beginning of an answer there is no other.

        The library would raise, and asyncio log it as a fault of the server.
        """
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            super().send_400_response(message)
        else:
            self.transport.close()

    def on_response_complete(self) -> None:
        """Wait for the next request; the library waits for its first byte only."""
        self._wait_for_headers()
        super().on_response_complete()

    def _wait_for_headers(self) -> None:
        self._stop_waiting()
        if not self._gate.is_closing():
            self._asked = self.loop.call_later(OPEN_SECONDS, self._gate.abort)

    def _stop_waiting(self) -> None:
        if self._asked is not None:
            self._asked.cancel()
            self._asked = None

    def _cost(self, slices: int) -> int:
        return max(0, self._frames - 2 * slices)  # a piece and the look for another


class FairSocket(FairConnection, WebSocketsSansIOProtocol):
    """A websocket."""

    close_timeout: float

    def __init__(self, limits: Limits, **options: Any):
        super().__init__(limits, **options)
        self.close_timeout = CLOSE_SECONDS
        self.most_bytes = limits.bytes
        self._failed = False

    def data_received(self, data: bytes) -> None:
        """Parse some of it; nothing more of a client that has broken the rules."""
        if not self._failed:
            super().data_received(data)
        if self.conn.handshake_exc and not self.handshake_initiated:
            self._refuse_handshake()

    def _refuse_handshake(self) -> None:
        """Answer an upgrade that is none, such as with a body.

        The library would keep the connection, and fail when the server stops.
        """
        told = b"".join(self.conn.data_to_send()) or NO_UPGRADE
        self._failed = self.handshake_initiated = self.close_sent = True
        self.transport.write(told)
        self.transport.close()

    def handle_events(self) -> None:
        """Count what has come before it is handled."""
        self._frames += len(self.conn.events)
        super().handle_events()
        if len(self.frames) > MOST_FRAGMENTS:
            self.conn.fail(1009, f"more than {MOST_FRAGMENTS} fragments of a message")
            self.handle_parser_exception()

    def send_receive_event_to_app(self) -> None:
        """Hand over a message; the library would log text that is none as a fault."""
        try:
            if self.curr_msg_data_type == "text":
                b"".join(self.frames).decode()
        except UnicodeDecodeError:
            self.conn.fail(1007, "a text frame that is no UTF-8")
            self.handle_parser_exception()
        else:
            super().send_receive_event_to_app()

    def handle_parser_exception(self) -> None:
        """Say why, and leave the client some time to read it.

        The library closes at once; what the client still sends would then be answered
        with a reset, which makes it lose the reason.
        """
        if self._failed:
            return
        self._failed, self._unparsed = True, b""
        self.frames = []
        sent = self.conn.close_sent
        self.queue.put_nowait(
            {
                "type": "websocket.disconnect",
                "code": sent.code if sent else 1006,
                "reason": sent.reason if sent else "",
            }
        )
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        self.read_paused = False
        self._gate.free("queue")
        self.close_timer = self.loop.call_later(CLOSE_SECONDS, self.transport.close)

    async def send(self, message: Any) -> None:
        """Send something, unless the client has broken the rules."""
        if self._failed:
            raise ClientDisconnected
        await super().send(message)
        if self.initial_response is not None and not message.get("more_body"):
            # refused, which the library takes for a fault of ours
            self.handshake_complete = self.close_sent

    async def run_asgi(self) -> None:
        """Serve, then wait no longer than is needed for the client to read the rest."""
        await super().run_asgi()
        reads = self.writable.is_set()
        self.loop.call_later(2 * CLOSE_SECONDS if reads else 0, self._gate.abort)

    def shutdown(self) -> None:
        """Nothing: sessions are told that the server stops, and end by themselves."""
        if not self.handshake_complete:
            super().shutdown()
