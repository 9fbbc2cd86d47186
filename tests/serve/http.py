"""Requests to a server of fake models, and their errors."""

import asyncio
import io

import httpx2
import numpy as np
import soundfile

from espnet_smoe.serve.models import Model
from tests.serve.fake import RATE, FakeSpeechToText, model, running

PATH = "/v1/audio/transcriptions"
# how a form with boundary x begins
FILE = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'


def wav(seconds=1.0, value=0.25, rate=RATE, channels=1):
    """A file of samples that are all the same."""
    file = io.BytesIO()
    samples = np.full((round(seconds * rate), channels), value, np.float32)
    soundfile.write(file, samples, rate, "PCM_16", format="WAV")
    return file.getvalue()


def serve(test, recordings=None, access=None, **limits):
    """Run a coroutine function with a client of a server, and the server."""

    async def run():
        fake = recordings or FakeSpeechToText()
        fake = fake if isinstance(fake, Model) else model(recordings=fake)
        async with running(fake, access, **limits) as (server, url):
            client = httpx2.AsyncClient(base_url=url.replace("ws", "http"), timeout=20)
            async with client:
                await asyncio.wait_for(test(client, server), 20)

    asyncio.run(run())


async def post(client, file=None, path=PATH, name="talk.wav", **fields):
    files = {"file": (name, wav() if file is None else file)}
    return await client.post(path, files=files, data=fields)


def fault(response, status, code=None, param=None):
    """The message of an error in OpenAI's shape."""
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert code is None or error["code"] == code
    assert param is None or error["param"] == param
    return error["message"]


async def raw(client, data, then=b""):
    """What a connection answers to bytes of our own making."""
    url = client.base_url
    reader, writer = await asyncio.open_connection(url.host, url.port)
    writer.write(data)
    await writer.drain()
    writer.write(then)
    return reader, writer
