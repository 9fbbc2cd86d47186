"""What is sent to the client of a request that fails, as OpenAI's clients read it."""

import asyncio
import math
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import Message, Receive, Scope, Send

from espnet_smoe.serve.limits import Limits
from espnet_smoe.serve.protocol import printable

LINGER_SECONDS = 5.0  # that what a client still sends is thrown away
GONE = 499  # status of a client that did not wait, as nginx has it
INVALID, SERVER = "invalid_request_error", "server_error"


class RequestError(Exception):
    """Ends one request; nobody else's.

    Args:
        message: Cause and cure, for the client.
        status: Of HTTP.
        param: The field of the form that is at fault.
        code: A word for programs.
        retry: Seconds after which to come again.
    """

    def __init__(
        self,
        message: str,
        status: int = 400,
        param: str | None = None,
        code: str | None = None,
        retry: float | None = None,
    ):
        super().__init__(printable(message))
        self.status, self.code, self.retry = status, code, retry
        self.param = None if param is None else printable(param)

    def body(self) -> dict[str, Any]:
        """The answer in JSON."""
        kind = SERVER if self.status >= 500 else INVALID
        if self.status == 429:
            kind = "rate_limit_error"
        fields = {"message": str(self), "type": kind, "param": self.param}
        return {"error": {**fields, "code": self.code}}


class Body:
    """What a client sends behind the headers of a request.

    Args:
        receive: Of ASGI.
        limits: Seconds that a client may send nothing, or send at all; bytes.
    """

    def __init__(self, receive: Receive, limits: Limits):
        self._receive, self._limits = receive, limits
        self._bytes = 0
        self._whole = False
        self._until: float | None = None

    async def __call__(self) -> Message:
        """The next message.

        Raises:
            RequestError: The body is too large, or too slow.
        """
        message = await self._next()
        self._bytes += len(message.get("body", b""))
        if self._bytes > self._limits.upload:
            raise too_large(self._limits)
        return message

    async def drain(self, seconds: float) -> None:
        """Throw away what still comes, for so long at most."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not self._whole:
                    self._note(await self._receive())

    async def gone(self) -> None:
        """Wait until the client has left."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def _next(self) -> Message:
        clock = asyncio.get_running_loop().time
        if self._until is None:
            self._until = clock() + self._limits.duration
        patience = min(self._limits.idle, self._until - clock())
        try:
            async with asyncio.timeout(patience):
                return self._note(await self._receive())
        except TimeoutError:
            raise RequestError("the request did not come in time; send it again", 408)

    def _note(self, message: Message) -> Message:
        self._whole = self._whole or not message.get("more_body")
        return message


def too_large(limits: Limits) -> RequestError:
    """The error of an upload that is too large."""
    return RequestError(
        f"a request of more than {limits.upload:.0f} bytes; send a shorter recording, "
        "or a compressed one such as FLAC or MP3",
        413,
        "file",
    )


class ErrorResponse(JSONResponse):
    """An error, after which the connection is closed.

    What the client still sends is thrown away for a while: it would not read the answer
    of a connection that is cut off while it sends.

    Args:
        error: What to tell.
        more: Headers.
    """

    def __init__(self, error: RequestError, more: Mapping[str, str] | None = None):
        headers = {**(more or {}), "Connection": "close"}
        if error.retry is not None:
            headers["Retry-After"] = str(max(1, math.ceil(error.retry)))
        if error.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        super().__init__(error.body(), error.status, headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, wait until the client has sent all or enough, and end."""
        if scope["type"] == "websocket":
            await super().__call__(scope, receive, send)
            return
        start = {"type": "http.response.start", "status": self.status_code}
        await send({**start, "headers": self.raw_headers})
        body = {"type": "http.response.body", "body": self.body}
        await send({**body, "more_body": True})
        if isinstance(receive, Body):
            await receive.drain(LINGER_SECONDS)
        await send({"type": "http.response.body"})


async def tell(request: Request, error: Exception) -> Response:
    """The answer to a request that failed."""
    match error:
        case RequestError():
            found = error
        case HTTPException():  # with the methods of a path, where it is another
            found = RequestError(error.detail, error.status_code)
            return ErrorResponse(found, error.headers)
        case ClientDisconnect():
            return Response(status_code=GONE)  # nobody reads it
        case _:  # the library logs it
            found = RequestError("a fault of the server; its log has more", 500)
    return ErrorResponse(found)
