"""`espnet-smoe serve`: a websocket server, all sessions of which share one model.

    espnet-smoe serve --model exp/u2pp --port 8765

A client sends audio and gets events; `espnet_smoe.serve.protocol` tells the frames:

    -> {"type": "start", "rate": 16000}
    -> signed 16-bit little-endian mono audio, in binary frames
    <- {"type": "event", "kind": "partial", "text": ..., "start": ..., "end": ..., ...}
    <- {"type": "event", "kind": "final", "text": ..., "tokens": [...], ...}
    -> {"type": "end"}
    <- {"type": "event", "kind": "final", ...}
    <- {"type": "done"}

What a client does wrong ends its own session, with an error that names the cure. A
client that sends faster than the model works is read more slowly, and TCP makes it
wait. Ctrl-C or SIGTERM: no new sessions, those that run get their last texts; a second
one cuts them off.

A server that is behind lets nobody in, and ends sessions rather than serve all of them
late. Web pages may use it where --allow-origin names them. It has no encryption and no
passwords: a proxy such as nginx before it brings both, see espnet_smoe/serve/README.md.
"""

import argparse
import asyncio
import logging
import signal
import socket
import sys
import time
import weakref
from collections.abc import Callable
from dataclasses import fields
from types import ModuleType
from typing import TYPE_CHECKING

from espnet_smoe.command import run_command
from espnet_smoe.inference.streaming.options import add_options, given_options
from espnet_smoe.serve.access import Access
from espnet_smoe.serve.batcher import Batcher
from espnet_smoe.serve.protocol import LARGEST_FRAME, STOPS, SessionError
from espnet_smoe.serve.session import CLOSE_SECONDS, Limits, Session
from espnet_smoe.serve.traffic import fair_connection

if TYPE_CHECKING:
    from websockets.asyncio.server import Server as Listener
    from websockets.asyncio.server import ServerConnection

    from espnet_smoe.inference.streaming.recognizer import StreamingRecognizer

PORT = 8765
LARGEST_PORT = 65535
LISTENING = "listening at"
CUT_SECONDS = 0.1  # between two attempts to cut off all that are left
LIMITS_HELP = {
    "sessions": "at the same time",
    "seconds": "seconds of audio a session; inf: no limit",
    "backlog": "seconds of audio a session that may wait for the model",
    "duration": "seconds that a session may last; inf: no limit",
    "idle": "seconds that a client may send no audio, or not read",
    "frames": "frames a second that are read of a client, pings included",
    "bytes": "bytes a second that are read of a client",
    "lag": "seconds that the model may be late and sessions still be let in; at twice "
    "as much sessions are ended; inf: never",
    "grace": "seconds that sessions have to finish in when the server stops",
}


class Server:
    """Sessions on one side, the model on the other.

    Args:
        recognizer: The model.
        limits: What to bear.
        access: Who may come; by default whoever is no web page.
        clock: Tells seconds, by which the server measures how late it is.
    """

    def __init__(
        self,
        recognizer: "StreamingRecognizer",
        limits: Limits = Limits(),
        access: Access | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.limits = limits
        self._access = access or Access()
        self.batcher = Batcher(recognizer, limits.lag, clock)
        # of any state: websockets tells only those that are open
        self._connections: weakref.WeakSet[ServerConnection] = weakref.WeakSet()
        self._stop, self._now = asyncio.Event(), asyncio.Event()

    def stop(self) -> None:
        """Take no more sessions and finish those that run; called again: at once."""
        (self._now if self._stop.is_set() else self._stop).set()

    async def run(
        self, host: str, port: int, started: Callable[[int], None] = lambda port: None
    ) -> None:
        """Serve until `stop`.

        Args:
            host: Name or address to listen at.
            port: Number; 0 for any that is free.
            started: Called with the port when clients may come.

        Raises:
            OSError: The port is taken.
            ImportError: websockets is missing.
        """
        server = websocket_server()
        self._kind = fair_connection(server, self.limits)
        listener = server.serve(
            self._session,
            host,
            port,
            process_request=self._access,
            compression=None,  # audio hardly shrinks
            max_size=4 * LARGEST_FRAME,  # what is smaller gets a clear error
            max_queue=1,  # frames wait in the socket, not here
            ping_timeout=None,  # an answer may be stuck behind waiting audio
            close_timeout=CLOSE_SECONDS,
            create_connection=self._connection,
        )
        working = asyncio.create_task(self.batcher.run())
        try:
            async with listener as listening:
                started(listening.sockets[0].getsockname()[1])
                stopped = asyncio.create_task(self._stop.wait())
                # the batcher never ends, unless by a fault of ours: then say so
                await asyncio.wait(
                    [stopped, working], return_when=asyncio.FIRST_COMPLETED
                )
                await self._leave(listening)
        finally:
            working.cancel()
        if not working.cancelled() and working.done():
            working.result()

    async def _leave(self, listening: "Listener") -> None:
        """Let the sessions end, but not wait too long."""
        listening.close(close_connections=False)
        for feed in self.batcher.feeds:
            feed.end(SessionError("the server stops; come back later", STOPS))
        ended = asyncio.create_task(listening.wait_closed())
        now = asyncio.create_task(self._now.wait())
        await asyncio.wait(
            [ended, now],
            timeout=self.limits.grace,
            return_when=asyncio.FIRST_COMPLETED,
        )
        now.cancel()
        while not ended.done():  # again: one may just have been let in
            for connection in self._connections:
                if hasattr(connection, "transport"):
                    connection.transport.abort()
            await asyncio.wait([ended], timeout=CUT_SECONDS)

    def _connection(self, *args: object, **options: object) -> "ServerConnection":
        connection = self._kind(*args, **options)
        self._connections.add(connection)
        return connection

    async def _session(self, connection: "ServerConnection") -> None:
        session = Session(connection, self.limits)
        if len(self.batcher.feeds) >= self.limits.sessions:
            await session.refuse(f"all {self.limits.sessions} sessions are taken")
        elif behind := self.batcher.behind:
            await session.refuse(f"the server is {behind:.1f} s behind")
        elif self.batcher.full:
            running = len(self.batcher.feeds)
            await session.refuse(f"the model bears no more than {running} sessions")
        else:
            await session.run(self.batcher)


def websocket_server() -> ModuleType:
    """Load the library's server.

    Raises:
        ModuleNotFoundError: It is not installed.
    """
    try:
        from websockets.asyncio import server
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "the server needs websockets: pip install 'espnet_smoe[serve]'"
        ) from error
    return server


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > LARGEST_PORT:
        raise argparse.ArgumentTypeError(f"'{text}' is not from 0 to {LARGEST_PORT}")
    return int(text)


def _threads(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of threads")
    return int(text)


def get_parser() -> argparse.ArgumentParser:
    """Options of the command."""
    parser = argparse.ArgumentParser(
        prog="espnet-smoe serve",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--model", required=True, help="packed zip file, or an experiment's folder")
    add("--host", default="127.0.0.1", help="0.0.0.0 for all (default: %(default)s)")
    add("--port", type=_port, default=PORT, help="0: any free (default: %(default)s)")
    add(
        "--allow-origin",
        action="append",
        default=[],
        metavar="URL",
        help="web pages that may use the server, such as https://example.org; once for "
        "each (default: none)",
    )
    add(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="a name by which clients call the server, besides its addresses and the "
        "machine's own name; once for each",
    )
    add("--device", default="cpu", help="such as cuda (default: %(default)s)")
    add("--threads", type=_threads, default=1, help="of PyTorch (default: %(default)s)")
    add("--quiet", action="store_true", help="log faults, not each session")
    limits = parser.add_argument_group("limits")
    for limit in fields(Limits):
        limits.add_argument(
            f"--max-{limit.name}",
            type=limit.type,
            default=limit.default,
            metavar="N",
            help=f"{LIMITS_HELP[limit.name]} (default: %(default)s)",
        )
    add_options(parser)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Serve until a signal comes.

    Returns:
        0.
    """
    args = get_parser().parse_args(argv)
    limits = Limits(**{f.name: getattr(args, f"max_{f.name}") for f in fields(Limits)})
    access = Access(args.allow_origin, [args.host, *args.allow_host])
    options = given_options(args)
    websocket_server()  # missing, it shall be told before the model takes its time
    level = logging.WARNING if args.quiet else logging.INFO
    logging.basicConfig(level=level, format="%(asctime)s %(message)s")
    for library in ("asyncio", "websockets"):  # a line for each write to who has gone
        logging.getLogger(library).setLevel(logging.ERROR)

    import torch

    from espnet_smoe.inference.streaming.recognizer import StreamingRecognizer

    torch.set_num_threads(args.threads)
    recognizer = StreamingRecognizer.load(args.model, options, args.device)
    asyncio.run(serve(recognizer, limits, args.host, args.port, access))
    return 0


async def serve(
    recognizer: "StreamingRecognizer",
    limits: Limits,
    host: str,
    port: int,
    access: Access | None = None,
) -> None:
    """Serve until SIGINT or SIGTERM; tell the address on standard output.

    Args:
        recognizer: The model.
        limits: What to bear.
        host: Name or address to listen at.
        port: Number; 0 for any that is free.
        access: Who may come; by default whoever is no web page.

    Raises:
        ValueError: `host` has no address.
    """
    server = Server(recognizer, limits, access)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, server.stop)

    def started(port: int) -> None:
        print(f"{LISTENING} ws://{host}:{port}", flush=True)

    try:
        await server.run(host, port, started)
    except socket.gaierror as error:
        raise ValueError(f"--host {host}: {error.strerror}") from error


if __name__ == "__main__":
    sys.exit(run_command(main))
