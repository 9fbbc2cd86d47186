"""Who may open a session: by the Origin and the Host of the request.

A browser lets any page open a websocket, also to this machine, and tells the page's
Origin: none is allowed unless it was named. A name that an attacker's DNS points here
stands in Host: allowed are addresses, this machine's names, and those that were named.
"""

import http
import ipaddress
import logging
import socket
from collections.abc import Iterable
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from espnet_smoe.serve.protocol import printable

if TYPE_CHECKING:
    from websockets.asyncio.server import ServerConnection
    from websockets.http11 import Request, Response

ANY = "*"
LOG = logging.getLogger(__name__)


class Access:
    """Refuses requests before they become sessions.

    Args:
        origins: Allowed, such as ``https://example.org``; ``*`` for any.
        hosts: Names by which clients may call this server, besides its own; ``*``
            for any.

    Raises:
        ValueError: An origin is none.

    Example:
        >>> access = Access(["https://example.org"], ["speech.example.org"])
        >>> access.fault("https://example.org", "speech.example.org:8765")
        ''
        >>> bool(access.fault("https://other.example", "127.0.0.1:8765"))
        True
    """

    def __init__(self, origins: Iterable[str] = (), hosts: Iterable[str] = ()):
        self._origins = {_origin(origin) for origin in origins}
        own = {"localhost", socket.gethostname()}
        self._hosts = {host.lower() for host in (*own, *hosts)}

    def __call__(
        self, connection: "ServerConnection", request: "Request"
    ) -> "Response | None":
        """Answer a request that is refused; None lets it in."""
        headers = request.headers
        origins, hosts = headers.get_all("Origin"), headers.get_all("Host")
        fault = "a request has one Host, and one Origin at most"
        if len(origins) <= 1 and len(hosts) == 1:
            fault = self.fault(origins[0] if origins else None, hosts[0])
        if not fault:
            return None
        LOG.info("%s: refused: %s", connection.id, fault)
        return connection.respond(http.HTTPStatus.FORBIDDEN, f"{fault}\n")

    def fault(self, origin: str | None, host: str) -> str:
        """What is wrong with a request; empty where nothing is.

        Args:
            origin: Of the page, from a browser; None from other clients.
            host: As the client calls this server, with or without a port.
        """
        if origin is not None and not {ANY, origin.lower()} & self._origins:
            return (
                f"pages of {printable(repr(origin))} may not use this server; "
                f"--allow-origin {printable(origin)} would let them"
            )
        name = _host_name(host)
        if ANY in self._hosts or name in self._hosts or _is_address(name):
            return ""
        return (
            f"{printable(repr(host))} is no name of this server; --allow-host "
            f"{printable(name)} would make it one"
        )


def _origin(origin: str) -> str:
    parts = urlsplit(origin)
    plain = parts.scheme and parts.netloc and not parts.path.strip("/")
    if origin not in (ANY, "null") and not (plain and not parts.query):
        raise ValueError(
            f"--allow-origin {origin} is no origin; it looks like https://example.org"
        )
    return origin.rstrip("/").lower()


def _host_name(host: str) -> str:
    """Without port and brackets, in small letters; empty where it is none."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
