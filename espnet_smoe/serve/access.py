"""Who may come: by the Origin, the Host and the token of a request.

A browser lets any page send requests and open websockets, also to this machine, and
tells the page's Origin: allowed are the server's own pages and those that were named. A
name that an attacker's DNS points here stands in Host: allowed are addresses, this
machine's names, and those that were named.
"""

import hashlib
import hmac
import ipaddress
import os
import socket
from collections.abc import Iterable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from espnet_smoe.serve.protocol import printable

ANY = "*"
TOKEN = "ESPNET_SMOE_TOKEN"  # environment variable: tokens, between spaces
BEARER = "bearer "
# as OpenAI's clients send it from a browser, which cannot set the header
SUBPROTOCOL = "openai-insecure-api-key."
FEWEST_CHARACTERS = 8


class Access:
    """Refuses requests before they become sessions or recordings.

    Args:
        origins: Allowed, such as ``https://example.org``; ``*`` for any.
        hosts: Names by which clients may call this server, besides its own; ``*``
            for any.
        tokens: One of which a client has to bring; none: everybody may come.

    Raises:
        ValueError: An origin is none.

    Example:
        >>> access = Access(["https://example.org"], ["speech.example.org"])
        >>> access.fault("https://example.org", "speech.example.org:8765")
        ''
        >>> bool(access.fault("https://other.example", "127.0.0.1:8765"))
        True
    """

    def __init__(
        self,
        origins: Iterable[str] = (),
        hosts: Iterable[str] = (),
        tokens: Iterable[str] = (),
    ):
        self.origins = {_origin(origin) for origin in origins}
        own = {"localhost", socket.gethostname()}
        self._hosts = {host.lower() for host in (*own, *hosts)}
        self._tokens = [_digest(token) for token in tokens]

    def fault(self, origin: str | None, host: str) -> str:
        """What is wrong with a request; empty where nothing is.

        Args:
            origin: Of the page, from a browser; None from other clients.
            host: As the client calls this server, with or without a port.
        """
        if origin is not None and not self._allows(origin.lower(), host.lower()):
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

    def _allows(self, origin: str, host: str) -> bool:
        own = origin in (f"http://{host}", f"https://{host}")  # the server's own page
        return own or bool({ANY, origin} & self.origins)

    def client(self, authorization: str, subprotocols: Sequence[str]) -> str | None:
        """Who brings a token.

        Args:
            authorization: The header, empty where there is none.
            subprotocols: Of a websocket.

        Returns:
            A word for the token, empty where none is needed; None where it is wrong.
        """
        if not self._tokens:
            return ""
        named = [s for s in subprotocols if s.startswith(SUBPROTOCOL)]
        given = [s.removeprefix(SUBPROTOCOL) for s in named]
        if authorization[: len(BEARER)].lower() == BEARER:
            given.insert(0, authorization[len(BEARER) :].strip())
        digest = _digest(given[0] if given else "")
        # all of them, so that the time tells nothing
        equal = [hmac.compare_digest(digest, token) for token in self._tokens]
        return digest.hex() if any(equal) else None


def read_tokens(path: str | Path | None) -> list[str]:
    """The tokens of a file, one a line, and of the environment.

    Args:
        path: Of the file; None for none.

    Raises:
        ValueError: There is no such file, no token in it, or one that is too short.
    """
    tokens = os.environ.get(TOKEN, "").split()
    place = TOKEN
    if path is not None:
        place = str(path)
        lines = Path(path).read_text(encoding="utf-8").splitlines()
        tokens += [line.strip() for line in lines if line.strip()]
        if not tokens:
            raise ValueError(f"{place} holds no token; write one a line")
    for token in tokens:
        if len(token) < FEWEST_CHARACTERS or not token.isascii() or " " in token:
            raise ValueError(
                f"{place}: a token has at least {FEWEST_CHARACTERS} ASCII characters "
                "without spaces; 'openssl rand -hex 16' makes one"
            )
    return tokens


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


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
