"""How much one client may send: frames and bytes a second, and so many at a time.

What is read of a client while it is above its rate waits in its socket: TCP makes it
wait, too.
"""

import asyncio
from typing import Any

BURST = 1.0  # seconds of its rate that a client may send at once


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
