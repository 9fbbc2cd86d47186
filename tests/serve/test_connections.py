"""Connections that break the rules of HTTP and of its upgrades."""

import contextlib
import logging

import pytest

from espnet_smoe.serve.misbehave import FINAL, raw_frame
from tests.serve.http import raw, serve

SOCKET = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\n"
    b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
BROKEN = {
    "no HTTP": (b"x" * 10**5, b""),
    "a chunk behind an answer": (
        b"POST /other HTTP/1.1\r\nHost: localhost\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n",
        b"no number\r\n",
    ),
    "text that is none": (
        SOCKET + b"\r\n",
        raw_frame(1 | FINAL, b"\xff\xfe"),
    ),
    "a page of others": (
        SOCKET + b"Origin: http://page.example\r\n\r\n",
        b"",
    ),
    "an upgrade with a body": (
        b"POST / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n"
        b"Upgrade: websocket\r\nContent-Length: 100000\r\n\r\n" + b"x" * 10**5,
        b"",
    ),
}


@pytest.mark.parametrize("how", BROKEN)
def test_what_breaks_a_connection_is_no_fault_of_the_server(how, caplog):
    first, then = BROKEN[how]

    async def test(client, server):
        reader, writer = await raw(client, first)
        if then:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(then)
        with contextlib.suppress(ConnectionError):
            await reader.read()
        writer.close()

    serve(test)
    assert [r.message for r in caplog.records if r.levelno >= logging.ERROR] == []


UPGRADES = {
    "of another method": b"POST / HTTP/1.1\r\n",
    "with a body": b"GET / HTTP/1.1\r\nContent-Length: 5\r\n",
    "with too many headers": b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 200,
}


@pytest.mark.parametrize("how", UPGRADES)
def test_an_upgrade_that_is_none_is_answered_and_closed(how):
    upgrade = b"Host: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"

    async def test(client, server):
        reader, writer = await raw(client, UPGRADES[how] + upgrade)
        assert (await reader.read()).startswith(b"HTTP/1.1 4")
        writer.close()

    serve(test)
