"""Models behind one port: recordings by HTTP, streams by websockets."""

import asyncio
from collections.abc import Callable, Sequence
from tempfile import TemporaryDirectory
from typing import Any

from espnet_smoe.serve.app import OWN, build_app
from espnet_smoe.serve.listener import Listener, listen
from espnet_smoe.serve.models import Model
from espnet_smoe.serve.services import Services


class Server(Services):
    """Services that listen at a port.

    Args:
        models: See `Services`.
        *options: See `Services`.
        certificate: Files of a certificate and its key; nothing for plain HTTP.
        protocol: Of websockets, see `build_app`.
        **more: See `Services`.
    """

    def __init__(
        self,
        models: Sequence[Model],
        *options: Any,
        certificate: Sequence[str] = (),
        protocol: str = OWN,
        **more: Any,
    ):
        super().__init__(models, *options, **more)
        self._certificate, self._protocol = certificate, protocol
        self._stops = 0
        self._listener: Listener | None = None

    def stop(self) -> None:
        """Let nobody in and finish what is there; called again: at once."""
        self._stops += 1
        if self._listener is not None:
            self._listener.stop()

    async def run(
        self, host: str, port: int, started: Callable[[int], None] = lambda port: None
    ) -> None:
        """Serve until `stop`.

        Args:
            host: Name or address to listen at.
            port: Number; 0 for any that is free.
            started: Called with the port when clients may come.

        Raises:
            ValueError: The host has no address.
            OSError: The port is taken.
        """
        sockets = listen(host, port)
        port = sockets[0].getsockname()[1]
        self._listener = listener = Listener(
            build_app(self, self._protocol),
            self.limits,
            self._certificate,
            lambda: started(port),
            self.end,
        )
        for _ in range(self._stops):  # before it ran
            listener.stop()
        with TemporaryDirectory(prefix="espnet-smoe-serve-") as self.folder:
            working = [asyncio.create_task(work) for work in self.works()]
            serving = asyncio.create_task(listener.serve(sockets))
            try:
                # workers never end, unless by a fault of ours: then say so
                await asyncio.wait(
                    [serving, *working], return_when=asyncio.FIRST_COMPLETED
                )
                listener.should_exit = True
                await serving
            finally:
                for task in working:
                    task.cancel()
                found = await asyncio.gather(*working, return_exceptions=True)
        for outcome in found:
            if isinstance(outcome, Exception):
                raise outcome
