"""What is served at which path, and who gets there."""

import time
from collections.abc import Callable, Sequence

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from espnet_smoe.serve.dialects import Dialect, OwnDialect
from espnet_smoe.serve.errors import GONE, Body, ErrorResponse, RequestError, tell
from espnet_smoe.serve.models import find_model
from espnet_smoe.serve.others import SherpaDialect, WenetDialect
from espnet_smoe.serve.page import page_routes
from espnet_smoe.serve.realtime import RealtimeDialect
from espnet_smoe.serve.services import Services
from espnet_smoe.serve.session import Session
from espnet_smoe.serve.transcriptions import Transcriptions

REALTIME = "realtime"  # subprotocol of OpenAI's clients
MakeDialect = Callable[[str | None], Dialect]
OWN = "espnet-smoe"
DIALECTS: dict[str, MakeDialect] = {
    OWN: OwnDialect,
    "realtime": RealtimeDialect,
    "sherpa-onnx": SherpaDialect,
    "wenet": WenetDialect,
}
DIALECT_PATHS = {
    "/espnet-smoe": OwnDialect,
    "/v1/realtime": RealtimeDialect,
    "/sherpa-onnx": SherpaDialect,
    "/wenet": WenetDialect,
}


def build_app(server: Services, protocol: str = OWN) -> ASGIApp:
    """The application of a server.

    Args:
        server: With its models.
        protocol: Of websockets at paths that are not named here, of `DIALECTS`.
    """
    health, *others = _routes_about(server)
    open_routes = [health, *page_routes()]  # need no token
    routes = [
        *open_routes,
        *others,
        *(
            Route(f"/v1/audio/{name}", Transcriptions(server, into), methods=["POST"])
            for name, into in (("transcriptions", False), ("translations", True))
        ),
        *(
            WebSocketRoute(path, _sessions(server, dialect))
            for path, dialect in DIALECT_PATHS.items()
        ),
        # last: clients of the chosen protocol may come by any other path
        WebSocketRoute("/{path:path}", _sessions(server, DIALECTS[protocol])),
    ]
    faults = (RequestError, HTTPException, ClientDisconnect, Exception)
    paths = [route.path for route in routes]
    app: ASGIApp = Starlette(
        routes=routes, exception_handlers={fault: tell for fault in faults}
    )
    app = TokenCheck(app, server, [route.path for route in open_routes])
    if server.access.origins:
        app = CORSMiddleware(
            app,
            allow_origins=sorted(server.access.origins),
            allow_methods=["GET", "POST"],
            allow_headers=["*"],
        )
    return Gatekeeper(app, server, paths)


def _routes_about(server: Services) -> list[Route]:
    """What tells of the server: first whether it is well; figures; models."""

    async def health(request: Request) -> Response:
        stopping = server.admission.stopping
        content = {"status": "stopping" if stopping else "ok"}
        return JSONResponse(content, 503 if stopping else 200)

    async def metrics(request: Request) -> Response:
        content, kind = server.metrics.page()
        return Response(content, headers={"Content-Type": kind})

    async def models(request: Request) -> Response:
        data = [model.as_dict() for model in server.models]
        return JSONResponse({"object": "list", "data": data})

    async def model(request: Request) -> Response:
        try:
            found = find_model(server.models, request.path_params["name"])
        except KeyError as error:
            raise RequestError(error.args[0], 404, "model", "model_not_found") from None
        return JSONResponse(found.as_dict())

    return [
        Route("/health", health),
        Route("/metrics", metrics),
        Route("/v1/models", models),
        Route("/v1/models/{name:path}", model),
    ]


def _sessions(server: Services, make: MakeDialect) -> Callable:
    """The endpoint of a way to speak."""

    async def endpoint(socket: WebSocket) -> None:
        offered = socket.scope.get("subprotocols", [])
        await socket.accept(REALTIME if REALTIME in offered else None)
        client, name = socket.scope["state"]["client"], _name(socket.scope)
        dialect = make(socket.query_params.get("model"))
        session = Session(socket, server.limits, dialect, name)
        await session.run(lambda model: server.feed(client, model))

    return endpoint


class Gatekeeper:
    """Lets in whom `Access` lets in, and counts the answers.

    Args:
        app: Behind it.
        server: With limits and metrics.
        paths: That are counted by their names.
    """

    def __init__(self, app: ASGIApp, server: Services, paths: list[str]):
        self.app, self.server, self.paths = app, server, paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request or a websocket."""
        begun, status = time.monotonic(), 0

        async def counted(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        if scope["type"] == "websocket":
            receive_body, answer = receive, send
        else:
            receive_body, answer = Body(receive, self.server.limits), counted
        headers = Headers(scope=scope)
        origins, hosts = headers.getlist("origin"), headers.getlist("host")
        fault = "a request has one Host, and one Origin at most"
        if len(origins) <= 1 and len(hosts) == 1:
            fault = self.server.access.fault(origins[0] if origins else None, hosts[0])
        if fault:
            app: ASGIApp = ErrorResponse(RequestError(fault, 403, code="forbidden"))
        else:
            app = self.app
        try:
            await app(scope, receive_body, answer)
        finally:  # faults of ours count, too
            if scope["type"] != "websocket":
                path = scope["path"] if scope["path"] in self.paths else "other"
                seconds = time.monotonic() - begun
                self.server.metrics.answered(path, status or GONE, seconds)


class TokenCheck:
    """Lets in who brings a token, where tokens are asked for.

    Args:
        app: Behind it.
        server: That knows them.
        open_paths: Of requests that need none.
    """

    def __init__(self, app: ASGIApp, server: Services, open_paths: Sequence[str]):
        self.app, self.server, self.open_paths = app, server, open_paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request or a websocket; note whose it is."""
        authorization = Headers(scope=scope).get("authorization", "")
        offered = scope.get("subprotocols", [])
        client = self.server.access.client(authorization, offered)
        is_open = scope["type"] == "http" and scope["path"] in self.open_paths
        if client is None and not is_open:
            given = "the API key is wrong" if authorization else "an API key is needed"
            error = RequestError(
                f"{given}; send 'Authorization: Bearer KEY'",
                401,
                code="invalid_api_key",
            )
            await ErrorResponse(error)(scope, receive, send)
            return
        address = scope["client"][0] if scope.get("client") else ""
        scope.setdefault("state", {})["client"] = client or address
        await self.app(scope, receive, send)


def _name(scope: Scope) -> str:
    """Of a client, for the log."""
    return ":".join(map(str, scope.get("client") or ("?",)))
