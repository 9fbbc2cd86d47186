"""The files of the web page, as the server sends them."""

import asyncio
import re

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from espnet_smoe.serve.access import Access
from espnet_smoe.serve.page import FOLDER
from tests.serve.fake import END, running, talk
from tests.serve.http import fault, serve

TOKEN = "0123456789abcdef"
FILES = sorted(path for path in FOLDER.iterdir() if path.is_file())


def test_the_page_and_its_files_are_there_and_run_nothing_of_others():
    async def test(client, server):
        page = await client.get("/")
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        for path in FILES:
            place = "/" if path.name == "index.html" else f"/static/{path.name}"
            told = await client.get(place)
            assert told.content == path.read_bytes()
            policy = told.headers["content-security-policy"]
            assert "default-src 'none'" in policy and "script-src 'self'" in policy
            assert "unsafe" not in policy and "frame-ancestors 'none'" in policy
            assert told.headers["x-content-type-options"] == "nosniff"
        script = await client.get("/static/page.js")
        assert script.headers["content-type"].startswith("text/javascript")

    serve(test)


def test_the_page_needs_no_token_but_what_it_asks_does():
    async def test(client, server):
        assert (await client.get("/")).status_code == 200
        assert (await client.get("/static/page.js")).status_code == 200
        fault(await client.get("/v1/models"), 401, "invalid_api_key")
        fault(await client.get("/static/other.js"), 401, "invalid_api_key")

    serve(test, access=Access(tokens=[TOKEN]))


@pytest.mark.parametrize("path", ["/", "/health", "/static/page.js", "/espnet-smoe"])
def test_a_websocket_needs_its_token_at_every_path(path):
    async def run():
        async with running(access=Access(tokens=[TOKEN])) as (_, url):
            with pytest.raises(InvalidStatus) as refused:
                await connect(f"{url}{path}")
            assert refused.value.response.status_code == 401

    asyncio.run(run())


def test_the_pages_streams_speak_the_servers_own_protocol_whatever_others_do():
    async def run():
        async with running(protocol="wenet") as (_, url):
            messages, code = await talk(f"{url}/espnet-smoe", END)
            assert messages[-1] == {"type": "done"} and code == 1000

    asyncio.run(run())


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_file_asks_another_server_or_the_root_of_this_one(path):
    """A proxy may have the page at any path."""
    text = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?://|['\"`]/[\w/]|url\(/", text)


def test_the_policy_need_not_allow_scripts_or_styles_inside_the_page():
    text = (FOLDER / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"<style|<script(?![^>]* src=)|\son\w+=|\sstyle=", text)
    for path in FOLDER.glob("*.js"):
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(",
            path.read_text(encoding="utf-8"),
        )
