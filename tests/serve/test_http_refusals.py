"""What the server refuses of requests: too large, too many, without a token."""

import asyncio
import socket
from pathlib import Path

import httpx2
import pytest

from espnet_smoe.serve.access import Access
from espnet_smoe.serve.listener import listen
from tests.serve.fake import FakeSpeechToText
from tests.serve.http import FILE, PATH, fault, post, raw, serve, wav


def test_a_form_without_a_file_is_refused():
    async def test(client, server):
        for kind in ({"data": {"model": "fake"}}, {"json": {"file": "a"}}, {}):
            assert "as 'file'" in fault(await client.post(PATH, **kind), 400)
        files = {"file": ("a.wav", wav()), "other": ("b.wav", wav())}
        fault(await client.post(PATH, files=files), 400)
        told = await client.post(PATH, data={"file": "x"}, files={"model": (None, "")})
        assert "is a text without a file name" in fault(told, 400)
        head = {"Content-Type": "multipart/form-data; boundary=x"}
        for body in (
            b"",
            b"--x\r\n",
            b'--x\r\nContent-Disposition: form-data; name="f',
        ):
            fault(await client.post(PATH, content=body, headers=head), 400)
        fault(
            await client.post(PATH, data={"model": "x" * 9000}, files={"a": b""}), 400
        )

    serve(test)


@pytest.mark.parametrize("charset", ["undefined", "punycode", "raw_unicode_escape"])
def test_a_form_of_any_charset_is_answered(charset):
    field = b'--x\r\nContent-Disposition: form-data; name="\\ud800."\r\n\r\n1\r\n--x--'

    async def test(client, server):
        kind = f"multipart/form-data; boundary=x; charset={charset}"
        head = {"Content-Type": kind}
        told = await client.post(PATH, content=field, headers=head)
        fault(told, 400)

    serve(test)


def test_another_method_is_told_those_that_there_are():
    async def test(client, server):
        told = await client.get(PATH)
        fault(told, 405)
        assert told.headers["allow"] == "POST"

    serve(test)


def test_a_form_that_ends_in_its_middle_is_refused():
    async def test(client, server):
        head = {"Content-Type": "multipart/form-data; boundary=x"}
        told = await client.post(PATH, content=FILE + wav(), headers=head)
        fault(told, 400)

    serve(test)


def test_an_upload_that_is_too_large_is_refused_before_it_has_come():
    async def test(client, server):
        message = fault(await post(client, wav(10)), 413, param="file")
        assert "more than 100000 bytes" in message

        async def endless():
            while True:
                sent.append(1)
                yield b"x" * 10000

        sent = []
        head = {"Content-Type": "multipart/form-data; boundary=x"}
        try:
            told = await client.post(PATH, content=endless(), headers=head)
            fault(told, 413)
        except httpx2.TransportError:  # this client sends on, until it is cut off
            pass
        assert (await post(client)).status_code == 200

    serve(test, upload=1e5)


def head(length):
    """Of a form that is to be so long."""
    return (
        f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data;"
        f" boundary=x\r\nContent-Length: {length}\r\n\r\n"
    ).encode()


def test_a_huge_upload_is_answered_while_it_is_sent():
    async def test(client, server):
        reader, writer = await raw(client, head(2 * 10**9), b"x" * 10**6)
        answer = await reader.readuntil(b"}}")
        assert b" 413 " in answer and b"more than 100000 bytes" in answer
        writer.close()

    serve(test, upload=1e5)


def test_an_upload_that_is_cut_leaves_nothing_behind():
    async def test(client, server):
        before = asyncio.all_tasks()
        for _ in range(3):
            _, writer = await raw(client, head(10**6), FILE + b"y" * 10**5)
            while not server.admission.there["requests"]:
                await asyncio.sleep(0.01)
            writer.transport.abort()
        while server.admission.there["requests"] or asyncio.all_tasks() - before:
            await asyncio.sleep(0.01)
        assert (await post(client)).status_code == 200

    serve(test)


def test_who_sends_nothing_more_is_told_so():
    async def test(client, server):
        reader, writer = await raw(client, head(10**6))
        assert b" 408 " in await reader.readuntil(b"}}")
        writer.close()

    serve(test, idle=0.2)


def test_who_leaves_is_decoded_no_longer():
    fake = FakeSpeechToText(seconds=0.1)

    async def test(client, server):
        asking = asyncio.create_task(post(client, wav(100)))
        while not fake.batches:
            await asyncio.sleep(0.01)
        asking.cancel()
        while server.admission.there["requests"]:
            await asyncio.sleep(0.01)
        await post(client, wav(1), name="next.wav")

    serve(test, fake)
    assert fake.encoded["talk.wav"] < 30  # of 50


def test_requests_share_batches_and_get_their_own_texts():
    fake = FakeSpeechToText(seconds=0.05)
    levels = [n / 20 for n in range(1, 13)]

    async def test(client, server):
        asked = [post(client, wav(2.5, level)) for level in levels]
        texts = [told.json()["text"] for told in await asyncio.gather(*asked)]
        assert texts == [f"asr {level:.2f} asr {level:.2f}" for level in levels]

    serve(test, fake)
    assert max(map(len, fake.batches)) == fake.batch_size


def test_a_sentence_does_not_wait_for_an_hour():
    fake = FakeSpeechToText(seconds=0.05)

    async def test(client, server):
        long = asyncio.create_task(post(client, wav(60), name="long.wav"))
        while not fake.batches:
            await asyncio.sleep(0.01)
        await post(client, name="short.wav")
        assert not long.done()
        assert (await long).status_code == 200

    serve(test, fake)


def test_a_piece_that_fails_fails_for_its_own_client_only():
    fake = FakeSpeechToText(seconds=0.05)

    async def test(client, server):
        good = [post(client, wav(1, 0.5)) for _ in range(6)]
        bad, *others = await asyncio.gather(post(client, wav(1, 0.95)), *good)
        message = fault(bad, 500)
        assert message == "the model failed on this recording: too loud"
        assert {told.json()["text"] for told in others} == {"asr 0.50"}

    serve(test, fake)


def test_more_than_can_be_borne_is_refused_early():
    fake = FakeSpeechToText(seconds=0.2)

    async def test(client, server):
        asked = [asyncio.create_task(post(client)) for _ in range(2)]
        while server.admission.there["requests"] < 2:
            await asyncio.sleep(0.01)
        told = await post(client)
        assert "all 2 requests are taken" in fault(told, 503, "server_busy")
        assert int(told.headers["retry-after"]) >= 1
        assert [t.status_code for t in await asyncio.gather(*asked)] == [200, 200]

    serve(test, fake, requests=2)


def test_a_long_queue_is_refused_early():
    fake = FakeSpeechToText(seconds=0.5)

    async def test(client, server):
        await post(client, wav(2))  # now it is known how fast it is
        long = asyncio.create_task(post(client, wav(60)))
        while not server.service(server.models[0]).recordings.wait > 1:
            await asyncio.sleep(0.01)
        message = fault(await post(client), 503, "server_busy")
        assert "s of work wait" in message
        long.cancel()

    serve(test, fake, wait=1.0)


def test_one_client_cannot_take_all_places():
    fake = FakeSpeechToText(seconds=0.2)

    async def test(client, server):
        asked = asyncio.create_task(post(client))
        while not server.admission.there["requests"]:
            await asyncio.sleep(0.01)
        told = await post(client)
        fault(told, 429, "rate_limit_exceeded")
        assert "retry-after" in told.headers
        assert (await asked).status_code == 200
        assert (await post(client)).status_code == 200

    serve(test, fake, per_client=1)


def test_a_server_out_of_memory_lets_nobody_in():
    async def test(client, server):
        assert "GB of memory" in fault(await post(client), 503, "server_busy")

    serve(test, memory=0.001)


def test_without_the_token_nobody_gets_in():
    async def test(client, server):
        assert (await client.get("/health")).status_code == 200
        for path in ("/v1/models", "/metrics", "/other"):
            fault(await client.get(path), 401, "invalid_api_key")
        fault(await post(client), 401)
        client.headers["Authorization"] = "Bearer wrong-token"
        assert "is wrong" in fault(await post(client), 401, "invalid_api_key")
        client.headers["Authorization"] = "Bearer right-token"
        assert (await post(client)).status_code == 200

    serve(test, access=Access(tokens=["other-token", "right-token"]))


def test_pages_of_others_may_not_read_unless_they_are_named():
    async def test(client, server):
        page = {"Origin": "https://page.example"}
        fault(await client.get("/v1/models", headers=page), 403)
        own = {"Origin": f"http://{client.base_url.host}:{client.base_url.port}"}
        told = await client.get("/v1/models", headers=own)
        assert told.status_code == 200
        assert "access-control-allow-origin" not in told.headers

    serve(test)


def test_a_named_page_may_ask_and_read():
    page = "https://page.example"

    async def test(client, server):
        asks = {"Origin": page, "Access-Control-Request-Method": "POST"}
        asks["Access-Control-Request-Headers"] = "authorization"
        told = await client.options(PATH, headers=asks)
        assert told.headers["access-control-allow-origin"] == page
        head = {"Origin": page, "Authorization": "Bearer right-token"}
        told = await client.get("/v1/models", headers=head)
        assert told.status_code == 200
        assert told.headers["access-control-allow-origin"] == page

    serve(test, access=Access([page], [], ["right-token"]))


def test_a_stopping_server_answers_who_is_there():
    fake = FakeSpeechToText(seconds=0.2)

    async def test(client, server):
        asked = asyncio.create_task(post(client))
        while not fake.batches:
            await asyncio.sleep(0.01)
        server.stop()
        assert (await asked).json()["text"] == "asr 0.25"
        with pytest.raises(httpx2.TransportError):
            await post(client)

    serve(test, fake)


def test_uploads_are_gone_with_their_requests():
    seen = []

    class Looking(FakeSpeechToText):
        def recognize(self, waves, labels, tasks, names):
            seen.extend(folder.iterdir())
            return super().recognize(waves, labels, tasks, names)

    async def test(client, server):
        nonlocal folder
        folder = Path(server.folder)
        await post(client, name="../../escape.wav")
        while list(folder.iterdir()):
            await asyncio.sleep(0.01)

    folder = None
    serve(test, Looking())
    assert len(seen) == 1 and not folder.exists()
    assert "escape" not in seen[0].name


def test_a_port_that_is_taken_is_named():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=f"in use.*127.0.0.1:{port}"):
            listen("127.0.0.1", port)
