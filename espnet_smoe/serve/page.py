"""The web page of the server: what is in `static/`, and what a browser lets it do."""

from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

FOLDER = Path(__file__).parent / "static"
KINDS = {
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
# nothing of other servers, nothing written into the page itself, no frame around it
POLICY = {
    "default-src": "'none'",
    "connect-src": "'self'",
    "img-src": "'self'",
    "media-src": "blob:",  # the recording, to be heard again
    "script-src": "'self'",
    "style-src": "'self'",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
}
HEADERS = {
    "Content-Security-Policy": "; ".join(f"{k} {v}" for k, v in POLICY.items()),
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",  # a new version is seen at once
}


def page_routes() -> list[Route]:
    """A path for each file, ``/`` for the page itself."""
    files = sorted(path for path in FOLDER.iterdir() if path.suffix in KINDS)
    return [_route(path) for path in files]


def _route(file: Path) -> Route:
    content, kind = file.read_bytes(), KINDS[file.suffix]

    async def endpoint(request: Request) -> Response:
        return Response(content, headers=HEADERS, media_type=kind)

    return Route("/" if file.suffix == ".html" else f"/static/{file.name}", endpoint)
