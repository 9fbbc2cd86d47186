"""uvicorn, told what this server bears, and how it stops."""

import asyncio
import contextlib
import errno
import socket
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from espnet_smoe.serve.connections import FairRequests, FairSocket
from espnet_smoe.serve.limits import Limits
from espnet_smoe.serve.protocol import LARGEST_FRAME

# such as a name's address of IPv6 on a machine without it
NOT_HERE = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
CUT_SECONDS = 0.1  # between two attempts to cut off all that are left


class Listener(uvicorn.Server):
    """Serves an application until it is told to stop.

    Args:
        app: What to serve.
        limits: What to bear.
        certificate: Files of the certificate and its key; nothing for plain HTTP.
        started: Called when clients may come.
        stopping: Called when no more are let in, and those there shall end.
    """

    def __init__(
        self,
        app: ASGIApp,
        limits: Limits,
        certificate: Sequence[str] = (),
        started: Callable[[], None] = lambda: None,
        stopping: Callable[[], None] = lambda: None,
    ):
        files = dict(zip(("ssl_certfile", "ssl_keyfile"), certificate))
        super().__init__(
            uvicorn.Config(
                app,
                http=partial(FairRequests, limits),
                ws=partial(FairSocket, limits),
                ws_max_size=4 * LARGEST_FRAME,  # what is smaller gets a clear error
                ws_per_message_deflate=False,  # audio hardly shrinks
                ws_ping_timeout=None,  # an answer may be stuck behind waiting audio
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                **files,
            )
        )
        self.limits = limits
        self._when_started, self._when_stopping = started, stopping
        self._now = asyncio.Event()

    def stop(self) -> None:
        """Let those finish who are there; called again: cut them off."""
        if self.should_exit:
            self._now.set()
        self.should_exit = True

    def capture_signals(self) -> contextlib.AbstractContextManager[None]:
        """None: they are the command's."""
        return contextlib.nullcontext()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen."""
        await super().startup(sockets)
        self._when_started()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let those finish who are there, but do not wait too long."""
        self._when_stopping()
        cutting = asyncio.create_task(self._cut_off())
        await super().shutdown(sockets)
        cutting.cancel()

    async def _cut_off(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.limits.grace):
                await self._now.wait()
        self.force_exit = True
        while True:  # again: one may just have been let in
            for connection in list(self.server_state.connections):
                connection.transport.abort()
            await asyncio.sleep(CUT_SECONDS)


def listen(host: str, port: int) -> list[socket.socket]:
    """Sockets that listen at all addresses of a name, at one port.

    Raises:
        ValueError: The name has no address.
        OSError: The port is taken.
    """
    try:
        found: Any = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except socket.gaierror as error:
        raise ValueError(f"--host {host}: {error.strerror}") from error
    sockets: list[socket.socket] = []
    fault: OSError | None = None
    for family, _, _, _, address in dict.fromkeys(found):
        if sockets and not port:  # the one that the first was given
            address = (address[0], sockets[0].getsockname()[1], *address[2:])
        try:
            sockets.append(socket.create_server(address[:2], family=family))
        except OSError as error:
            place = f"{address[0]}:{address[1]}"
            fault = OSError(error.errno, error.strerror, place)
            if error.errno not in NOT_HERE:
                break
    else:
        fault = None if sockets else fault
    if fault is not None:
        for other in sockets:
            other.close()
        raise fault
    return sockets
