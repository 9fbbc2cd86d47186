"""Pages and names that were not named do not get in."""

import asyncio

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from espnet_smoe.serve.access import Access
from tests.serve.fake import END, running, talk

PAGE = "https://page.example"


def serve(test, *access):
    async def run():
        async with running(access=Access(*access)) as (_, url):
            await asyncio.wait_for(test(url), 10)

    asyncio.run(run())


async def status_of(url, *headers):
    """The first line of the answer to a handshake of our own making."""
    reader, writer = await asyncio.open_connection(*url[5:].split(":"))
    request = ["GET / HTTP/1.1", "Upgrade: websocket", "Connection: Upgrade"]
    request += ["Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==", *headers]
    request += ["Sec-WebSocket-Version: 13", "", ""]
    writer.write("\r\n".join(request).encode())
    line = (await reader.readline()).decode()
    writer.close()
    return int(line.split()[1])


@pytest.mark.parametrize("origin", [PAGE, "http://localhost", "null"])
def test_a_web_page_is_refused_and_told_the_option(origin):
    async def test(url):
        with pytest.raises(InvalidStatus) as refused:
            await connect(url, origin=origin)
        assert refused.value.response.status_code == 403
        assert f"--allow-origin {origin}" in refused.value.response.body.decode()
        assert (await talk(url, END))[1] == 1000  # no page: no Origin

    serve(test)


@pytest.mark.parametrize("allowed", [PAGE, f"{PAGE}/", PAGE.upper(), "*"])
def test_an_allowed_page_gets_in(allowed):
    async def test(url):
        async with connect(url, origin=PAGE):
            pass
        if allowed != "*":
            with pytest.raises(InvalidStatus):
                await connect(url, origin=f"{PAGE}.evil.example")

    serve(test, [allowed])


@pytest.mark.parametrize(
    "host", ["127.0.0.1:80", "localhost", "LocalHost:8765", "[::1]:8765", "10.0.0.1"]
)
def test_addresses_and_this_machine_are_names_of_the_server(host):
    async def test(url):
        assert await status_of(url, f"Host: {host}") == 101

    serve(test)


@pytest.mark.parametrize(
    "headers",
    [
        ["Host: evil.example"],
        ["Host: 127.0.0.1.evil.example:8765"],
        ["Host: localhost@evil.example"],
        ["Host: [::1"],
        ["Host:"],
        [],
        ["Host: localhost", "Host: evil.example"],
        ["Host: localhost", f"Origin: {PAGE}", "Origin: https://evil.example"],
    ],
)
def test_a_name_that_another_gave_the_server_is_refused(headers):
    async def test(url):
        # the library refuses what no Host, or two, stand in
        assert await status_of(url, *headers) in (400, 403)

    serve(test, [PAGE])


def test_a_name_that_was_allowed_gets_in():
    async def test(url):
        assert await status_of(url, "Host: speech.example") == 101
        assert await status_of(url, "Host: other.example") == 403

    serve(test, [], ["Speech.Example"])


@pytest.mark.parametrize("origin", ["page.example", "https://", f"{PAGE}/path", ""])
def test_what_is_no_origin_is_refused_at_the_start(origin):
    with pytest.raises(ValueError, match="is no origin"):
        Access([origin])
