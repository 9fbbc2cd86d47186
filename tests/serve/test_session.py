"""One websocket, whatever its client does."""

import asyncio

from starlette.websockets import WebSocketDisconnect

from espnet_smoe.serve.dialects import OwnDialect
from espnet_smoe.serve.limits import Limits
from espnet_smoe.serve.protocol import LIMIT, SessionError
from espnet_smoe.serve.session import Session


class GoneSocket:
    """Of a client that goes before it is told the end."""

    def __init__(self):
        self.sent = []

    async def send_text(self, message):
        self.sent.append(message)

    async def close(self, code, reason):
        raise WebSocketDisconnect(1006)


def test_a_client_that_goes_while_it_is_closed_is_no_fault():
    def full(model):
        raise SessionError("no place", LIMIT)

    socket = GoneSocket()
    asyncio.run(Session(socket, Limits(), OwnDialect(), "client").run(full))
    assert len(socket.sent) == 1 and "no place" in socket.sent[0]
